"""Texts that must fit where viewers show them, and UIDs that must repeat."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bounds.acquisition_facts import StrangeFact
from models.findings import Flag
from models.judgement.reasons import Reason
from models.organs import ORGANS
from models.series.verdict import Code, GeometryVerdict, Verdict
from services.dicom.identity import Identity, hashed_uid
from services.dicom.results import private_codes
from services.dicom.results.wording import (
    image_range,
    organ_description,
    organs_description,
    region_description,
    review_description,
)
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

SERIES = ct_series(AFFINES["axial"])
MASKS = organ_masks((7, 19, 21))
REPAIRED = GeometryVerdict(Verdict.REPAIRED, Code.GANTRY_TILT, "The gantry is tilted.")


def findings(flagged=("stomach", "aorta"), **overrides):
    return findings_of(SERIES, MASKS, flagged=flagged, **overrides)


@pytest.mark.parametrize(
    ("flagged", "overrides", "text"),
    [
        ((), {"release": 1}, "Organs r1: all clear"),
        (("stomach", "aorta"), {}, "Organs r2: check stomach, aorta"),
        (
            ("stomach", "aorta"),
            {"demonstration": True},
            "DEMO NOT FOR CLINICAL USE Organs r2: check stomach, aorta",
        ),
        (ORGANS, {}, "Organs r2: check 9 organs: spleen, right kidney, ..."),
        (ORGANS, {"demonstration": True}, "DEMO NOT FOR CLINICAL USE Organs r2: check 9 organs: spleen, ..."),
        (
            ORGANS,
            {"demonstration": True, "release": 12345678},
            "DEMO NOT FOR CLINICAL USE Organs r12345678: check 9 organs",
        ),
    ],
)
def test_the_series_description_sums_up_the_flags_in_64_characters(flagged, overrides, text):
    assert organs_description(findings(flagged, **overrides)) == text
    assert len(text) <= 64


def test_all_is_clear_only_where_every_organ_was_asked_for():
    asked = {key: MASKS[key] for key in ("spleen", "liver")}
    assert organs_description(findings_of(SERIES, asked, flagged=())) == "Organs r2: clear spleen, liver"
    many = {key: MASKS[key] for key in ORGANS[:8]}
    text = organs_description(findings_of(SERIES, many, flagged=(), demonstration=True))
    assert text == "DEMO NOT FOR CLINICAL USE Organs r2: clear 8 organs: spleen, ..."
    assert len(text) <= 64


def test_what_is_not_judged_is_counted_once():
    said = findings(flagged=("liver",))
    unjudged = tuple(
        replace(f, flag=Flag.NOT_JUDGED, reasons=("no-target",)) if f.organ in ("aorta", "postcava") else f
        for f in said.organs
    )
    assert organs_description(replace(said, organs=unjudged)) == "Organs r2: check liver; 2 not judged"
    clear = tuple(replace(f, flag=Flag.CLEAR, reasons=()) if f.organ == "liver" else f for f in unjudged)
    assert organs_description(replace(said, organs=clear)).endswith(", ...; 2 not judged")
    assert organs_description(replace(said, organs=clear)).startswith("Organs r2: clear 7 organs: spleen")
    demonstration = findings(flagged=ORGANS, demonstration=True, release=12)
    further = tuple(replace(f, flag=Flag.NOT_JUDGED) for f in unjudged * 5)
    text = organs_description(replace(demonstration, organs=(*demonstration.organs, *further)))
    assert text == "DEMO NOT FOR CLINICAL USE Organs r12: check 9; 45 not judged"
    assert len(text) <= 64
    none = tuple(replace(f, flag=Flag.NOT_JUDGED, reasons=("no-target",)) for f in said.organs)
    assert organs_description(replace(said, organs=none)) == "Organs r2: 9 not judged"


def test_an_audited_study_says_so_and_names_organs_with_a_reason_of_their_own():
    said = findings(flagged=())
    drawn = tuple(replace(f, flag=Flag.REVIEW, reasons=("random-audit",)) for f in said.organs)
    audited = replace(said, organs=drawn, audited=True)
    assert organs_description(audited) == "Organs r2 audit: check all"
    liver = tuple(
        replace(f, reasons=("fragmented", "random-audit")) if f.organ == "liver" else f for f in drawn
    )
    assert organs_description(replace(audited, organs=liver)) == "Organs r2 audit: check liver"


def test_a_segment_says_what_is_unusual_about_the_ct_or_how_wide_the_band_is():
    said = findings()
    strange = StrangeFact("slice_mm", "slice thickness", 8.0, (3.0, 5.0))
    outside = replace(said.organs[0], reasons=("out-of-domain",), band_ml=12.4)
    text = organ_description(outside, replace(said, strange=(strange,)), SERIES.verdict)
    assert "unusual: slice thickness" in text
    assert "95 %" not in text
    inside = replace(said.organs[0], band_ml=12.4)
    assert "on average 95 % of it lies in the outline and 12 ml round it" in organ_description(
        inside, said, SERIES.verdict
    )


def test_an_organ_not_asked_for_has_no_segment_to_describe():
    said = findings_of(SERIES, {"liver": MASKS["liver"]}, flagged=())
    with pytest.raises(ValueError, match="spleen was not asked for"):
        organ_description(said.organs[0], said, SERIES.verdict)


def test_rejected_organs_are_named_first():
    said = findings(("spleen", "liver"))
    organs = tuple(replace(f, flag=Flag.REJECT) if f.organ == "liver" else f for f in said.organs)
    assert organs_description(replace(said, organs=organs)) == "Organs r2: check liver, spleen"


def test_the_review_series_names_organs_by_rank_once():
    assert review_description(findings()) == "Check r2: stomach, aorta"
    twice = findings()
    regions = (*twice.regions, replace(twice.regions[0], rank=3))
    assert review_description(replace(twice, regions=regions)) == "Check r2: stomach, aorta"


def test_a_segment_says_flag_reasons_bound_volume_and_release():
    said = {
        f.organ: organ_description(f, findings(demonstration=True), SERIES.verdict) for f in findings().organs
    }
    assert re.fullmatch(
        r"REVIEW: volume-out-of-range, bound-under-target; DSC at least 0.86 with 90 % confidence; "
        r"[\d.]+ ml; release 2, demonstration weights, not for clinical use",
        said["stomach"],
    )
    assert said["gallbladder"].startswith("CLEAR; no DSC bound is claimed; organ not found; release 2")
    assert "cut by the field of view" in said["liver"]


def test_a_very_long_description_is_cut_and_keeps_repair_and_release():
    finding = replace(findings().organs[5], reasons=("x" * 60,) * 40)
    text = organ_description(finding, findings(), SERIES.verdict)
    assert len(text) == 1024
    assert text.endswith("...; release 2")
    text = organ_description(finding, findings(), REPAIRED)
    assert len(text) == 1024
    assert text.endswith("...; series repaired: gantry-tilt; release 2")


def test_a_region_says_where_and_how_much():
    region = replace(findings().regions[0], volume_ml=12.34, expected_error_ml=5.67)
    assert region_description(region, "images 12-14", findings()) == (
        "Stomach: expected error 5.7 ml in 12.3 ml; images 12-14; rank 1; release 2"
    )


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([11, 12, 13], "images 12-13"),
        ([13, 12, 11], "images 12-11"),
        ([1, None, 3], "slices 2-3"),
        ([1, 1, 1], "slices 2-3"),
    ],
)
def test_slices_are_named_as_viewers_number_them(numbers, text):
    assert image_range((1, 2), numbers) == text


def test_every_reason_has_a_code_that_fits_its_value_representation():
    assert set(private_codes.REASONS) == set(Reason)
    codes = [
        *private_codes.REASONS.values(),
        *private_codes.FLAGS.values(),
        *private_codes.PRESENCES.values(),
    ]
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in codes)
    assert len({code.value for code in private_codes.REASONS.values()}) == len(Reason)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_a_uid_is_valid_and_differs_for_different_parts(one, other):
    uid = hashed_uid(*one)
    assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)
    assert len(uid) <= 64
    assert (uid == hashed_uid(*other)) == (one == other)


def test_the_order_of_the_images_does_not_change_a_uid():
    one, other = (Identity.of(uids, "d", "ohif", "") for uids in (("1.2", "1.3"), ("1.3", "1.2")))
    assert one.uid("organ-seg", "instance") == other.uid("organ-seg", "instance")
    assert one.uid("organ-seg", "instance") != one.uid("organ-seg", "series")


def test_an_organ_keeps_its_tracking_uid_from_release_to_release():
    one, other = (Identity.of(("1.2",), digest, "ohif", "") for digest in ("a", "b"))
    assert one.tracking_uid("liver") == other.tracking_uid("liver")
    assert one.uid("organ-seg", "instance") != other.uid("organ-seg", "instance")
