from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.phantom.rendering import Canvas, Layer, Pose, Structure
from models.phantom.shapes import (
    Carved,
    Column,
    Common,
    Ellipsoid,
    HalfSpace,
    Join,
    Shape,
    Tube,
    rotation,
    smooth_path,
)
from models.phantom.tissues import Material

BALL = Ellipsoid((1.0, -2.0, 3.0), (10.0, 10.0, 10.0))
EGG = Ellipsoid((4.0, 0.0, -6.0), (12.0, 20.0, 31.0), rotation(20, -35, 50))
BEND = Tube(np.array([[0.0, 0, 0], [20, 5, -3], [30, 25, 10]]), np.array([6.0, 9.0, 4.0]))
VESSEL = Column(np.array([-20.0, 0.0, 30.0]), np.array([[0.0, 0], [3, 1], [-2, 4]]), np.full((3, 2), 7.0))
SOLIDS: list[Shape] = [BALL, EGG, BEND, VESSEL, Join((EGG, BEND), 8.0), Carved(EGG, (BALL,), 2.0)]


def at(shape: Shape, *points: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.array(points, dtype=np.float32).T
    return shape.distance(x, y, z)


def test_a_ball_measures_true_distances() -> None:
    points = ((1, -2, 13), (1, -2, 18), (1, -2, 8), (11, -2, 3))
    assert at(BALL, *points) == pytest.approx([0, 5, -5, 0], abs=1e-4)


def test_a_tube_measures_distance_to_its_balls() -> None:
    straight = Tube(np.array([[0.0, 0, 0], [0, 0, 10]]), np.array([2.0, 4.0]))
    assert at(straight, (0, 0, 5), (5, 0, 5), (0, 0, -3), (0, 0, 16)) == pytest.approx(
        [-3, 2, 1, 2], abs=1e-5
    )


def test_carving_leaves_the_gap() -> None:
    hollow = Carved(BALL, (HalfSpace((0, 0, 3), (0, 0, 1)),), 2.0)
    assert at(hollow, (1, -2, 6), (1, -2, 4), (1, -2, 2))[1:] == pytest.approx([1, 3], abs=1e-5)
    assert at(hollow, (1, -2, 6))[0] < 0


def test_the_common_part_is_inside_both() -> None:
    both = Common((BALL, EGG))
    points = np.random.default_rng(0).uniform(-40, 40, (2000, 3)).astype(np.float32).T
    inside = both.distance(*points) < 0
    assert np.array_equal(inside, (BALL.distance(*points) < 0) & (EGG.distance(*points) < 0))
    assert inside.any()


@pytest.mark.parametrize("shape", SOLIDS, ids=lambda s: type(s).__name__)
@settings(max_examples=40, deadline=None)
@given(point=st.tuples(*[st.floats(-60, 60, width=32)] * 3))
def test_nothing_is_inside_a_shape_outside_its_box(shape: Shape, point: tuple[float, float, float]) -> None:
    low, high = shape.box
    if not all(lo <= p <= hi for lo, p, hi in zip(low, point, high, strict=True)):
        assert at(shape, point)[0] >= -1e-3


@settings(max_examples=30, deadline=None)
@given(angles=st.tuples(*[st.floats(-180, 180)] * 3))
def test_a_rotation_keeps_lengths_and_hands(angles: tuple[float, float, float]) -> None:
    turn = rotation(*angles)
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)


def test_a_smooth_path_goes_through_its_points() -> None:
    points = np.array([[0.0, 0, 0], [10, 3, 1], [15, -4, 9], [30, 0, 2]])
    assert smooth_path(points, 5)[::5] == pytest.approx(points)


def canvas_of_planes(edge_mm: float = 2.0) -> Canvas:
    x = np.arange(8, dtype=np.float32)[None, None, :] * 2 + np.zeros((3, 4, 1), np.float32)
    y = np.arange(4, dtype=np.float32)[None, :, None] + np.zeros((3, 1, 8), np.float32)
    z = np.arange(3, dtype=np.float32)[:, None, None] + np.zeros((1, 4, 8), np.float32)
    materials = {"air": Material(-1000, 0), "muscle": Material(60, 0), "gas": Material(-960, 0)}
    return Canvas(x, y, z, np.zeros(x.shape, np.float32), materials, edge_mm, ("liver", "stomach"))


def test_an_edge_through_a_pixel_mixes_by_the_covered_share() -> None:
    canvas = canvas_of_planes()
    canvas.fill(canvas.x - np.float32(6.5), "muscle")
    assert canvas.hu[1, 2] == pytest.approx([60, 60, 60, -1000 + 0.75 * 1060, -1000, -1000, -1000, -1000])


def test_later_structures_take_voxels_and_inner_ones_do_not() -> None:
    canvas = canvas_of_planes()
    muscle = (Layer("muscle"),)
    canvas.paint(Structure(Ellipsoid((7, 1.5, 1), (30, 30, 30)), muscle, "liver"))
    canvas.paint(Structure(Ellipsoid((0, 1.5, 1), (5, 30, 30)), (Layer("gas"),), inside=True))
    assert (canvas.labels == 1).all()
    canvas.paint(Structure(Ellipsoid((14, 1.5, 1), (5, 30, 30)), muscle, "stomach"))
    canvas.paint(Structure(Ellipsoid((14, 1.5, 1), (1, 30, 30)), muscle))
    assert canvas.labels[1, 2].tolist() == [1, 1, 1, 1, 1, 2, 2, 0]


def test_gas_stays_in_front_of_its_level() -> None:
    canvas = canvas_of_planes(edge_mm=0.5)
    layers = (Layer("muscle"), Layer("gas", above=1.5))
    canvas.paint(Structure(Ellipsoid((7, 1.5, 1), (30, 30, 30)), layers, "stomach"))
    assert canvas.hu[1, :, 3].tolist() == [-960, -960, 60, 60]
    assert (canvas.labels == 2).all()


def test_a_flat_warp_is_a_shift_and_a_scale() -> None:
    control = np.zeros((3, 6, 6, 6), dtype=np.float32)
    control[0] = 3
    pose = Pose((2.0, 1.0, 0.5), (1.0, 0.0), (10.0, 0.0, -4.0), (-110.0, -110.0, -110.0), control)
    axis = np.array([-20.0, 0.0, 30.0])
    x, y, z = pose.canonical(axis, axis, axis)
    assert x[0, 0] == pytest.approx((axis - 10) / 2 + 3, abs=1e-4)
    assert y[0, :, 0] == pytest.approx(axis)
    assert z[:, 0, 0] == pytest.approx((axis + 4) / 0.5)
