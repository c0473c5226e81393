from __future__ import annotations

import numpy as np
import pytest

from models.body import filled_body
from models.geometry import Geometry
from models.judgement.between_organs import NEIGHBOURS, broken_relations, relate, shared_voxels
from models.judgement.reasons import Reason
from models.masks import BoxedMask

GRID = Geometry((30, 40, 50), np.array([[0, 0, 4.0, -98], [0, 4.0, 0, -78], [4.0, 0, 0, 0], [0, 0, 0, 1]]))


def box(k: slice, j: slice, i: slice) -> np.ndarray:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[k, j, i] = True
    return mask


BODY = box(slice(None), slice(5, 35), slice(5, 45))
LIVER = box(slice(10, 20), slice(10, 25), slice(10, 25))
GALLBLADDER = box(slice(8, 10), slice(12, 15), slice(15, 18))


def broken(**masks: np.ndarray) -> dict[str, list[Reason]]:
    found = broken_relations(relate(masks, BODY, GRID))
    return {organ: list(reasons) for organ, reasons in found.items() if reasons}


def test_neighbours_inside_the_body_break_no_rule():
    assert broken(liver=LIVER, gallbladder=GALLBLADDER) == {}


def test_a_gallbladder_far_from_the_liver_is_not_adjacent():
    far = box(slice(8, 10), slice(12, 15), slice(32, 35))
    assert relate({"liver": LIVER, "gallbladder": far}, BODY, GRID)["gallbladder"].gap_mm == pytest.approx(
        np.hypot(8 * 4, 4)
    )
    assert broken(liver=LIVER, gallbladder=far) == {"gallbladder": [Reason.NOT_ADJACENT]}


def test_where_no_neighbour_was_found_nothing_is_said():
    far = box(slice(8, 10), slice(12, 15), slice(32, 35))
    assert broken(gallbladder=far, liver=np.zeros(GRID.shape, bool)) == {}


def test_an_organ_that_leaves_the_body_is_told():
    assert broken(liver=box(slice(10, 20), slice(10, 25), slice(3, 20))) == {"liver": [Reason.OUTSIDE_BODY]}
    assert broken(liver=box(slice(10, 20), slice(10, 25), slice(4, 30))) == {}, "a voxel's width is no matter"


def test_two_organs_that_claim_the_same_voxels_are_both_told_by_their_own_share():
    inside = box(slice(12, 16), slice(12, 16), slice(12, 16))
    assert broken(liver=LIVER, pancreas=inside) == {"pancreas": [Reason.OVERLAPPING]}
    half = box(slice(10, 20), slice(10, 25), slice(18, 33))
    assert set(broken(liver=LIVER, stomach=half)) == {"liver", "stomach"}


def test_air_inside_the_body_belongs_to_it():
    hu = np.where(BODY, 40, -1000).astype(np.int16)
    hu[12:16, 15:20, 15:20] = -950
    assert np.array_equal(filled_body(hu), BODY)


def test_neighbours_are_organs_and_never_oneself():
    for organ, (near, farthest) in NEIGHBOURS.items():
        assert organ not in near
        assert farthest >= 20


def test_voxels_shared_are_counted_for_each_pair_and_stand_with_both() -> None:
    slabs = {
        "liver": box(slice(0, 4), slice(0, 2), slice(0, 2)),
        "stomach": box(slice(3, 6), slice(0, 2), slice(0, 2)),
        "spleen": box(slice(2, 5), slice(1, 2), slice(0, 2)),
        "aorta": box(slice(9, 10), slice(0, 2), slice(0, 2)),
    }
    assert shared_voxels({organ: BoxedMask.of(mask) for organ, mask in slabs.items()}) == {
        "liver": {"stomach": 4, "spleen": 4},
        "stomach": {"liver": 4, "spleen": 4},
        "spleen": {"liver": 4, "stomach": 4},
        "aorta": {},
    }
