"""A label on its CT, beside what was served."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from models.geometry import Geometry
from models.masks import BoxedMask
from models.volume import Volume
from services.pictures.label_view import label_view
from services.pictures.slices import colour

CT = Geometry((6, 60, 80), np.diag([5.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]])
"""Slices five millimetres apart; the array's last axis runs to the patient's left."""


def box(k: slice, rows: slice, columns: slice) -> BoxedMask:
    inside = np.zeros(CT.shape, np.bool_)
    inside[k, rows, columns] = True
    return BoxedMask.of(inside)


def picture(drawn: BoxedMask, sent: BoxedMask | None) -> np.ndarray:
    coarse = Geometry((3, 30, 40), np.diag([10.0, 4.0, 4.0, 1.0])[[2, 1, 0, 3]])
    volume = Volume(np.full(coarse.shape, 40, np.int16), coarse)
    return np.asarray(Image.open(io.BytesIO(label_view("liver", volume, CT, drawn, sent))).convert("RGB"))


def near(pixels: np.ndarray, wanted: tuple[float, float, float]) -> int:
    return int((np.abs(pixels / 255.0 - np.array(wanted)).max(axis=2) < 0.06).sum())


SMALL, LARGE = box(slice(1, 2), slice(10, 15), slice(10, 15)), box(slice(1, 5), slice(20, 40), slice(20, 50))


@pytest.mark.parametrize(("drawn", "sent"), [(SMALL, LARGE), (LARGE, SMALL), (LARGE, None)])
def test_the_label_is_white_and_what_was_served_in_the_organs_colour(drawn, sent) -> None:
    seen = picture(drawn, sent)
    in_white, in_colour = near(seen[20:-20, 20:-20], (1, 1, 1)), near(seen, colour("liver"))
    assert in_white > 50
    assert (in_colour > 50) == (sent is not None)


def test_an_empty_label_shows_what_was_served_alone() -> None:
    seen = picture(BoxedMask.empty(CT.shape), LARGE)
    assert near(seen, colour("liver")) > 50
