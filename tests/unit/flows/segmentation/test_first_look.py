"""Where a reader should look first: the worst organ, at the image of its largest doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flows.segmentation.first_look import FirstLook, first_look
from models.findings import Flag, StudyFindings
from models.masks import BoxedMask
from models.organs import ORGANS
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

SERIES = ct_series(AFFINES["axial"])
MASKS = organ_masks((7, 19, 21))
SEG = "1.2.3"


def look(findings: StudyFindings) -> FirstLook | None:
    return first_look(SERIES, findings, SEG)


def image(k: int) -> str:
    return str(SERIES.images[k].SOPInstanceUID)


def test_the_region_of_lowest_rank_says_organ_and_image() -> None:
    findings = findings_of(SERIES, MASKS, flagged=("stomach", "aorta"))
    stomach, aorta = findings.regions
    mask = np.zeros((7, 19, 21), bool)
    mask[2, 0, :3] = mask[5, 0, :7] = mask[6, 0, :1] = True
    worst = replace(aorta, rank=1, mask=BoxedMask.of(mask))
    found = look(replace(findings, regions=(replace(stomach, rank=2), worst)))
    assert found == FirstLook("aorta", SEG, ORGANS.index("aorta") + 1, image(5))


def test_what_is_rejected_goes_before_what_is_for_review_whatever_the_ranks() -> None:
    findings = findings_of(SERIES, MASKS, flagged=("stomach", "aorta"))
    organs = tuple(replace(f, flag=Flag.REJECT) if f.organ == "aorta" else f for f in findings.organs)
    found = look(replace(findings, organs=organs))
    assert found is not None
    assert found.organ == "aorta"
    assert found.image_uid == image(findings.regions[1].slices[0])


def test_the_segments_number_is_that_in_a_seg_of_some_organs() -> None:
    asked = {key: MASKS[key] for key in ("liver", "aorta")}
    found = look(findings_of(SERIES, asked, flagged=("aorta",)))
    assert found is not None
    assert (found.organ, found.segment) == ("aorta", 2)


def test_without_a_region_it_is_the_first_organ_found_where_it_is_largest() -> None:
    findings = findings_of(SERIES, MASKS, flagged=("gallbladder", "liver"), regions=())
    found = look(findings)
    assert found is not None
    assert found.organ == "liver"
    assert found.image_uid == image(int(MASKS["liver"].sum(axis=(1, 2)).argmax()))


def test_of_an_organ_of_which_nothing_is_drawn_no_image_is_shown() -> None:
    findings = findings_of(SERIES, MASKS, flagged=("gallbladder",), regions=())
    organs = tuple(replace(f, flag=Flag.REVIEW) if f.organ == "gallbladder" else f for f in findings.organs)
    assert look(replace(findings, organs=organs)) == FirstLook("gallbladder", SEG, 9)


@pytest.mark.parametrize("flag", [Flag.CLEAR, Flag.NOT_JUDGED])
def test_where_nothing_is_flagged_there_is_no_first_look(flag: Flag) -> None:
    findings = findings_of(SERIES, MASKS, flagged=())
    assert look(replace(findings, organs=tuple(replace(f, flag=flag) for f in findings.organs))) is None
