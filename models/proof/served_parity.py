"""What is served of a volume, against what it ought to be: labels, probabilities, and what flags hang on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.inference.compact import FLOOR_PROBABILITY, STEPS
from models.inference.segmentation import Segmentation
from models.inference.windows import cut, network_input
from models.phantom.case import make_case
from models.proof.parity import FEATURE_BUDGET, FLIP_LIMIT, LOGIT_BUDGET, SPREAD_BUDGET
from models.resampling import to_model_grid

PARITY_CASES = (("A", 900_001), ("B", 900_001))
"""Phantoms (site, seed) on which torch and every engine must agree; used for nothing else."""

PROBABILITY_BUDGET = FLOOR_PROBABILITY + LOGIT_BUDGET / 4 + 1 / STEPS
"""Most that a served probability may differ: a logit over its budget shifts it by a quarter of that, and what
differs may be rounded to another step, or to 0 on one side only."""

SERVED_SPREAD_BUDGET = SPREAD_BUDGET + 0.5 / STEPS
"""Most that a served disagreement may differ where the organ is served, one step of rounding included."""


def parity_windows(contract: ModelContract) -> Sequence[NDArray[np.float32]]:
    """Return scaled windows, float32 (1, 1, k, j, i), from the middle of each parity phantom."""
    return [network_input(hu, contract)[None, None] for hu in _middles(contract)]


def parity_volume(contract: ModelContract) -> NDArray[np.int16]:
    """Return those windows one above the other, as a volume of several: HU on the model grid, (k, j, i)."""
    low, high = contract.hu_window
    return np.clip(np.concatenate(_middles(contract)), np.ceil(low), np.floor(high)).astype(np.int16)


def _middles(contract: ModelContract) -> list[NDArray[np.int16]]:
    grid = (contract.spacing_mm, contract.antialias, contract.window_shape)
    return [_middle(*case, *grid) for case in PARITY_CASES]


@lru_cache(len(PARITY_CASES))
def _middle(
    site: str,
    seed: int,
    spacing_mm: tuple[float, float, float],
    antialias: bool,
    shape: tuple[int, int, int],
) -> NDArray[np.int16]:
    """Return the middle of a phantom, Hounsfield units on the model grid; made once for many releases."""
    hu = to_model_grid(make_case(site, seed).volume, spacing_mm, antialias).hu
    k, j, i = ((n - side) // 2 for n, side in zip(hu.shape, shape, strict=True))
    window = cut(hu.astype(np.int16), (k, j, i), shape)
    window.flags.writeable = False
    return window


def check_served(
    contract: ModelContract, expected: Segmentation, served: Segmentation, where: str
) -> tuple[tuple[int, int], ...]:
    """Compare an answer about a volume with what it ought to be, organ by organ.

    Parameters
    ----------
    contract
        Organs and thresholds.
    expected, served
        Answers about the same volume, rounded as they are served.
    where
        Who answered, for the message.

    Returns
    -------
    tuple of (int, int)
        By organ, in the contract's order: voxels whose label differs, and voxels of it in either answer.

    Raises
    ------
    InvalidRelease
        If more than `FLIP_LIMIT` of an organ's voxels change their label, a probability anywhere differs by
        more than `PROBABILITY_BUDGET`, a disagreement where the organ is served by more than
        `SERVED_SPREAD_BUDGET`, a global feature by more than `FEATURE_BUDGET` of the largest, or other
        windows or members answered.
    """
    if not np.array_equal(expected.window_origin, served.window_origin):
        raise InvalidRelease(f"{where} asks about other windows")
    if expected.member_disagreement.keys() != served.member_disagreement.keys():
        raise InvalidRelease(f"{where} answers for members of other heads")
    largest = float(np.abs(expected.global_feature).max())
    off = float(np.abs(expected.global_feature - served.global_feature).max())
    if not off <= FEATURE_BUDGET * largest:  # no number is over it too
        raise InvalidRelease(
            f"the global feature differs by {off:.2g} of {largest:.2g} as served in {where} "
            f"(at most {FEATURE_BUDGET:.0%} may)"
        )
    return tuple(
        _check_organ(channel, organ, contract.thresholds[organ], expected, served, where)
        for channel, organ in enumerate(contract.organs)
    )


def _check_organ(
    channel: int, organ: str, threshold: float, expected: Segmentation, served: Segmentation, where: str
) -> tuple[int, int]:
    ours, theirs = (one.probability[channel].astype(np.float32) for one in (expected, served))
    mask, other = (one.inside(channel, threshold) for one in (expected, served))
    flipped, voxels = int(np.count_nonzero(mask != other)), int(np.count_nonzero(mask | other))
    if flipped > FLIP_LIMIT * voxels:
        raise InvalidRelease(
            f"{flipped} of {voxels} voxels of {organ} change their label as served in {where} "
            f"(at most {FLIP_LIMIT:.1%} may)"
        )
    fields = [("a probability", ours, theirs, PROBABILITY_BUDGET)]
    answers = [
        served.disagreement[channel],
        *(a for n, a in served.member_disagreement.items() if n == channel),
    ]
    if not all(np.isfinite(answer).all() for answer in answers):
        raise InvalidRelease(f"a disagreement of {organ} is no finite number as served in {where}")
    both = (ours > 0) & (theirs > 0)  # a disagreement is served beside a probability only
    for what, one, two in (
        ("the windows' disagreement", expected.disagreement[channel], served.disagreement[channel]),
        *(
            ("the members' disagreement", answer, served.member_disagreement[channel])
            for number, answer in expected.member_disagreement.items()
            if number == channel
        ),
    ):
        fields.append((what, one[both].astype(np.float32), two[both], SERVED_SPREAD_BUDGET))
    for what, one, two, budget in fields:
        off = float(np.abs(one - two).max(initial=0.0))
        if not off <= budget:
            raise InvalidRelease(
                f"{what} of {organ} differs by {off:.2g} as served in {where} (at most {budget:.2g} may)"
            )
    return flipped, voxels
