"""Organs outside the catalogue, from a site's file of codes and colours into a release and its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from flows.cases.keep import _require_sides_of
from models.errors import Refused
from models.findings import Flag, StudyFindings
from models.masks import BoxedMask
from models.organs import Code
from services.dicom.ct.loaded import CTSeries
from services.dicom.dictionary import read_organ_file
from services.dicom.results.write import write_results
from services.dicom.returned.answers import Answers, WrongAnswer
from services.dicom.returned.claims import Doubt
from services.dicom.returned.understand import Status, understand
from services.dicom.seg.names import further_by_code, further_by_label, further_may_be
from services.dicom.seg.reader import SegObject, read_seg
from tests.conftest import ROOT
from tests.integration.test_result_objects import errors
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

SAMPLE = ROOT / "deploy" / "site" / "organs.csv"
FILE = read_organ_file(SAMPLE)
SHAPE = (7, 19, 21)
WRITTEN_AT = datetime(2026, 11, 22, 13, 4, 5, 678)


def with_further(series: CTSeries) -> StudyFindings:
    """Return findings of the nine organs and of all of the sample; a region of two is to be looked at."""
    base = findings_of(series, organ_masks(SHAPE), flagged=())
    template, region = base.organs[0], findings_of(series, organ_masks(SHAPE), flagged=("spleen",)).regions[0]
    masks, organs = dict(base.masks), list(base.organs)
    for n, key in enumerate(FILE.organs):
        mask = np.zeros(SHAPE, np.bool_)
        mask[2:5, 2 + n : 4 + n, 5:9] = True
        masks[key] = BoxedMask.of(mask)
        organs.append(
            replace(template, organ=key, volume_ml=float(mask.sum() * series.volume.geometry.voxel_ml))
        )
    flagged = ("femur_left", "kidney_cyst_left")
    organs = [replace(one, flag=Flag.REVIEW) if one.organ in flagged else one for one in organs]
    regions = [replace(region, organ=key, rank=n) for n, key in enumerate(flagged, 1)]
    further = tuple(FILE.organs.values())
    return replace(base, masks=masks, organs=tuple(organs), regions=tuple(regions), further=further)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("further")
    series = ct_series(AFFINES["axial"])
    for result in write_results(series, with_further(series), profile="ohif", written_at=WRITTEN_AT):
        (folder / result.file_name).write_bytes(result.content)
    return folder


def test_highdicom_reads_codes_sides_regions_and_colours_of_the_file_back(written: Path) -> None:
    seg = highdicom.seg.segread(written / "organ-seg.dcm")
    own = list(FILE.organs.values())
    assert [seg.get_segment_description(n).segment_label for n in range(10, 10 + len(own))] == [
        entry.label for entry in own
    ]
    for n, entry in enumerate(own, 10):
        told = seg.get_segment_description(n)
        assert told.tracking_id == entry.key
        category, kind = told.segmented_property_category, told.segmented_property_type
        assert (category.value, kind.value, kind.meaning) == (
            entry.category.value,
            entry.type.value,
            entry.type.meaning,
        )
        sides = kind.get("SegmentedPropertyTypeModifierCodeSequence", [])
        assert [side.CodeValue for side in sides] == ([entry.laterality.value] if entry.laterality else [])
        regions = list(told.anatomic_regions)
        assert [one.value for one in regions] == ([entry.region.value] if entry.region else [])
        encoded = np.array(told.RecommendedDisplayCIELabValue) / 65535 * (100, 255, 255) - (0, 128, 128)
        assert encoded == pytest.approx(entry.cielab, abs=0.01)


def test_regions_and_the_report_speak_of_them_too(written: Path) -> None:
    review = dcmread(written / "review-seg.dcm")
    assert [item.SegmentLabel for item in review.SegmentSequence] == [
        "Check: Left femur",
        "Check: Left kidney cyst",
    ]
    (region,) = review.SegmentSequence[0].AnatomicRegionSequence
    assert (region.CodeValue, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("71341001", "Left")
    report = str(dcmread(written / "report-sr.dcm").to_json())
    assert all(entry.type.value in report for entry in FILE.organs.values())


@pytest.mark.parametrize("name", ["organ-seg.dcm", "review-seg.dcm", "report-sr.dcm"])
def test_dciodvfy_finds_no_error(written: Path, name: str) -> None:
    assert errors(written / name) == []


def redrawn(sent: SegObject, masks: Mapping[str, np.ndarray], **changes: object) -> SegObject:
    """Return what was sent, segments of some labels with other masks and drawn by a person."""
    return replace(
        sent,
        segments=tuple(
            replace(one, mask=BoxedMask.of(masks[one.label]), algorithm_type="MANUAL", **changes)
            if one.label in masks
            else one
            for one in sent.segments
        ),
    )


def less(mask: BoxedMask) -> np.ndarray:
    """Return a mask without its last slice."""
    found = mask.dense()
    found[np.flatnonzero(found.any(axis=(1, 2)))[-1]] = False
    return found


TISSUE = Code("85756007", "SCT", "Tissue")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tracking_uid": None, "tracking_id": None},
        {"tracking_uid": None, "tracking_id": None, "type": TISSUE, "laterality": None},
        {"label": "Segment 1"},
    ],
    ids=["as sent", "by its label", "as OHIF has it", "by its TrackingUID"],
)
def test_a_correction_of_one_is_taken_in_as_any_other(written: Path, changes: dict[str, Any]) -> None:
    series = ct_series(AFFINES["axial"])
    sent, grid = read_seg(written / "organ-seg.dcm", series), series.volume.geometry
    assert understand(sent, sent, grid).status is Status.UNCHANGED
    masks = {one.label: one.mask for one in sent.segments}
    found = understand(redrawn(sent, {"Sacrum": less(masks["Sacrum"])}, **changes), sent, grid)
    assert (found.status, found.questions) == (Status.CORRECTION, ())
    assert found.sent["sacrum"] == masks["Sacrum"]
    assert found.returned["sacrum"] == BoxedMask.of(less(masks["Sacrum"]))
    others = set(found.sent) - {"sacrum"}
    assert {key for key in others if found.returned[key] != found.sent[key]} == set()


def test_what_is_doubtful_of_one_is_asked_and_answered_by_its_key(written: Path) -> None:
    series = ct_series(AFFINES["axial"])
    sent, grid = read_seg(written / "organ-seg.dcm", series), series.volume.geometry
    masks = {one.label: one.mask for one in sent.segments}
    as_a_femur = redrawn(sent, {"Sacrum": less(masks["Sacrum"])}, type=LEFT_FEMUR.type)
    edited = redrawn(sent, {"Sacrum": less(masks["Sacrum"])})
    as_ours = replace(
        edited, segments=tuple(replace(one, algorithm_type="AUTOMATIC") for one in edited.segments)
    )
    gone = replace(sent, segments=tuple(one for one in sent.segments if one.label != "Sacrum"))
    for back, why in ((as_ours, Doubt.AUTOMATIC), (gone, Doubt.NOT_RETURNED)):
        (asked,) = understand(back, sent, grid).questions
        assert (asked.label, asked.candidates, asked.why) == ("Sacrum", ("sacrum",), why)
    number = next(one.number for one in sent.segments if one.label == "Sacrum")
    found = understand(as_ours, sent, grid, Answers.parse([f"{number}=sacrum"]))
    assert (found.questions, found.returned["sacrum"].voxels) == ((), int(less(masks["Sacrum"]).sum()))
    found = understand(gone, sent, grid, Answers.parse(["sacrum=deleted"]))
    assert (found.questions, found.returned["sacrum"].any()) == ((), False)
    with pytest.raises(WrongAnswer, match="'thing' is no organ of the catalogue, and none that was sent"):
        understand(as_ours, sent, grid, Answers.parse([f"{number}=thing"]))
    (asked,) = understand(as_a_femur, sent, grid).questions
    assert asked.why is Doubt.NAMES_DISAGREE


def test_a_pair_that_came_back_crosswise_is_asked_about(written: Path) -> None:
    series = ct_series(AFFINES["axial"])
    sent, grid = read_seg(written / "organ-seg.dcm", series), series.volume.geometry
    right, left = np.zeros(SHAPE, np.bool_), np.zeros(SHAPE, np.bool_)
    right[2:4, 5:8, 2:6], left[2:4, 5:8, 14:18] = True, True  # i grows to the patient's left
    sent = redrawn(sent, {"Right femur": right, "Left femur": left})
    right_moved, left_moved = np.roll(right, 1, 0), np.roll(left, 1, 0)
    straight = understand(redrawn(sent, {"Right femur": right_moved, "Left femur": left_moved}), sent, grid)
    assert straight.questions == ()
    crossed = understand(redrawn(sent, {"Right femur": left_moved, "Left femur": right_moved}), sent, grid)
    assert [one.why for one in crossed.questions] == [Doubt.SIDES_SWAPPED] * 2
    assert {one.candidates[:2] for one in crossed.questions} == {
        ("femur_left", "femur_right"),
        ("femur_right", "femur_left"),
    }
    empty = redrawn(sent, {"Right femur": np.zeros(SHAPE, np.bool_)})
    beside = redrawn(empty, {"Right femur": np.roll(left, 3, axis=2)})
    (asked,) = understand(beside, empty, grid).questions
    assert (asked.label, asked.why) == ("Right femur", Doubt.SIDES_SWAPPED), "where none was sent, too"


LEFT_FEMUR, RIGHT_FEMUR = FILE.organs["femur_left"], FILE.organs["femur_right"]


@pytest.mark.parametrize(
    ("label", "type_", "side", "meant"),
    [
        ("Left femur", None, None, "femur_left"),
        ("FEMUR_LEFT", None, None, "femur_left"),
        ("left  first RIB", None, None, "rib_left_1"),
        ("rib left 1", None, None, "rib_left_1"),
        ("rib left 2", None, None, None),
        ("bone", LEFT_FEMUR.type, LEFT_FEMUR.laterality, "femur_left"),
        ("bone", LEFT_FEMUR.type, RIGHT_FEMUR.laterality, "femur_right"),
        ("bone", LEFT_FEMUR.type, None, None),
        ("bone", None, None, None),
        ("cyst", FILE.organs["kidney_cyst_left"].type, FILE.organs["kidney_cyst_left"].laterality, None),
    ],
)
def test_an_organ_of_the_file_is_named_by_its_label_or_by_all_of_its_code(label, type_, side, meant) -> None:
    every = tuple(FILE.organs.values())
    found = further_by_label(label, every) or further_by_code(type_, side, every)
    assert (found.key if found else None) == meant
    if meant == "femur_left":
        assert not further_may_be(LEFT_FEMUR, LEFT_FEMUR.type, RIGHT_FEMUR.laterality)
        assert further_may_be(LEFT_FEMUR, LEFT_FEMUR.type, None), "the side is missing, the label has it"


@pytest.mark.parametrize("swapped", [False, True])
def test_a_pair_that_lies_crosswise_is_refused_with_its_places(swapped: bool) -> None:
    series = ct_series(AFFINES["axial"])  # i grows to the patient's left
    right, left = np.zeros(SHAPE, np.bool_), np.zeros(SHAPE, np.bool_)
    right[2:4, 5:8, 2:6], left[2:4, 5:8, 14:18] = True, True
    masks = {"femur_right": BoxedMask.of(right), "femur_left": BoxedMask.of(left)}
    if not swapped:
        _require_sides_of((LEFT_FEMUR, RIGHT_FEMUR), masks, series)
        return
    masks = {"femur_right": masks["femur_left"], "femur_left": masks["femur_right"]}
    with pytest.raises(Refused, match="the femur_right lies to the left of the femur_left") as refused:
        _require_sides_of((LEFT_FEMUR, RIGHT_FEMUR), masks, series)
    assert refused.value.code == "sides-swapped"
    assert refused.value.measured["right_x_mm"] > refused.value.measured["left_x_mm"]
