"""Where the network's voxels lie in the patient, and that turning a CT loses nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.geometry import Geometry
from models.nnunet.grid import coarse_axis, network_grid, network_volume
from models.nnunet.turn import Turn
from models.recipe import DIRECTIONS, NnunetRecipe
from tests.support.planned_networks import INTENSITY

ORIENTATIONS = [
    "".join(letters)
    for letters in itertools.permutations(DIRECTIONS, 3)
    if len({DIRECTIONS[letter][0] for letter in letters}) == 3
]


def oriented(axes: str, shape=(4, 5, 6), spacing=(2.0, 0.7, 0.9)) -> Geometry:
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, letter in enumerate(axes):
        along, way = DIRECTIONS[letter]
        affine[along, axis] = way * spacing[axis]
    affine[:3, 3] = (11, -7, 3)
    return Geometry(shape, affine)


def test_there_are_48_orientations():
    assert len(ORIENTATIONS) == 48


@given(own=st.sampled_from(ORIENTATIONS), wanted=st.sampled_from(ORIENTATIONS), tilt=st.floats(-0.5, 0.5))
def test_a_turned_voxel_lies_where_it_lay_and_turns_back(own, wanted, tilt):
    ct = oriented(own)
    lean = np.eye(4)
    lean[:3, :3] = Rotation.from_rotvec([tilt, tilt / 2, 0]).as_matrix()
    ct = Geometry(ct.shape, lean @ ct.affine)
    numbers = np.arange(np.prod(ct.shape)).reshape(ct.shape)
    turn = Turn.between(ct, wanted)
    turned, grid = turn.apply(numbers), turn.geometry(ct)
    assert turned.shape == grid.shape
    assert np.array_equal(turn.undo(turned), numbers)
    where = ct.to_lps(np.argwhere(numbers >= 0))[turned.ravel()]
    assert np.allclose(grid.to_lps(np.argwhere(turned >= 0)), where)
    for axis, letter in enumerate(wanted):
        along, way = DIRECTIONS[letter]
        assert way * grid.affine[along, axis] / grid.spacing_mm[axis] > 0.7


@given(
    axes=st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(3, 20)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4)] * 3),
    zeros=st.integers(0, 1),
)
def test_the_networks_field_has_the_edges_of_what_was_cut_out(axes, shape, spacing, zeros):
    ct = oriented("SPL", shape, spacing)
    hu = np.full(shape, 30, dtype=np.int16)
    if zeros:
        hu[0], hu[:, -1] = 0, 0
    grid = network_grid(hu, ct, axes, (2, 2, 2))
    turned = grid.turn.geometry(ct)
    for outer, inner in (
        ([side.start - 0.5 for side in grid.box], [-0.5] * 3),
        ([side.stop - 0.5 for side in grid.box], [side - 0.5 for side in grid.shape]),
    ):
        assert np.allclose(turned.to_lps(outer), grid.geometry.to_lps(inner))
    assert np.prod(grid.cropped) == np.count_nonzero(hu)


def test_water_everywhere_is_not_cut_out():
    ct = oriented("SPL")
    grid = network_grid(np.zeros(ct.shape, np.int16), ct, "SAR", ct.spacing_mm)
    assert grid.cropped == ct.shape


def test_hounsfield_units_are_clipped_before_they_are_normalised():
    ct = oriented("SPL")
    hu = np.full(ct.shape, 3000, dtype=np.int16)
    hu[0] = -1024
    recipe = NnunetRecipe("SPL", INTENSITY, ("liver",))
    volume = network_volume(hu, network_grid(hu, ct, "SPL", ct.spacing_mm), recipe)
    assert volume.dtype == np.float32
    assert volume[1:].ravel() == pytest.approx((800.25 - 40.3) / 150.7)
    assert volume[0].ravel() == pytest.approx((-900.5 - 40.3) / 150.7)


@pytest.mark.parametrize(
    ("spacings", "axis"),
    [
        (((5, 0.8, 0.8), (3, 3, 3)), 0),
        (((3, 3, 3), (1, 1, 4)), 2),
        (((5, 0.8, 0.8), (1, 1, 4)), 0),
        (((5, 4.9999999, 0.8), (1, 1, 4)), None),
        (((2.4, 0.8, 0.8), (3, 3, 3)), None),
        (((3, 1.0, 1.0), (1, 1, 1)), None),
    ],
)
def test_the_coarse_axis_is_the_longest_side_over_three_times_the_shortest(spacings, axis):
    assert coarse_axis(*spacings) == axis
