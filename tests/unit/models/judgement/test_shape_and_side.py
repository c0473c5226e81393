from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.geometry import Geometry
from models.judgement.reasons import Reason
from models.judgement.shape_and_side import SURROUNDINGS, Shape, broken_rules, measure
from models.organs import ORGANS

AFFINE = np.array([[0, 0, 2.0, -150], [0, 2.0, 0, -150], [5.0, 0, 0, -200], [0, 0, 0, 1]])
GEOMETRY = Geometry((60, 150, 150), AFFINE)


def shape(volume_ml: float, x: float, cut: bool = False) -> Shape:
    return Shape(volume_ml, (x, 0.0, 0.0), (volume_ml,), cut)


HEALTHY = {
    "spleen": shape(220, 90),
    "right_kidney": shape(160, -60),
    "left_kidney": shape(170, 60),
    "pancreas": shape(80, 10),
    "liver": shape(1500, -70),
    "stomach": shape(300, 50),
    "aorta": shape(60, 10, cut=True),
    "postcava": shape(50, -15, cut=True),
    "gallbladder": shape(30, -50),
}


def broken(**changed: Shape | None) -> dict[str, list[str]]:
    rules = broken_rules({**HEALTHY, **changed}, GEOMETRY)
    assert tuple(rules) == ORGANS
    return {organ: [str(code) for code in codes] for organ, codes in rules.items() if codes}


def test_a_healthy_study_breaks_no_rule():
    assert broken() == {}


def test_a_volume_out_of_range_is_told_unless_the_organ_is_cut():
    assert broken(liver=shape(300, -70)) == {"liver": ["volume-out-of-range"]}
    assert broken(liver=shape(300, -70, cut=True)) == {}
    assert broken(liver=shape(4000, -70, cut=True)) == {"liver": ["volume-out-of-range"]}


def test_surplus_pieces_are_told_but_not_a_few_stray_voxels():
    liver = replace(HEALTHY["liver"], pieces_ml=(1300.0, 150.0, 50.0))
    assert broken(liver=liver) == {"liver": ["fragmented"]}
    assert broken(liver=replace(liver, pieces_ml=(1480.0, 15.0, 5.0))) == {}


def test_swapped_kidneys_are_both_on_the_wrong_side():
    swapped = broken(right_kidney=shape(160, 60), left_kidney=shape(170, -60))
    assert swapped == {"right_kidney": ["wrong-side"], "left_kidney": ["wrong-side"]}


def test_a_lone_kidney_is_judged_by_the_midline():
    alone = broken(right_kidney=shape(160, 60), left_kidney=None)
    assert alone["right_kidney"] == ["wrong-side"]
    assert "left_kidney" in alone


@pytest.mark.parametrize(("organ", "x"), [("liver", 60), ("spleen", -80), ("gallbladder", 30)])
def test_one_sided_organs_beyond_the_midline_are_on_the_wrong_side(organ, x):
    assert broken(**{organ: replace(HEALTHY[organ], centre_lps_mm=(x, 0.0, 0.0))}) == {organ: ["wrong-side"]}


def test_the_midline_follows_a_patient_who_lies_off_centre():
    moved = {
        organ: replace(s, centre_lps_mm=(s.centre_lps_mm[0] + 100, 0.0, 0.0)) for organ, s in HEALTHY.items()
    }
    assert not any(broken_rules(moved, GEOMETRY).values())


@pytest.mark.parametrize("organ", ORGANS)
def test_an_organ_missing_amid_whole_neighbours_was_not_found(organ):
    assert broken(**{organ: None})[organ] == ["not-found"]


@pytest.mark.parametrize("organ", ORGANS)
def test_the_presence_of_an_organ_is_not_checked_where_its_surroundings_are_cut_or_missing(organ):
    for neighbour in SURROUNDINGS[organ]:
        cut = {neighbour: replace(HEALTHY[neighbour], cut=True)}
        assert broken(**{organ: None}, **cut)[organ] == ["presence-not-checked"]
        assert broken(**{organ: None, neighbour: None})[organ] == ["presence-not-checked"]


def measured(*voxels: tuple[slice, slice, slice]) -> Shape | None:
    mask = np.zeros(GEOMETRY.shape, dtype=bool)
    for part in voxels:
        mask[part] = True
    box = (slice(0, 60), slice(0, 150), slice(0, 150))
    return measure(mask, box, GEOMETRY)


def test_a_box_is_measured_in_millilitres_and_millimetres():
    s = measured((slice(10, 20), slice(20, 40), slice(30, 41)))
    assert s is not None
    assert s.volume_ml == pytest.approx(10 * 20 * 11 * 20 / 1000)
    assert s.centre_lps_mm == pytest.approx((-150 + 35 * 2, -150 + 29.5 * 2, -200 + 14.5 * 5))
    assert s.pieces_ml == pytest.approx((s.volume_ml,))
    assert not s.cut
    assert measured() is None


def test_pieces_that_touch_at_a_corner_are_one():
    s = measured((slice(10, 12), slice(10, 12), slice(10, 12)), (slice(12, 13), slice(12, 13), slice(12, 13)))
    assert s is not None
    assert len(s.pieces_ml) == 1
    s = measured((slice(10, 12), slice(10, 12), slice(10, 12)), (slice(20, 21), slice(12, 13), slice(12, 13)))
    assert s is not None
    assert s.pieces_ml == pytest.approx((8 * 0.02, 0.02))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("high", [False, True])
def test_each_of_the_six_faces_cuts(axis, high):
    part = [slice(25, 30), slice(70, 80), slice(70, 80)]
    n = GEOMETRY.shape[axis]
    part[axis] = slice(n - 6, n) if high else slice(0, 6)
    touching = measured(tuple(part))
    assert touching is not None
    assert touching.cut
    part[axis] = slice(n - 6, n - 1) if high else slice(1, 6)
    free = measured(tuple(part))
    assert free is not None
    assert not free.cut


def test_every_reason_has_a_sentence():
    assert all(reason.sentence.endswith(".") for reason in Reason)
