"""The report draws a slice as a reader sees it."""

from __future__ import annotations

import numpy as np
import pytest

from models.masks import BoxedMask
from models.organs import ORGANS
from services.pictures import slices as pictures


def test_cielab_white_black_and_red_are_those_of_srgb() -> None:
    assert pictures.srgb((100, 0, 0)) == pytest.approx((1, 1, 1), abs=0.01)
    assert pictures.srgb((0, 0, 0)) == pytest.approx((0, 0, 0), abs=0.001)
    assert pictures.srgb((53.24, 80.09, 67.20)) == pytest.approx((1, 0, 0), abs=0.01)


def test_every_organ_has_a_colour_of_its_own() -> None:
    colours = np.array([pictures.colour(key) for key in ORGANS])
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + np.eye(len(ORGANS))
    assert distance.min() > 0.1


def test_the_best_slice_shows_the_most_organs() -> None:
    large, small = np.zeros((2, 4, 8, 8), bool)
    large[1] = True
    large[2, :4] = True
    small[2, 7, 7] = True
    assert pictures.best_slice({"liver": BoxedMask.of(large), "gallbladder": BoxedMask.of(small)}) == 2
