"""Organs outside the catalogue, from a site's file of codes and colours into a release and its results."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.demo.simulated_reader import save_like_ohif
from flows.cases.keep import _require_sides_of, add_case
from flows.corrections.ingest import ingest, memory_of
from flows.corrections.report import Ingested
from flows.corrections.sums import sums
from flows.progress import silent
from flows.segmentation.delivery import Made, deliver
from flows.segmentation.segment import SegmentedStudy, segment
from flows.speech.compared import compared
from flows.tuning.tune import tune
from models.corrections.ledger import INDEPENDENT
from models.errors import Refused
from models.findings import Flag, StudyFindings
from models.masks import BoxedMask
from models.metrics.dsc import dsc
from models.organs import Code
from models.phantom.case import PhantomCase
from models.tuning.settings import Level, TuningSettings
from models.uids import SeriesUid, SopUid
from models.volume import Volume
from services.cases import tuning_evidence
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.dictionary import read_organ_file
from services.dicom.identity import Identity
from services.dicom.results.heading import Heading
from services.dicom.results.organ_seg import organ_segments
from services.dicom.results.seg_writer import Profile, write_segmentation
from services.dicom.results.write import write_results
from services.dicom.returned.answers import Answers, WrongAnswer
from services.dicom.returned.claims import Doubt
from services.dicom.returned.understand import Status, understand
from services.dicom.seg.names import further_by_code, further_by_label, further_may_be
from services.dicom.seg.reader import SegObject, read_seg
from services.pacs.port import ArchivedStudy
from services.pacs.unsent import UnsentResults
from services.records.entries.cases import Purpose
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.conftest import ROOT
from tests.integration.test_result_objects import errors
from tests.support.ct_files import ACQUISITION
from tests.support.learning import SAVED_AT
from tests.support.nnunet import changed_copy, unpacked
from tests.support.nnunet_references import AXES, answered
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks
from tests.support.serving import THREADS

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


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a network whose first class is the sacrum, as nnU-Net would have written it, and its results."""

    def other(dataset: dict) -> None:
        dataset["labels"] = {"sacrum" if k == "liver" else k: v for k, v in dataset["labels"].items()}

    folder = tmp_path_factory.mktemp("network")
    results = unpacked(folder / "results")
    return changed_copy(results / "plain", folder / "sacrum", dataset=other), results


@dataclass(frozen=True)
class Home:
    """A home whose first release carries the sacrum, a CT in it, and what was segmented of that."""

    services: Services
    folder: Path
    labels: np.ndarray
    found: SegmentedStudy


