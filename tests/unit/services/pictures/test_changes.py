"""The picture of what a reader changed: the slice that changed most, and no pixel of the CT."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from matplotlib.image import imread

from models.geometry import Geometry
from models.masks import BoxedMask
from services.pictures.changes import ADDED, REMOVED, most_changed_slice, picture_of_changes

AXIAL = Geometry((4, 30, 40), np.array([[0, 0, 1, 0], [0, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1.0]]))


def masks() -> tuple[dict, dict]:
    sent = {"liver": np.zeros(AXIAL.shape, bool), "spleen": np.zeros(AXIAL.shape, bool)}
    sent["liver"][1:3, 5:20, 5:20] = True
    returned = {"liver": sent["liver"].copy()}
    returned["liver"][1, 5:7, 5:20] = False
    returned["liver"][2, 20:26, 5:20] = True
    return boxed(sent), boxed(returned)


def boxed(dense: dict) -> dict:
    return {key: BoxedMask.of(mask) for key, mask in dense.items()}


def test_the_slice_is_that_in_which_most_voxels_changed():
    sent, returned = masks()
    assert most_changed_slice(sent, returned) == 2
    assert most_changed_slice(sent, {"aorta": returned["liver"]}) == 2, "an organ that was not sent"
    assert most_changed_slice(sent, {"liver": sent["liver"]}) is None
    assert most_changed_slice(sent, {}) is None


def near(picture: np.ndarray, colour: tuple[float, float, float]) -> int:
    return int((np.abs(picture[..., :3] - colour).max(axis=-1) < 0.02).sum())


def test_what_was_added_is_green_and_what_was_removed_red():
    sent, returned = masks()
    added, removed = (imread(BytesIO(picture_of_changes(AXIAL, k, sent, returned))) for k in (2, 1))
    assert near(added, ADDED) > 1000 > near(added, REMOVED) == 0
    assert near(removed, REMOVED) > 1000 > near(removed, ADDED) == 0
    again = imread(BytesIO(picture_of_changes(AXIAL, 2, sent, returned)))
    assert np.array_equal(added, again)
