from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from models.geometry import Geometry
from models.resampling import (
    AIR_HU,
    bounding_box,
    model_grid,
    patch_on_ct,
    resample,
    subgrid,
    to_model_grid,
)
from models.volume import Volume
from tests.support.on_ct import on_ct


def wave(lps: np.ndarray) -> np.ndarray:
    """A smooth field in the patient, HU over LPS mm; its gradient tells a shift of a hundredth of a mm."""
    x, y, z = lps[..., 0], lps[..., 1], lps[..., 2]
    return (
        300 * np.sin(x / 40 + 0.3) + 200 * np.cos(y / 35) + 250 * np.sin(z / 45 - 0.2) + 2 * x - 1.5 * y + z
    )


def world(geometry: Geometry) -> np.ndarray:
    return geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))


def geometry_of(columns: np.ndarray, shape: tuple[int, int, int], origin=(-37.0, 12.5, 140.0)) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = origin
    return Geometry(shape, affine)


def rotation(degrees_x: float, degrees_z: float) -> np.ndarray:
    a, b = np.radians([degrees_x, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_x @ about_z


AXIAL = np.array([[0, 0, 1.6], [0, 1.6, 0], [2.0, 0, 0]])
GRIDS = {
    "axial": AXIAL,
    "feet to head reversed": AXIAL * [-1, 1, 1],
    "prone": AXIAL * [1, -1, -1],
    "coronal": np.array([[0, 0, 1.7], [2.0, 0, 0], [0, -1.7, 0]]),
    "sagittal": np.array([[2.0, 0, 0], [0, 0, 1.7], [0, -1.7, 0]]),
    "oblique": rotation(11, -17) @ AXIAL,
    "sheared by a tilted gantry": AXIAL + np.array([[0, 0, 0], [0.5, 0, 0], [0, 0, 0]]),
}


@pytest.mark.parametrize("columns", GRIDS.values(), ids=GRIDS.keys())
def test_world_coordinates_hold_on_any_grid(columns):
    ct = geometry_of(columns, (40, 52, 50))
    hu = wave(world(ct))
    resampled = to_model_grid(Volume(hu.astype(np.float32), ct), (2.0, 2.0, 2.0))
    assert resampled.hu.dtype == np.int16
    affine = resampled.geometry.affine
    assert np.allclose(affine[:3, :3], [[0, 0, 2], [0, 2, 0], [2, 0, 0]])
    index = ct.to_index(world(resampled.geometry))
    inside = ((index > 2) & (index < np.array(ct.shape) - 3)).all(axis=-1)
    error = np.abs(resampled.hu - wave(world(resampled.geometry)))[inside]
    # 1 HU of rounding and curvature; the steepest gradient is 12 HU/mm, so a quarter voxel would be 6 HU.
    assert inside.sum() > 5_000
    assert error.max() < 2.0
    assert error.mean() < 0.7
    far = ((index < -0.6) | (index > np.array(ct.shape) - 0.4)).any(axis=-1)
    assert (resampled.hu[far] == AIR_HU).all()


@pytest.mark.parametrize("columns", GRIDS.values(), ids=GRIDS.keys())
def test_the_model_grid_is_the_smallest_that_covers_the_ct(columns):
    ct = geometry_of(columns, (9, 12, 11))
    grid = model_grid(ct, (3.0, 2.0, 1.5))
    assert grid.spacing_mm == pytest.approx((3.0, 2.0, 1.5))
    index = grid.to_index(ct.corners_lps())
    assert index.min() >= -1e-6
    assert (index.max(axis=0) <= np.array(grid.shape) - 1 + 1e-6).all()
    assert (index.max(axis=0) > np.array(grid.shape) - 2).all()


@pytest.mark.parametrize("columns", GRIDS.values(), ids=GRIDS.keys())
def test_a_field_comes_back_to_where_it_was(columns):
    ct = geometry_of(columns, (30, 40, 40))
    grid = model_grid(ct, (2.0, 2.0, 2.0))
    centre = ct.to_lps((np.array(ct.shape) - 1) / 2)

    def ball(lps: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp((np.linalg.norm(lps - centre, axis=-1) - 16) / 2.5))

    back = on_ct(ball(world(grid)).astype(np.float16), grid, ct)
    truth = ball(world(ct))
    assert back.dtype == np.float32
    assert np.abs(back - truth)[truth > 0.05].max() < 0.02  # a fifth of a voxel off would be 0.04
    shift = np.subtract(ndimage.center_of_mass(back), ndimage.center_of_mass(truth))
    assert np.abs(shift).max() < 0.02  # voxels


def test_both_ways_of_interpolating_agree():
    ct = geometry_of(AXIAL, (12, 20, 20))
    nearly = geometry_of(rotation(0.3, 0.0) @ AXIAL, (12, 20, 20))  # just too oblique to be separable
    hu = wave(world(ct)).astype(np.float32)
    grid = subgrid(model_grid(ct, (2, 2, 2)), (slice(2, 9), slice(3, 12), slice(3, 12)))
    assert np.abs(resample(hu, ct, grid, 0.0) - wave(world(grid))).max() < 2
    assert np.abs(resample(wave(world(nearly)), nearly, grid, 0.0) - wave(world(grid))).max() < 2


def test_a_finer_ct_is_averaged_not_sampled():
    rng = np.random.default_rng(4)
    ct = geometry_of(AXIAL * [1, 0.5, 0.5], (20, 96, 96))
    noise = rng.normal(0, 100, ct.shape).astype(np.float32)
    for columns in (AXIAL * [1, 0.5, 0.5], rotation(5, 5) @ AXIAL * [1, 0.5, 0.5]):
        geometry = geometry_of(columns, ct.shape)
        grid = model_grid(geometry, (2.0, 2.0, 2.0))
        middle = tuple(slice(n // 3, 2 * n // 3) for n in grid.shape)
        averaged = resample(noise, geometry, grid, 0.0)[middle].std()
        sampled = resample(noise, geometry, grid, 0.0, antialias=False)[middle].std()
        assert averaged < 0.55 * sampled


def test_a_network_taught_on_sampled_cts_sees_a_finer_ct_between_its_voxels():
    ct = geometry_of(np.array([[0, 0, 0.7], [0, 0.7, 0], [5.0, 0, 0]]), (8, 40, 42))
    hu = np.random.default_rng(0).normal(0, 20, ct.shape).astype(np.float32)
    sampled = to_model_grid(Volume(hu, ct), (1.5, 1.5, 1.5), antialias=False)
    index = ct.to_index(world(sampled.geometry))
    inside = ((index >= 0) & (index <= np.array(ct.shape) - 1)).all(axis=-1)
    expected = ndimage.map_coordinates(hu, index[inside].T, order=1)
    assert inside.sum() > 5_000
    assert np.abs(sampled.hu[inside] - expected).max() <= 0.501
    averaged = to_model_grid(Volume(hu, ct), (1.5, 1.5, 1.5))
    assert averaged.hu[inside].std() < 0.6 * expected.std()


def test_padding_below_air_does_not_bleed_in():
    ct = geometry_of(AXIAL, (6, 8, 8))
    hu = np.full(ct.shape, -3024, dtype=np.int16)
    hu[:, 2:6, 2:6] = 40
    assert to_model_grid(Volume(hu, ct), (2, 2, 2)).hu.min() == AIR_HU


def test_a_field_between_two_slices_of_the_ct_is_an_empty_patch():
    ct = geometry_of(AXIAL * [20, 1, 1], (4, 10, 12))  # 20 mm from slice to slice
    grid = model_grid(ct, (3.0, 3.0, 3.0))
    field = np.zeros(grid.shape, np.float16)
    field[grid.shape[0] // 2] = 1  # half-way between two of them
    patch, box = patch_on_ct(field, grid, ct)
    assert patch.size == 0
    assert patch.shape == tuple(side.stop - side.start for side in box)


def test_a_negligible_field_is_an_empty_patch_and_zero_on_the_ct():
    ct = geometry_of(AXIAL, (6, 8, 8))
    grid = model_grid(ct, (2, 2, 2))
    field = np.full(grid.shape, 0.01, dtype=np.float16)
    patch, box = patch_on_ct(field, grid, ct)
    assert patch.size == 0
    assert box == (slice(0, 0),) * 3
    assert not on_ct(field, grid, ct).any()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=5), st.integers(0, 2))
def test_the_bounding_box_holds_every_voxel_and_touches_each_side(voxels, margin):
    mask = np.zeros((6, 6, 6), dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    box = bounding_box(mask, margin)
    assert box is not None
    assert mask[box].sum() == mask.sum()
    for axis, side in enumerate(box):
        hits = [v[axis] for v in voxels]
        assert (side.start, side.stop) == (max(min(hits) - margin, 0), min(max(hits) + 1 + margin, 6))


def test_an_empty_mask_has_no_box():
    assert bounding_box(np.zeros((3, 3, 3), dtype=bool)) is None
