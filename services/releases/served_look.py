"""The incumbent's networks in the engine that serves them, as tuning looks at windows.

What is kept of a study while it is served comes from this engine; what tuning extracts again is then the
same, and takes a third of the time that torch does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.network.trunk import TrunkOutput
from models.network.tuning.looking import Seen, Sees
from models.release import Release
from services.inference.engine import OpenVinoEngine
from services.releases.store import ReleaseStore


def served_look(release: Release, organs: Collection[str], store: ReleaseStore, threads: int) -> Sees:
    """Return what looks at windows with a release's exports; compiled when it is first asked.

    Parameters
    ----------
    release
        Its exports are in the store.
    organs
        Whose logits are wanted, of the contract's.
    store
        Where the exports are.
    threads
        Threads of the engine; other numbers give other last bits.
    """
    contract = release.contract
    known = tuple(organ for organ in contract.organs if organ in organs)
    few = release  # of a network with a recipe, heads that nobody tuned cost nothing
    if contract.recipe is None:
        few = replace(
            release,
            contract=replace(contract, organs=known, thresholds={o: contract.thresholds[o] for o in known}),
            heads={organ: release.heads[organ] for organ in known},
            calibration=None,
        )
    engines: list[OpenVinoEngine] = []

    def sees(window: NDArray[np.float32]) -> Seen:
        if not engines:
            exports = {organ: store.export(digest) for organ, digest in few.heads.items()}
            engines.append(OpenVinoEngine(few, store.export(few.trunk), exports, threads))
        answer = engines[0].predict(window)
        features, coarse = engines[0].maps()
        output = TrunkOutput(
            torch.from_numpy(features[None]),
            tuple(torch.from_numpy(maps[None]) for maps in coarse),
            torch.from_numpy(answer.global_feature[None]),
            None if answer.frozen is None else torch.from_numpy(answer.frozen[None]),
        )
        return output, dict(zip(few.contract.organs, answer.logits, strict=True))

    return sees
