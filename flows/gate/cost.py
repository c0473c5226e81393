"""What serving a candidate costs beside the incumbent: counted on what is exported, and timed to be shown."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.gate.serving_cost import ReleaseCost, ServingCost, Timing
from models.inference.windows import study_origins
from models.nnunet.whole import window_count
from models.proof.canary import probe_volume
from models.release import Release
from models.volume import Volume
from services.cases.store import CaseStore
from services.inference.graph_cost import window_cost
from services.inference.port import Segmenter
from services.records.entries.cases import Case
from services.releases.store import ReleaseStore

PROBES = 3
"""Rounds in which either release answers one window, for the seconds that are shown."""


def serving_cost(
    incumbent: Release,
    candidate: Release,
    cases: Sequence[Case],
    store: CaseStore,
    releases: ReleaseStore,
    segmenter: Segmenter,
) -> ServingCost:
    """Count what either release costs on its exported graphs, and let both answer one window in turn.

    Parameters
    ----------
    incumbent, candidate
        Loaded releases of one model grid and window.
    cases
        The gate set, whose studies are what is reckoned by.
    store
        Holds the cases.
    releases
        Hold the exported graphs.
    segmenter
        Is timed.

    Raises
    ------
    InvalidRelease
        If an export is missing or damaged, or holds an operator of which nobody knows what it costs.
    """
    windows = sum(_windows(store.read(case).volume, candidate.contract) for case in cases)
    timed = _timed((incumbent.number, candidate.number), probe_volume(candidate.contract), segmenter)
    return ServingCost(
        studies=len(cases),
        windows=windows,
        incumbent=_counted(incumbent, windows, len(cases), releases),
        candidate=_counted(candidate, windows, len(cases), releases),
        timed={"incumbent": timed[incumbent.number], "candidate": timed[candidate.number]},
    )


def _windows(volume: Volume, contract: ModelContract) -> int:
    """Return how many windows a release with this contract is asked about for a kept volume."""
    recipe = contract.recipe
    if recipe is None:
        return len(study_origins(volume.hu.astype(np.int16, copy=False), contract))
    spacing = recipe.along(contract.spacing_mm)
    return window_count(volume.hu, volume.geometry, recipe, spacing, contract.window_shape)


def _timed(numbers: Sequence[int], hu: NDArray[np.int16], segmenter: Segmenter) -> dict[int, Timing]:
    """Let releases answer one volume, in turn, so that what else the machine does meets all of them."""
    wall: dict[int, list[float]] = {number: [] for number in numbers}
    processor: dict[int, list[float | None]] = {number: [] for number in numbers}
    for _ in range(PROBES):
        for number in numbers:
            spent, begin = segmenter.processor_seconds(), time.perf_counter()
            segmenter.segment(hu, number)
            wall[number].append(round(time.perf_counter() - begin, 4))
            now = segmenter.processor_seconds()
            processor[number].append(None if spent is None or now is None else round(now - spent, 4))
    return {number: Timing(tuple(wall[number]), tuple(processor[number])) for number in numbers}


def _counted(release: Release, windows: int, studies: int, store: ReleaseStore) -> ReleaseCost:
    trunk = store.export(release.trunk)
    heads = {organ: store.export(release.heads[organ]) for organ in release.running_heads}
    cost = window_cost(release.contract, trunk, heads)
    return ReleaseCost(
        window_flops=cost.flops,
        window_moved_bytes=cost.moved_bytes,
        live_bytes=cost.live_bytes,
        network_bytes=len(trunk) + sum(map(len, heads.values())),
        study_flops=cost.flops * windows // max(studies, 1),
        study_moved_bytes=cost.moved_bytes * windows // max(studies, 1),
    )
