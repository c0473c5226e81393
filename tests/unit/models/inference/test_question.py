"""What a release is asked about a CT, and whether a kept volume is that."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.errors import Refused
from models.geometry import Geometry, geometry_from_ras, ras_affine
from models.inference.question import asked_grid, asked_volume, is_asked_grid, told_grid, told_of_axes
from models.nnunet.turn import Turn
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


def turned(degrees: tuple[float, float, float]) -> Geometry:
    """A CT that was turned about the axes x, y and z of the body, in this order."""
    upright = ct((4, 5, 6), (5.0, 0.8, 0.7))
    affine = np.array(upright.affine)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ affine[:3, :3]
    return Geometry(upright.shape, affine)


def test_an_imported_network_that_is_asked_along_leaning_axes_says_so_with_the_degrees() -> None:
    assert told_of_axes(turned((0, 0, 0)), PLANNED) is None
    assert told_of_axes(turned((0, 0, 0.05)), PLANNED) is None
    said = told_of_axes(turned((12.34, 0, 0)), PLANNED)
    assert said is not None
    assert "(slice, row, column) lean 12.3 12.3 0.0 degrees" in said
    assert told_of_axes(turned((12.34, 0, 0)), CONTRACT) is None, "resampled upright"


def test_a_tilted_gantry_leans_along_its_slices_only() -> None:
    tilted = np.array(turned((0, 0, 0)).affine)
    tilted[1, 0] = 5.0 * np.tan(np.radians(20))
    said = told_of_axes(Geometry((4, 5, 6), tilted), PLANNED)
    assert said is not None
    assert "lean 20.0 0.0 0.0 degrees" in said


@pytest.mark.parametrize("degrees", [(45, 0, 0), (35, 35, 0), (40, -35, 20)])
def test_axes_that_may_be_taken_for_one_another_are_refused_with_the_degrees(degrees) -> None:
    with pytest.raises(Refused, match="is a guess") as refused:
        told_of_axes(turned(degrees), PLANNED)
    assert refused.value.code == "askew-axes"
    assert max(refused.value.measured["lean_degrees"]) >= 45


@given(st.tuples(*[st.floats(-180, 180)] * 3))
def test_axes_that_are_not_refused_are_those_that_nibabel_takes(degrees: tuple[float, float, float]) -> None:
    """TotalSegmentator turns a CT by nibabel to the closest canonical axes."""
    grid = turned(degrees)
    try:
        told_of_axes(grid, PLANNED)
    except Refused:
        return
    turn = Turn.between(grid, "RAS")
    theirs = nibabel.io_orientation(ras_affine(grid))
    assert [int(axis) for axis in theirs[list(turn.order), 0]] == [0, 1, 2]
    assert [bool(way < 0) for way in theirs[list(turn.order), 1]] == list(turn.reversed)
