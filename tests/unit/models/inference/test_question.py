"""What a release is asked about a CT, and whether a kept volume is that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.geometry import Geometry, geometry_from_ras, ras_affine
from models.inference.question import asked_grid, asked_volume, is_asked_grid, told_grid
from models.recipe import NnunetRecipe
from models.volume import Volume
from tests.support.paper_releases import paper_contract

CONTRACT = paper_contract(("liver",), 3.0)
PLANNED = replace(CONTRACT, recipe=NnunetRecipe("SAR", None, (None, "liver")))


def ct(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Geometry:
    affine = np.diag([*spacing, 1.0])[[2, 1, 0, 3]]
    return Geometry(shape, affine)


def test_our_own_networks_are_asked_on_their_grid_and_imported_ones_about_the_ct() -> None:
    volume = Volume(np.full((9, 20, 20), 40, dtype=np.int16), ct((9, 20, 20), (5.0, 1.5, 1.5)))
    own = asked_volume(volume, CONTRACT)
    assert own.geometry.spacing_mm == pytest.approx((3.0, 3.0, 3.0))
    assert own.geometry.same_grid(asked_grid(volume.geometry, CONTRACT))
    assert told_grid(own, CONTRACT) is None
    assert asked_volume(volume, PLANNED) is volume
    assert told_grid(volume, PLANNED) is volume.geometry
    assert is_asked_grid(volume.geometry, volume.geometry, PLANNED)
    assert not is_asked_grid(own.geometry, volume.geometry, PLANNED)
    assert not is_asked_grid(volume.geometry, volume.geometry, CONTRACT)


def test_a_grid_that_was_kept_in_single_precision_is_still_its_own() -> None:
    """0.8 mm is a little more as float32: a grid of 3 mm over 300 mm would want one voxel more."""
    exact = ct((4, 376, 376), (3.0, 0.8, 0.8))
    kept = geometry_from_ras(exact.shape, ras_affine(exact).astype(np.float32).astype(np.float64))
    made = asked_grid(exact, CONTRACT)
    assert asked_grid(kept, CONTRACT).shape != made.shape
    assert is_asked_grid(made, kept, CONTRACT)
    assert not is_asked_grid(Geometry((2, *made.shape[1:]), made.affine), kept, CONTRACT)
    moved = np.array(made.affine)
    moved[0, 3] += 1.0
    assert not is_asked_grid(Geometry(made.shape, moved), kept, CONTRACT)
