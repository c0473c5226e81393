"""From weights to what an engine loads: ONNX exports, kept only after they were proven equal to torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.compact import pack, unpack
from models.errors import InvalidRelease
from models.network.export import FLIP_LIMIT, OrganParity, check_parity, export_head, export_trunk
from models.network.prediction import torch_predict
from models.network.weights import head_from_bytes, trunk_from_bytes
from models.phantom import make_case
from models.release import Release
from models.resampling import to_model_grid
from models.windows import Predict, Prediction, cut, scale_hu, segment_windows
from services.inference.engine import OpenVinoEngine, Precision
from services.releases.store import ReleaseStore

PARITY_CASES = (("A", 900_001), ("B", 900_001))
"""Phantoms (site, seed) on which torch and the engine must agree; used for nothing else."""


def export_release(
    release: Release, store: ReleaseStore, *, threads: int, precision: Precision = "f32"
) -> tuple[OrganParity, ...]:
    """Export what a release's trunk and heads lack, prove it in the serving engine, then keep it.

    Parameters
    ----------
    release
        Its weights are in the store; an export that is there already is used as it is.
    store
        Where weights are and exports go.
    threads
        Threads of the engine, part of the serving profile.
    precision
        What the engine computes in, part of the serving profile too; torch always computes in float32.

    Returns
    -------
    tuple of OrganParity
        In the contract's order.

    Raises
    ------
    InvalidRelease
        If the engine, on single windows or as it serves a volume, changes the label of more than 0.1 %
        of any organ's voxels, or on single windows a logit, a deviation or the global feature by more than
        `models.network.export` allows; nothing is kept.
    """
    contract = release.contract
    trunk = trunk_from_bytes(store.trunk(release.trunk))
    heads = {organ: head_from_bytes(store.head(digest)) for organ, digest in release.heads.items()}
    exports = {
        release.trunk: store.export(release.trunk)
        if store.has_export(release.trunk)
        else export_trunk(trunk, contract)
    }
    for organ, digest in release.heads.items():
        kept = store.has_export(digest)
        exports[digest] = store.export(digest) if kept else export_head(heads[organ], contract)
    engine = OpenVinoEngine(
        release,
        exports[release.trunk],
        {organ: exports[digest] for organ, digest in release.heads.items()},
        threads,
        precision=precision,
    )
    windows, predict = parity_windows(release), _asked_once(torch_predict(trunk, heads, contract))
    parity = check_parity(predict, contract, engine.predict, windows)
    parity = _check_served(parity, predict, engine, windows)
    for digest, onnx in exports.items():
        store.add_export(digest, onnx)
    return parity


def _asked_once(predict: Predict) -> Predict:
    """Remember the answers: most windows of the column are those that were compared singly."""
    known: dict[bytes, Prediction] = {}

    def answer(window: NDArray[np.float32]) -> Prediction:
        name = window.tobytes()
        if name not in known:
            known[name] = predict(window)
        return known[name]

    return answer


def _check_served(
    parity: tuple[OrganParity, ...],
    predict: Predict,
    engine: OpenVinoEngine,
    windows: Sequence[NDArray[np.float32]],
) -> tuple[OrganParity, ...]:
    """Compare what is served of a volume, the windows one above the other, with torch's; raises as above."""
    contract = engine.contract
    low, high = contract.hu_window
    column = np.concatenate([window[0, 0] for window in windows])
    hu = np.rint(column * (high - low) + low).astype(np.int16)
    expected = segment_windows(hu, contract, predict).probability
    travelled = unpack(pack(engine.segment(hu).probability, 1.0), hu.shape, 1.0)
    served = []
    for one, torchs, ours in zip(parity, expected, travelled, strict=True):
        limit = contract.thresholds[one.organ]
        mask, other = torchs >= limit, ours >= limit
        flipped, voxels = int(np.count_nonzero(mask != other)), int(np.count_nonzero(mask | other))
        if flipped > FLIP_LIMIT * voxels:
            raise InvalidRelease(
                f"{flipped} of {voxels} voxels of {one.organ} change their label as served in "
                f"{engine.profile} (at most {FLIP_LIMIT:.1%} may)"
            )
        served.append(replace(one, served_flipped=flipped, served_voxels=voxels))
    return tuple(served)


def parity_windows(release: Release) -> Sequence[NDArray[np.float32]]:
    """Return scaled windows, float32 (1, 1, k, j, i), from the middle of each parity phantom."""
    contract = release.contract
    windows = (_middle(*case, contract.spacing_mm, contract.window_shape) for case in PARITY_CASES)
    return [scale_hu(hu, contract.hu_window)[None, None] for hu in windows]


@lru_cache(len(PARITY_CASES))
def _middle(
    site: str, seed: int, spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> NDArray[np.int16]:
    """Return the middle of a phantom, Hounsfield units on the model grid; made once for many releases."""
    hu = to_model_grid(make_case(site, seed).volume, spacing_mm).hu
    k, j, i = ((n - side) // 2 for n, side in zip(hu.shape, shape, strict=True))
    window = cut(hu.astype(np.int16), (k, j, i), shape)
    window.flags.writeable = False
    return window
