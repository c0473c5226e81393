"""From weights to what an engine loads: ONNX exports, kept only after they were proven equal to torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.inference.compact import pack, unpack
from models.inference.segmentation import Segmentation
from models.inference.windows import Predict, Prediction, segment_windows
from models.network.export import export_head, export_trunk
from models.network.prediction import torch_predict
from models.network.weights import head_from_bytes, trunk_from_bytes
from models.nnunet.answer import answer
from models.proof.parity import OrganParity, check_parity
from models.proof.served_parity import check_served, parity_volume, parity_windows
from models.release import Release
from services.inference.engine import OpenVinoEngine, Precision
from services.releases.store import ReleaseStore


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
        If the engine changes labels or numbers by more than `models.proof.parity` allows on single windows,
        or `models.proof.served_parity` as it serves a volume; nothing is kept.
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
    predict = _asked_once(torch_predict(trunk, heads, contract))
    parity = check_parity(predict, contract, engine.predict, parity_windows(contract))
    hu = parity_volume(contract)
    expected = _segmented(hu, contract, predict, engine.tuned)
    labels = check_served(contract, expected, _travelled(engine.segment(hu)), engine.profile)
    parity = tuple(
        replace(one, served_flipped=flipped, served_voxels=voxels)
        for one, (flipped, voxels) in zip(parity, labels, strict=True)
    )
    for digest, onnx in exports.items():
        store.add_export(digest, onnx)
    return parity


def _segmented(
    hu: NDArray[np.int16], contract: ModelContract, predict: Predict, tuned: Collection[str]
) -> Segmentation:
    """Return what torch answers about a volume on the model grid."""
    if contract.recipe is None:
        return segment_windows(hu, contract, predict)
    return answer(hu, None, contract, predict, tuned=tuned)


def _asked_once(predict: Predict) -> Predict:
    """Remember the answers: most windows of the column are those that were compared singly."""
    known: dict[bytes, Prediction] = {}

    def answer(window: NDArray[np.float32]) -> Prediction:
        name = window.tobytes()
        if name not in known:
            known[name] = predict(window)
        return known[name]

    return answer


def _travelled(answer: Segmentation) -> Segmentation:
    """Return an answer whose probabilities were packed for the way and unpacked."""
    shape = answer.probability.shape[1:]
    return replace(answer, probability=unpack(pack(answer.probability, 1.0), shape, 1.0))
