"""Texts that must fit where viewers show them, and UIDs that must repeat."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.bounds.acquisition_facts import StrangeFact
from models.findings import Flag, StudyFindings
from models.judgement.reasons import Reason
from models.organs import KEYS, ORGANS
from models.series.verdict import Code, GeometryVerdict, Verdict
from services.dicom.identity import Identity, hashed_uid
from services.dicom.results import private_codes
from services.dicom.results.wording import (
    image_range,
    organ_description,
    organs_description,
    region_description,
    report_description,
    review_description,
)
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

SERIES = ct_series(AFFINES["axial"])
MASKS = organ_masks((7, 19, 21))
REPAIRED = GeometryVerdict(Verdict.REPAIRED, Code.GANTRY_TILT, "The gantry is tilted.")


def findings(flagged=("stomach", "aorta"), **overrides):
    return findings_of(SERIES, MASKS, flagged=flagged, **overrides)


def flagged_as(**flags: Flag) -> StudyFindings:
    """Return findings in which the organs named are flagged so, and the others are clear."""
    said = findings(flagged=())
    return replace(said, organs=tuple(replace(f, flag=flags.get(f.organ, f.flag)) for f in said.organs))


REVIEW, REJECT, UNJUDGED = Flag.REVIEW, Flag.REJECT, Flag.NOT_JUDGED
DEMO = "; DEMO NOT FOR CLINICAL USE"


@pytest.mark.parametrize(
    ("flags", "overrides", "text"),
    [
        ({}, {"release": 1}, "No flag on 9 organs; r1"),
        ({"stomach": REVIEW, "aorta": REVIEW}, {}, "CHECK stomach, aorta; r2"),
        ({"stomach": REVIEW, "aorta": REVIEW}, {"demonstration": True}, f"CHECK stomach, aorta{DEMO}; r2"),
        ({"stomach": REJECT}, {}, "STOP stomach; r2"),
        ({"liver": REJECT, "aorta": REVIEW}, {}, "STOP liver; check aorta; r2"),
        ({"stomach": REJECT, "aorta": REVIEW}, {}, "STOP stomach; check 1; r2"),
        ({"stomach": REJECT, "liver": REJECT}, {}, "STOP liver, stomach; r2"),
        ({"pancreas": REJECT, "stomach": REJECT, "aorta": REVIEW}, {}, "STOP 2 organs; check 1; r2"),
        ({"spleen": REJECT, "stomach": REJECT, "aorta": REVIEW}, {}, "STOP spleen +1; check 1; r2"),
        (dict.fromkeys(ORGANS, REVIEW), {}, "CHECK spleen +8; r2"),
        (dict.fromkeys(ORGANS, REVIEW), {"demonstration": True}, f"CHECK spleen +8{DEMO}; r2"),
        (dict.fromkeys(ORGANS, REJECT), {"release": 12345678}, "STOP spleen +8; r12345678"),
        ({"postcava": REVIEW}, {}, "CHECK IVC; r2"),
        ({"right_kidney": REVIEW, "left_kidney": REVIEW}, {}, "CHECK right kidney +1; r2"),
        ({"liver": REVIEW, "aorta": UNJUDGED, "postcava": UNJUDGED}, {}, "CHECK liver; 2 not judged; r2"),
        ({"aorta": UNJUDGED, "postcava": UNJUDGED}, {}, "No flag on 7 organs; 2 not judged; r2"),
        (dict.fromkeys(ORGANS, UNJUDGED), {}, "9 organs not judged; r2"),
        (
            {"stomach": REVIEW, "aorta": REVIEW, "liver": UNJUDGED},
            {"demonstration": True},
            f"CHECK stomach, aorta{DEMO}; 1 not judged",
        ),
    ],
)
def test_the_series_description_begins_with_what_matters_most(flags, overrides, text):
    assert organs_description(replace(flagged_as(**flags), **overrides)) == text


def test_every_organ_that_may_be_flagged_by_itself_is_named_within_23_characters():
    template, counted = findings(flagged=()).organs[0], set()
    for key in KEYS:
        organs = (replace(template, organ=key, flag=REVIEW),)
        lead = organs_description(replace(findings(flagged=()), organs=organs)).removesuffix("; r2")
        assert len(lead) <= 23
        if lead == "CHECK 1 organ":
            counted.add(key)
    assert counted == {"hepatic_vessel_tumour", "portal_and_splenic_vein"}  # these have no target


def test_an_audited_study_says_to_check_all_behind_what_is_unusable():
    audited = replace(flagged_as(**dict.fromkeys(ORGANS, REVIEW)), audited=True)
    assert organs_description(audited) == "CHECK all; r2"
    liver = flagged_as(**(dict.fromkeys(ORGANS, REVIEW) | {"stomach": REJECT}))
    assert organs_description(replace(liver, audited=True)) == "STOP stomach; check all; r2"
    pancreas = flagged_as(**(dict.fromkeys(ORGANS, REVIEW) | {"pancreas": REJECT}))
    assert organs_description(replace(pancreas, audited=True)) == "STOP 1 organ; check all; r2"


def test_what_is_clear_is_counted_where_not_every_organ_was_asked_for():
    asked = {key: MASKS[key] for key in ("spleen", "liver")}
    assert organs_description(findings_of(SERIES, asked, flagged=())) == "No flag on 2 organs; r2"
    assert organs_description(findings_of(SERIES, {"liver": MASKS["liver"]}, flagged=())).startswith(
        "No flag on 1 organ; "
    )


@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from([f for f in Flag if f is not Flag.REJECT])),
    st.dictionaries(st.sampled_from(KEYS), st.just(Flag.REJECT)),
    st.booleans(),
    st.booleans(),
    st.integers(1, 10**6),
)
def test_whatever_is_flagged_its_numbers_can_be_told_from_23_characters(
    some, rejected, demonstration, audited, release
):
    flags = some | rejected
    assume(flags)
    template = findings(flagged=()).organs[0]
    organs = tuple(replace(template, organ=key, flag=flag) for key, flag in flags.items())
    said = replace(
        findings(flagged=()), organs=organs, demonstration=demonstration, audited=audited, release=release
    )
    text = organs_description(said)
    assert len(text) <= 64
    assert text.isascii()
    assert "\\" not in text
    assert demonstration == ("DEMO NOT FOR CLINICAL USE" in text)
    lead, *rest = re.split(r"; (?=DEMO|\d|r\d)", text)
    assert len(lead) <= 23
    count = {flag: list(flags.values()).count(flag) for flag in Flag}
    stop, check = (told(word, lead) for word in ("STOP", "CHECK"))
    assert stop == count[Flag.REJECT]
    if audited and count[Flag.REVIEW] + count[Flag.REJECT]:
        assert lead.lower().endswith("check all")
    else:
        assert check == count[Flag.REVIEW]
    unjudged = count[Flag.NOT_JUDGED]
    assert f"{unjudged} not judged" in rest or f"{unjudged} organ" in lead or not unjudged


def told(word: str, lead: str) -> int:
    """Return how many organs a word is said of."""
    part = next((part for part in lead.split("; ") if part.upper().startswith(word)), None)
    if part is None:
        return 0
    names = part[len(word) + 1 :]
    if number := re.fullmatch(r"(\d+)( organs?)?", names):
        return int(number[1])
    names, _, more = names.partition(" +")
    return len(names.split(", ")) + int(more or 0)


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


def test_the_review_series_names_organs_by_rank_once():
    assert review_description(findings()) == "Regions: stomach, aorta; r2"
    twice = findings(demonstration=True)
    regions = (*twice.regions, replace(twice.regions[0], rank=3))
    assert review_description(replace(twice, regions=regions)) == f"Regions: stomach, aorta{DEMO}; r2"


def test_the_report_says_what_it_is_and_of_what_weights():
    assert report_description(findings(demonstration=True)) == f"Organ report{DEMO}; r2"


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
