"""Parity: an engine answers windows as torch does, to budgets that no mask and no flag notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.inference.windows import Predict, Prediction

FLIP_LIMIT = 0.001
"""Most of an organ's voxels, as a fraction, whose label may differ between torch and an engine."""

LOGIT_BUDGET = 0.01
"""Most that a logit may differ at any voxel, also of an organ that is nowhere: no probability then differs
by more than 0.0025, as served ones may (`models.inference.compact`). float32 differs by some 1e-4, bf16 by
some 0.5."""

SPREAD_BUDGET = 0.0025
"""Most that the members' deviation, which flags hang on, may differ: as much as a probability then may."""

FEATURE_BUDGET = 0.01
"""Most that the global feature may differ, as a fraction of its largest value: what is out of domain and how
text-driven heads are made hang on it."""


@dataclass(frozen=True)
class OrganParity:
    """How one organ's answer in an engine differs from torch.

    Parameters
    ----------
    organ
        Key in the catalogue.
    max_logit_difference
        Largest absolute difference of the logit over all voxels.
    max_spread_difference
        Of the members' deviation; 0 for a head without members.
    flipped, voxels
        Voxels whose label differs, and voxels of the organ in either answer.
    served_flipped, served_voxels
        The same of a volume of several windows, blended, rounded and packed as it is served.
    """

    organ: str
    max_logit_difference: float
    flipped: int
    voxels: int
    served_flipped: int = 0
    served_voxels: int = 0
    max_spread_difference: float = 0.0

    @property
    def flipped_fraction(self) -> float:
        """Share of the organ's voxels whose label differs; 0 for an organ that is nowhere."""
        return self.flipped / self.voxels if self.voxels else 0.0


def check_parity(
    predict: Predict, contract: ModelContract, engine: Predict, windows: Sequence[NDArray[np.float32]]
) -> tuple[OrganParity, ...]:
    """Compare an engine with torch on some windows, organ by organ.

    Parameters
    ----------
    predict
        The modules that were exported, in torch (`models.network.prediction.torch_predict`).
    contract
        Organs and thresholds.
    engine
        What is to be proven, e.g. `models.network.export.onnxruntime_engine` or the serving one.
    windows
        Scaled windows, float32 (1, 1, k, j, i).

    Returns
    -------
    tuple of OrganParity
        In the contract's order, over all windows together.

    Raises
    ------
    InvalidRelease
        If more than `FLIP_LIMIT` of any organ's voxels change their label, a logit of any head differs by
        more than `LOGIT_BUDGET`, its members' deviation by more than `SPREAD_BUDGET` or is missing, or the
        global feature by more than `FEATURE_BUDGET`.
    """
    pairs = [(predict(window), engine(window)) for window in windows]
    for ours, theirs in pairs:
        if set(ours.member_spread) != set(theirs.member_spread):
            raise InvalidRelease("the engine answers for members of other heads than torch")
        off = np.abs(ours.global_feature - theirs.global_feature).max()
        largest = np.abs(ours.global_feature).max()
        if not off <= FEATURE_BUDGET * largest:  # no number is over it too
            raise InvalidRelease(
                f"the global feature differs by {off:.2g} in the engine, of {largest:.2g} "
                f"(at most {FEATURE_BUDGET:.0%} may)"
            )
    parity = tuple(
        _compare(channel, organ, pairs, contract.thresholds[organ])
        for channel, organ in enumerate(contract.organs)
    )
    worst = max(parity, key=lambda one: one.flipped_fraction)
    if worst.flipped_fraction > FLIP_LIMIT:
        raise InvalidRelease(
            f"{worst.flipped} of {worst.voxels} voxels of {worst.organ} change their label in the engine "
            f"(at most {FLIP_LIMIT:.1%} may)"
        )
    for one in parity:
        for what, off, budget in (
            ("a logit", one.max_logit_difference, LOGIT_BUDGET),
            ("the members' deviation", one.max_spread_difference, SPREAD_BUDGET),
        ):
            if not off <= budget:
                raise InvalidRelease(
                    f"{what} of {one.organ} differs by {off:.2g} in the engine (at most {budget:g} may)"
                )
    return parity


def _compare(
    channel: int, organ: str, pairs: Sequence[tuple[Prediction, Prediction]], threshold: float
) -> OrganParity:
    logit, other = (np.stack([pair[side].logits[channel] for pair in pairs]) for side in (0, 1))
    limit = np.log(threshold / (1 - threshold))
    mask, other_mask = logit >= limit, other >= limit
    spreads = [
        np.abs(ours.member_spread[channel] - theirs.member_spread[channel]).max()
        for ours, theirs in pairs
        if channel in ours.member_spread
    ]
    return OrganParity(
        organ,
        float(np.abs(logit - other).max()),
        int((mask != other_mask).sum()),
        int((mask | other_mask).sum()),
        max_spread_difference=float(np.max(spreads, initial=0.0)),
    )
