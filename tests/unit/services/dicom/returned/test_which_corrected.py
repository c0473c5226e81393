"""Which of several results of ours a returned SEG was made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import Refused
from models.geometry import Geometry
from models.masks import BoxedMask
from models.organs import organ
from services.dicom.returned.which_corrected import which_was_corrected
from services.dicom.seg.reader import ReadSegment, SegObject

SHAPE = (6, 24, 24)
GRID = Geometry(SHAPE, np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float))
KEYS = ("liver", "stomach", "spleen")


def box(rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, slice(*rows), slice(*columns)] = True
    return mask


PLACES = {
    "liver": box((2, 12), (2, 12)),
    "stomach": box((2, 10), (14, 22)),
    "spleen": box((14, 22), (14, 22)),
}


def result(uid: str, **masks: np.ndarray) -> SegObject:
    segments = tuple(
        ReadSegment(
            n,
            organ(key).label,
            organ(key).type,
            None,
            None,
            "AUTOMATIC",
            BoxedMask.of(masks.get(key, PLACES[key])),
        )
        for n, key in enumerate(KEYS, start=1)
    )
    return SegObject(uid, "1.2", segments)


def rough(mask: np.ndarray, seed: int, voxels: int = 60) -> np.ndarray:
    """Another release's answer: some voxels of the organ's surroundings come and go."""
    other = mask.copy()
    at = np.random.default_rng(seed).integers(0, SHAPE, size=(voxels, 3))
    other[tuple(at.T)] ^= True
    return other


def edited(base: SegObject, **masks: np.ndarray) -> SegObject:
    """What a viewer saves of it: the labels stay, everything else goes."""
    drawn = {key: BoxedMask.of(mask) for key, mask in masks.items()}
    segments = tuple(
        replace(s, type=None, algorithm_type="MANUAL", mask=drawn.get(s.label.lower(), s.mask))
        for s in base.segments
    )
    return SegObject("9.9", "9", segments)


FIRST = result("1")
SECOND = result("2", stomach=rough(PLACES["stomach"], 1))
THIRD = result("3", liver=rough(PLACES["liver"], 2), stomach=rough(PLACES["stomach"], 3))
ALL = [FIRST, SECOND, THIRD]


@pytest.mark.parametrize("n", range(3))
def test_an_edit_of_one_organ_is_traced_to_the_result_it_was_made_on(n):
    mask = ALL[n].segments[1].mask.dense()
    mask[2, 3:6, 10:16] = True
    assert which_was_corrected(edited(ALL[n], stomach=mask), ALL, GRID) == n
    assert which_was_corrected(edited(ALL[n]), ALL, GRID) == n


def test_an_organ_that_came_back_exactly_outweighs_one_that_was_drawn_anew():
    anew = box((3, 12), (13, 23))
    one, other = (
        result("1"),
        result("2", spleen=rough(PLACES["spleen"], 4, 8), stomach=box((4, 10), (14, 22))),
    )
    assert which_was_corrected(edited(other, stomach=anew), [one, other], GRID) == 1
    assert which_was_corrected(edited(one, stomach=anew), [one, other], GRID) == 0


def test_where_only_the_redrawn_organ_differs_it_is_refused_unless_one_is_referred_to():
    anew = box((2, 9), (12, 20))
    back = edited(FIRST, stomach=anew)
    with pytest.raises(Refused, match="ambiguous-result") as refused:
        which_was_corrected(back, ALL[:2], GRID)
    assert refused.value.measured["results"] == 2
    assert which_was_corrected(replace(back, refers_to=frozenset({"1"})), ALL[:2], GRID) == 0
    assert which_was_corrected(replace(back, refers_to=frozenset({"2"})), ALL[:2], GRID) == 1


def test_a_reader_who_makes_the_worse_result_like_the_better_one_corrected_the_worse():
    worse, better = PLACES["stomach"] | box((2, 10), (12, 14)), PLACES["stomach"]
    repaired = better.copy()
    repaired[:, 2, 14] = False  # by hand: nearly as the better one has it, exactly nowhere
    with pytest.raises(Refused, match="ambiguous-result"):
        which_was_corrected(edited(FIRST, stomach=repaired), [result("1"), result("2", stomach=worse)], GRID)
    repaired = worse.copy()
    repaired[1:] = better[1:]
    repaired[1:, 2, 14] = False  # one slice was not touched
    back = edited(FIRST, stomach=repaired)
    assert which_was_corrected(back, [result("1"), result("2", stomach=worse)], GRID) == 1


def test_voxels_outweigh_a_reference():
    assert which_was_corrected(replace(edited(FIRST), refers_to=frozenset({"2"})), ALL, GRID) == 0


def test_of_results_that_are_the_same_the_last_is_taken_or_the_one_referred_to():
    same = [result("1"), result("2"), result("3")]
    back = edited(FIRST, liver=box((2, 11), (2, 12)))
    assert which_was_corrected(back, same, GRID) == 2
    assert which_was_corrected(replace(back, refers_to=frozenset({"1"})), same, GRID) == 0


def test_organs_that_did_not_come_back_say_nothing():
    back = edited(SECOND)
    only_liver = replace(back, segments=back.segments[:1])
    assert which_was_corrected(only_liver, [SECOND, FIRST], GRID) == 1


def test_a_result_that_found_an_organ_elsewhere_is_not_the_one():
    elsewhere = result("4", spleen=box((2, 4), (20, 24)))
    assert which_was_corrected(edited(FIRST), [FIRST, elsewhere], GRID) == 0


def test_one_result_is_the_one_and_none_is_a_mistake():
    assert which_was_corrected(edited(FIRST, liver=box((2, 4), (2, 4))), [FIRST], GRID) == 0
    with pytest.raises(ValueError, match="no result"):
        which_was_corrected(FIRST, [], GRID)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2), st.permutations(range(3)))
def test_the_order_of_results_that_differ_does_not_matter(seed, n, order):
    random = np.random.default_rng(seed)
    mask = ALL[n].segments[0].mask.dense()
    low = random.integers(0, (5, 18, 18))
    mask[tuple(slice(a, a + 4) for a in low)] = bool(random.integers(2))
    found = which_was_corrected(edited(ALL[n], liver=mask), [ALL[m] for m in order], GRID)
    assert order[found] == n
