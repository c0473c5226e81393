"""Pictures that are not of their place, made of pictures that are."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.errors import Refused
from models.phantom.case import make_case
from models.series.slice_contents import FEWEST_SLICES, NOT_JUDGED, OUT_OF_ORDER, SMALLEST_SIDE, Doubts
from models.series.verdict import Code
from tests.support.slices_out_of_place import (
    OUT_OF_PLACE,
    STRANGE,
    Stack,
    judged,
    ordered,
    put,
    told_of,
    two_passes,
)


@cache
def phantom(seed: int) -> Stack:
    stack = make_case("AB"[seed % 2], seed, spacing_mm=(5.0, 3.0, 3.0)).volume.hu
    stack.flags.writeable = False
    return stack


@pytest.mark.parametrize("seed", range(4))
def test_a_phantom_as_it_is_has_nothing_strange(seed: int) -> None:
    assert judged(phantom(seed)) == Doubts()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [*OUT_OF_PLACE, "swapped", "noise", "inverted"])
def test_what_cannot_be_of_its_place_is_refused(kind: str, seed: int) -> None:
    stack = phantom(seed)
    k = len(stack) // 2
    with pytest.raises(Refused) as refusal:
        judged((OUT_OF_PLACE | STRANGE)[kind](stack, k))
    assert refusal.value.code == Code.SLICE_OUT_OF_PLACE
    first, last = refusal.value.measured["slices"]
    assert first - 10 <= k + 1 <= last + 10


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", STRANGE)
def test_what_may_not_be_of_its_place_is_told(kind: str, seed: int) -> None:
    stack = phantom(seed)
    assert told_of(STRANGE[kind](stack, len(stack) // 2)) in ("noted", "refused")


def test_of_slices_beyond_a_break_the_few_are_doubted_or_all_where_there_are_many() -> None:
    stack = phantom(0)
    k, end = len(stack) // 2, len(stack) - 1
    moved = np.concatenate((stack[:k], np.roll(stack[k:], stack.shape[2] // 10, axis=2)))
    assert judged(moved).slices == tuple(range(len(stack)))
    few = judged(STRANGE["last four from the other end"](stack, k)).slices
    assert set(range(end - 3, end + 1)) <= set(few) <= set(range(end - 6, end + 1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "kind",
    ["last upside down", "first upside down", "upside down", "second half mirrored", "last three reversed"],
)
def test_what_is_turned_over_or_in_reverse_is_refused_at_an_end_too(kind: str, seed: int) -> None:
    """There it has one neighbour, from which it may differ little where slices are thick."""
    stack = make_case("AB"[seed % 2], seed, spacing_mm=(8.0, 4.0, 4.0)).volume.hu
    with pytest.raises(Refused, match=r"turned over|in reverse") as refusal:
        judged(STRANGE[kind](stack, len(stack) // 2))
    assert refusal.value.measured["times"] > OUT_OF_ORDER


@pytest.mark.parametrize("k", range(2, 46, 4))
def test_neighbours_that_are_swapped_are_told_wherever_they_are(k: int) -> None:
    stack = phantom(1)
    assert told_of(ordered(stack, k, k + 1, k)) in ("noted", "refused")


@pytest.mark.parametrize("seed", range(4))
def test_two_passes_half_a_step_apart_are_told_by_their_pictures(seed: int) -> None:
    with pytest.raises(Refused) as refusal:
        judged(two_passes(phantom(seed)))
    assert refusal.value.code == Code.MULTI_PHASE


@pytest.mark.parametrize("deviation_hu", [20, 60])
def test_slices_that_differ_in_noise_alone_are_in_no_doubt(deviation_hu: float) -> None:
    """Each lies as far from the next as from any other: any order is as good."""
    stack = phantom(0)
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, deviation_hu, (80, *stack.shape[1:]))
        assert judged(np.rint(stack[len(stack) // 2] + noise).astype(np.int16)) == Doubts(), seed


def test_few_or_small_slices_are_not_judged_and_that_is_said() -> None:
    stack = phantom(0)
    few, small = stack[: FEWEST_SLICES - 1], stack[:, : SMALLEST_SIDE - 1]
    for each in (few, small):
        assert judged(each) == Doubts(notes=(NOT_JUDGED,))


def test_blank_slices_at_an_end_are_doubted_and_allowed() -> None:
    stack = phantom(0).copy()
    stack[:2] = -1024
    doubts = judged(stack)
    assert doubts.slices == (0, 1)
    assert doubts.notes == ("2 slice(s) at the ends of the series are blank; 50 are not.",)


def test_a_series_of_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="hold one value each"):
        judged(np.full_like(phantom(0), -1024))


def test_a_picture_a_little_off_is_a_note_that_names_the_slice_and_doubts_no_other() -> None:
    stack = phantom(0)
    k = len(stack) // 2
    moved = put(stack, k, np.roll(stack[k], 2, axis=1))
    doubts = judged(moved)
    assert doubts.slices == (k,)
    assert doubts.notes[0].startswith(f"Slice {k + 1} (instance {k + 1}) differs from the slices around ")
