"""Masks by their boxes: each operation is that of the dense arrays."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from operator import and_, or_, sub, xor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from models.masks import PLANE_BYTES, BoxedMask, MaskByPlanes

SHAPES = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=19)
"""Rows of less and of more than a byte or two, and slices whose bits are no whole bytes."""


@st.composite
def drawn(draw: st.DrawFn, count: int = 1) -> list[np.ndarray]:
    """Return arrays of one shape: noise in a part of the grid, often apart from each other, often empty."""
    shape = draw(SHAPES)
    found = []
    for _ in range(count):
        mask = np.zeros(shape, dtype=bool)
        corner = [draw(st.integers(0, side)) for side in shape]
        size = [draw(st.integers(0, side - low)) for side, low in zip(shape, corner, strict=True)]
        at = tuple(slice(low, low + side) for low, side in zip(corner, size, strict=True))
        mask[at] = draw(arrays(bool, tuple(size)))
        found.append(mask)
    return found


@settings(max_examples=100, deadline=None)
@given(drawn())
def test_a_mask_is_the_array_it_was_made_of(one: list[np.ndarray]) -> None:
    (dense,) = one
    mask = BoxedMask.of(dense)
    assert np.array_equal(mask.dense(), dense)
    assert mask.shape == dense.shape
    assert mask.voxels == np.count_nonzero(dense)
    assert mask.any() == dense.any()
    assert mask.by_slice().tolist() == np.count_nonzero(dense, axis=(1, 2)).tolist()
    assert np.array_equal(dense[mask.box], mask.inside)
    assert b"".join(mask.packed()) == np.packbits(dense).tobytes()
    for k, plane in enumerate(dense):
        assert np.array_equal(mask.plane(k), plane)
    if dense.any():
        ends = [np.flatnonzero(dense.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
        assert [(side.start, side.stop - 1) for side in mask.box] == [tuple(end) for end in ends]
        assert mask.centre().tolist() == np.argwhere(dense).mean(axis=0).tolist()
    else:
        assert mask == BoxedMask.empty(mask.shape)


OPERATIONS: dict[str, tuple[Callable, Callable]] = {
    "and": (and_, and_),
    "or": (or_, or_),
    "xor": (xor, xor),
    "and not": (sub, lambda one, other: one & ~other),
}


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=80, deadline=None)
@given(drawn(2))
def test_an_operation_is_that_of_the_arrays(name: str, two: list[np.ndarray]) -> None:
    ours, theirs = OPERATIONS[name]
    one, other = two
    found = ours(BoxedMask.of(one), BoxedMask.of(other))
    assert np.array_equal(found.dense(), theirs(one, other))
    assert found == BoxedMask.of(theirs(one, other)), "its box is as small as that of one made anew"


@settings(max_examples=80, deadline=None)
@given(drawn(2), st.booleans())
def test_two_are_equal_where_their_arrays_are_and_differ_slice_by_slice(
    two: list[np.ndarray], same: bool
) -> None:
    one, other = two[0], two[0].copy() if same else two[1]
    assert (BoxedMask.of(one) == BoxedMask.of(other)) is np.array_equal(one, other)
    changed = BoxedMask.of(one).changed_by_slice(BoxedMask.of(other))
    assert changed.tolist() == np.count_nonzero(one ^ other, axis=(1, 2)).tolist()


@settings(max_examples=80, deadline=None)
@given(drawn(), st.data())
def test_any_part_of_the_grid_is_that_of_the_array(one: list[np.ndarray], data: st.DataObject) -> None:
    (dense,) = one
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in dense.shape]
    k, j, i = (slice(low, high) for low, high in ends)
    assert np.array_equal(BoxedMask.of(dense).within((k, j, i)), dense[k, j, i])
    elsewhere = np.zeros_like(dense)
    elsewhere[k, j, i] = dense[k, j, i]
    assert BoxedMask.part(dense[k, j, i], (k, j, i), dense.shape) == BoxedMask.of(elsewhere)


@settings(max_examples=30, deadline=None)
@given(arrays(bool, st.integers(1, 9)))
def test_slices_named_are_drawn_whole_and_no_other(named: np.ndarray) -> None:
    dense = np.zeros((len(named), 3, 11), dtype=bool)
    dense[named] = True
    assert BoxedMask.of_slices(named, dense.shape) == BoxedMask.of(dense)


@settings(max_examples=80, deadline=None)
@given(drawn(), st.randoms(use_true_random=False))
def test_planes_in_any_order_make_the_mask_and_say_what_it_takes(one: list[np.ndarray], random) -> None:
    (dense,) = one
    growing, held = MaskByPlanes(dense.shape), 0
    for k in random.sample(range(len(dense)), len(dense)):
        plane = BoxedMask.of(dense[k][None])
        assert growing.lay(k, plane)
        assert growing.lay(k, BoxedMask.of(dense[k][None])), "the same again"
        assert not growing.lay(k, BoxedMask.of(~dense[k][None])), "another one in its place"
        held += plane.nbytes + PLANE_BYTES
    whole = growing.whole()
    assert whole == BoxedMask.of(dense)
    assert growing.any() == dense.any()
    assert growing.nbytes == max(whole.nbytes, held)


@settings(max_examples=60, deadline=None)
@given(st.lists(arrays(bool, (3, 4, 9)), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_planes_laid_over_each_other_are_the_union_and_cost_what_it_costs(
    layers: list[np.ndarray], random
) -> None:
    united, once = MaskByPlanes((3, 4, 9)), MaskByPlanes((3, 4, 9))
    planes = [(k, layer[k]) for layer in layers for k in range(3)]
    for k, plane in random.sample(planes, len(planes)):
        united.unite(k, BoxedMask.of(plane[None]))
    dense = np.any(layers, axis=0)
    for k in range(3):
        once.lay(k, BoxedMask.of(dense[k][None]))
    assert united.whole() == BoxedMask.of(dense)
    assert united.nbytes == once.nbytes


def test_a_mask_costs_what_it_draws_and_not_the_grid() -> None:
    shape = (300, 512, 512)
    inside = np.ones((20, 24, 24), dtype=bool)
    mask = BoxedMask.part(inside, (slice(100, 120), slice(7, 31), slice(9, 33)), shape)
    assert mask.nbytes == 20 * 24 * 3
    assert BoxedMask.empty(shape).nbytes == 0
    assert (mask - mask).nbytes == 0


def test_a_mask_is_never_changed() -> None:
    dense = np.ones((2, 2, 2), dtype=bool)
    mask = BoxedMask.of(dense)
    dense[0, 0, 0] = False
    assert mask.voxels == 8
    with pytest.raises(ValueError, match="read-only"):
        mask.bits[0, 0, 0] = 0
    growing = MaskByPlanes((1, 2, 2))
    growing.lay(0, BoxedMask.of(dense[:1]))
    for made in (growing.whole(), mask & mask, mask | mask, mask - BoxedMask.empty((2, 2, 2))):
        assert not made.bits.flags.writeable


def test_what_is_no_mask_or_of_another_grid_is_a_mistake() -> None:
    mask = BoxedMask.of(np.ones((2, 2, 2), dtype=bool))
    for operation, other in product(
        (and_, or_, sub, xor), (np.ones((2, 2, 3), bool), np.zeros((3, 2, 2), bool))
    ):
        with pytest.raises(ValueError, match="two grids"):
            operation(mask, BoxedMask.of(other))
    for operation, pair in product((and_, or_, xor, sub), ((mask, mask.dense()), (mask.dense(), mask))):
        with pytest.raises((TypeError, AttributeError)):
            operation(*pair)
    assert mask != mask.dense()
    with pytest.raises(ValueError, match="bool"):
        BoxedMask.of(np.ones((2, 2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match="three axes"):
        BoxedMask.of(np.ones((2, 2), dtype=bool))
    with pytest.raises(ValueError, match="size"):
        BoxedMask.part(np.ones((1, 1, 1), bool), (slice(0, 2), slice(0, 2), slice(0, 2)), (2, 2, 2))
    with pytest.raises(ValueError, match="no slice"):
        MaskByPlanes((2, 2, 2)).lay(0, BoxedMask.empty((1, 2, 3)))
    with pytest.raises(ValueError, match="no centre"):
        BoxedMask.empty((2, 2, 2)).centre()