@pytest.fixture(scope="module")
def home(network: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Home:
    path, results = network
    tmp_path = tmp_path_factory.mktemp("home")
    settings = Settings(home=tmp_path / "home", organs=SAMPLE)
    command = ["import-checkpoint", str(path), "--axes", AXES["plain"], "--organs", "sacrum,spleen,aorta"]
    command += ["--licence", "Apache-2.0", "--origin", "made for tests", "--first"]
    command += ["--approver", "Dr. No", "--reason", "a first release"]
    variables = {"ORGANLOOP_HOME": str(settings.home), "ORGANLOOP_THREADS": str(THREADS)}
    refused = CliRunner().invoke(app, command, env=variables)
    assert refused.exit_code == 3
    assert "unknown-organ" in refused.output
    told = CliRunner().invoke(app, command, env=variables | {"ORGANLOOP_ORGANS": str(SAMPLE)})
    assert told.exit_code == 0, told.output
    services = connect_in_process(
        Settings(home=settings.home, threads=THREADS)
    )  # of the file it is told nothing
    release = services.releases.release(1)
    assert release.contract.further == FILE.carried(("sacrum",))
    services.repository.write_version(release, services.releases)
    reference = answered(results, "plain", tmp_path / "reference")
    folder = tmp_path / "ct"
    folder.mkdir()
    case = PhantomCase(Volume(reference.hu, reference.geometry), {}, "A", 1, dict(ACQUISITION))
    write_phantom_series(case, folder)
    return Home(services, tmp_path, reference.labels, segment(folder, tmp_path / "out", services))


def test_a_release_carries_what_it_has_of_the_file_and_needs_it_no_more(home: Home) -> None:
    findings = home.found.findings
    assert findings.organs[-1].organ == "sacrum"
    assert findings.masks["sacrum"].dense().sum() == np.count_nonzero(home.labels == 1)
    (item,) = (one for one in seg_of(home.folder).SegmentSequence if one.SegmentLabel == "Sacrum")
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "54735007"
    assert "NOT-JUDGED" in item.SegmentDescription


def seg_of(folder: Path) -> Dataset:
    return dcmread(folder / "out" / "organ-seg.dcm")


def drawn_by_a_person(home: Home, to: Path, **changes: object) -> dict[str, BoxedMask]:
    """Write the SEG of a person who draws as the release did, a voxel off; return the masks by key."""
    series = home.found.series
    identity = Identity.of((SopUid(str(i.SOPInstanceUID)) for i in series.images), "0" * 64, "ohif", "")
    masks = {
        key: BoxedMask.of(np.roll(home.found.findings.masks[key].dense(), 1, axis=1))
        for key in ("sacrum", "spleen")
    }
    segments = [
        replace(one, mask=masks[one.tracking_id])
        for one in organ_segments(home.found.findings, identity, series.verdict)
        if one.tracking_id in masks
    ]
    uids = SopUid("2.25.71"), SeriesUid("2.25.72")
    heading = Heading(*uids, 7, "drawn by hand", 1, "0" * 64, WRITTEN_AT)
    dataset = dcmread(BytesIO(write_segmentation(series, segments, heading, "2.25.73", Profile.OHIF)))
    for item in dataset.SegmentSequence:
        item.SegmentAlgorithmType = "MANUAL"
        for keyword in ("TrackingID", "TrackingUID", "SegmentAlgorithmName"):
            delattr(item, keyword)
        if item.SegmentLabel == "Sacrum":
            for keyword, value in changes.items():
                setattr(item, keyword, value)
    dataset.save_as(to)
    return masks


def coded(value: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return [item]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"SegmentLabel": "sacrum", "SegmentedPropertyTypeCodeSequence": coded("85756007", "Tissue")},
        {"SegmentLabel": "os sacrum"},
    ],
    ids=["as ours", "by its label", "by its code"],
)
def test_truth_of_one_comes_as_a_seg_and_is_compared_with_what_was_made_in_silence(
    home: Home, tmp_path: Path, changes: dict[str, object]
) -> None:
    copied = tmp_path / "home"
    shutil.copytree(home.services.settings.home, copied)
    services = connect_in_process(Settings(home=copied, threads=THREADS))
    masks = drawn_by_a_person(home, tmp_path / "truth.dcm", **changes)
    shutil.copytree(home.folder / "ct", tmp_path / "ct")
    shutil.copy(home.folder / "out" / "organ-seg.dcm", tmp_path / "ct")  # that it is not ours can be told
    case = add_case(tmp_path / "ct", tmp_path / "truth.dcm", Purpose.CALIBRATION, INDEPENDENT, services)
    kept = services.cases.read(case).labels
    assert {key: label.inside for key, label in kept.items()} == masks
    unsent = UnsentResults(services.settings.unsent_store)
    result, *_ = services.records.results_of_series(home.found.series.series_uid)
    made = Made(home.found.series, home.found.findings, home.found.objects, (), result.key)
    study = ArchivedStudy(home.found.series.study_uid, ("1",), stable=True, urgent=False, series=())
    never: Any = object()  # an archive that cannot even be asked
    deliver(made, study, never, unsent, services.cases, services.records, silent)
    summary = compared(services.records, services.cases, unsent)
    assert (summary.studies, summary.not_compared) == (1, ())
    ours = home.found.findings.masks
    assert [(one.organ, one.median_dsc) for one in summary.organs] == [
        (key, dsc(ours[key].dense(), masks[key].dense())) for key in ("spleen", "sacrum")
    ]


def test_truth_whose_label_and_code_name_two_structures_is_refused(home: Home, tmp_path: Path) -> None:
    drawn_by_a_person(
        home, tmp_path / "truth.dcm", SegmentedPropertyTypeCodeSequence=coded("71341001", "Femur")
    )
    with pytest.raises(Refused, match="labelled as the sacrum and coded as something else") as refused:
        add_case(
            home.folder / "ct", tmp_path / "truth.dcm", Purpose.CALIBRATION, "edited-from-1", home.services
        )
    assert refused.value.code == "truth-unreadable"


def test_a_correction_of_one_teaches_its_head_and_no_other(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FEWEST_EDITED_STUDIES", "FEWEST_EDITED_PATIENTS"):
        monkeypatch.setattr(tuning_evidence, name, 1)
    monkeypatch.setattr(tuning_evidence, "TINY_ML", 0.0)
    copied = tmp_path / "home"
    shutil.copytree(home.services.settings.home, copied)
    services = connect_in_process(Settings(home=copied, threads=THREADS))
    ct, sent = home.folder / "ct", home.folder / "out" / "organ-seg.dcm"
    mask = np.roll(home.found.findings.masks["sacrum"].dense(), 1, axis=1)
    saved = save_like_ohif(sent.read_bytes(), home.found.series, {"Sacrum": mask}, written_at=SAVED_AT)
    (tmp_path / "saved.dcm").write_bytes(saved)
    document = ingest(tmp_path / "saved.dcm", ct, sent, memory_of(services.settings))
    assert isinstance(document, Ingested)
    assert {one.organ: one.state for one in document.organs}["sacrum"] == "edited"
    assert (document.questions, document.teaches) == ((), ("sacrum",))
    summed = sums(services.records, services.policy)
    assert [one.organ for one in summed.organs][-1] == "sacrum"
    settings = TuningSettings(Level.HEAD, steps=5, batch_voxels=256, window_voxels=128)
    tuned = tune(services, ("sacrum",), settings=settings)
    assert tuned.release is not None, tuned.left_out
    before, after = (services.releases.release(number).heads for number in (1, tuned.release))
    assert [organ for organ in before if before[organ] != after[organ]] == ["sacrum"]


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
