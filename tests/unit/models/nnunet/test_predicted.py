"""What is predicted in a window decides which voxels are kept for tuning."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.inference.sampled_features import UNCERTAIN_LOGIT, Told, told_by
from models.nnunet.predicted import predicted
from models.recipe import NnunetRecipe

SHAPE = (5, 6, 7)
SOFTMAX = NnunetRecipe("SAR", None, (None, "liver", None, "spleen"))
REGIONS = NnunetRecipe("SAR", None, ("liver", "spleen"), "regions")


def noise(classes: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 3, (classes, *SHAPE)).astype(np.float32)


def by_margins(frozen: NDArray[np.float32], own: dict[int, NDArray[np.float32]]) -> Told:
    """Return the same by the slow way: each organ's margin over all other classes."""
    margins = []
    for number in SOFTMAX.organs:
        others = np.delete(frozen, number, axis=0).max(axis=0)
        margins.append(own.get(number, frozen[number]) - others)
    limits = np.full(len(margins), np.finfo(np.float32).tiny, dtype=np.float32)
    return told_by(np.stack(margins), limits)


@given(st.integers(0, 10**6), st.booleans())
def test_organs_and_their_borders_are_those_of_the_margins(seed: int, tuned: bool) -> None:
    frozen = noise(4, seed)
    own = {3: noise(1, seed + 1)[0]} if tuned else {}
    found, slow = predicted(frozen, SOFTMAX, own), by_margins(frozen, own)
    assert np.array_equal(found.organ, slow.organ)
    assert np.array_equal(found.band, slow.band)
    assert (found.doubt | ~slow.doubt).all(), "whatever an organ leaves in doubt; other classes may add to it"


def test_where_two_other_classes_are_alike_is_in_doubt_too() -> None:
    frozen = np.zeros((4, *SHAPE), dtype=np.float32)
    frozen[1] = -20
    frozen[3] = -20
    assert predicted(frozen, SOFTMAX, {}).doubt.all()
    frozen[0] = UNCERTAIN_LOGIT
    assert not predicted(frozen, SOFTMAX, {}).doubt.any()


def test_regions_are_told_each_by_itself() -> None:
    frozen, own = noise(2, 0), noise(1, 1)[0]
    found = predicted(frozen, REGIONS, {1: own})
    slow = told_by(np.stack([frozen[0], own]), np.zeros(2, dtype=np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(found, slow, strict=True))
