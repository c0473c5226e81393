"""Organs outside the catalogue, from a site's file of codes and colours into a release and its results."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.segmentation.segment import segment
from models.findings import Flag, StudyFindings
from models.masks import BoxedMask
from models.phantom.case import PhantomCase
from models.volume import Volume
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.dictionary import read_organ_file
from services.dicom.results.write import write_results
from services.dicom.returned.answers import Answers
from services.dicom.returned.claims import Doubt
from services.dicom.returned.understand import Status, understand
from services.dicom.seg.reader import SegObject, read_seg
from services.settings import Settings
from services.wiring import connect_in_process
from tests.conftest import ROOT
from tests.integration.test_result_objects import errors
from tests.support.ct_files import ACQUISITION
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


def test_a_correction_beside_them_is_taken_in_and_a_change_of_one_is_asked_about(written: Path) -> None:
    series = ct_series(AFFINES["axial"])
    sent, grid = read_seg(written / "organ-seg.dcm", series), series.volume.geometry
    assert understand(sent, sent, grid).status is Status.UNCHANGED

    def edited(label: str, **dropped: object) -> SegObject:
        """Return what was sent, one segment without its last slice and drawn by a person."""
        segments = []
        for one in sent.segments:
            if one.label == label:
                mask = one.mask.dense()
                mask[np.flatnonzero(mask.any(axis=(1, 2)))[-1]] = False
                one = replace(one, mask=BoxedMask.of(mask), algorithm_type="MANUAL", **dropped)
            segments.append(one)
        return replace(sent, segments=tuple(segments))

    liver = understand(edited("Liver"), sent, grid)
    assert (liver.status, liver.questions) == (Status.CORRECTION, ())
    assert liver.returned["liver"] != liver.sent["liver"]
    assert not set(liver.sent) & set(FILE.organs)
    for dropped in ({}, {"tracking_uid": None, "tracking_id": None}):
        (asked,) = understand(edited("Left femur", **dropped), sent, grid).questions
        assert (asked.label, asked.candidates, asked.why) == ("Left femur", (), Doubt.NOT_RECOGNISED)
        answered_ = understand(edited("Left femur", **dropped), sent, grid, Answers({asked.segment: None}))
        assert answered_.status is Status.UNCHANGED


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a network whose first class is the sacrum, as nnU-Net would have written it, and its results."""

    def other(dataset: dict) -> None:
        dataset["labels"] = {"sacrum" if k == "liver" else k: v for k, v in dataset["labels"].items()}

    folder = tmp_path_factory.mktemp("network")
    results = unpacked(folder / "results")
    return changed_copy(results / "plain", folder / "sacrum", dataset=other), results


def test_a_release_carries_what_it_has_of_the_file_and_needs_it_no_more(
    network: tuple[Path, Path], tmp_path: Path
) -> None:
    path, results = network
    settings = Settings(home=tmp_path / "home", organs=SAMPLE)
    command = ["import-checkpoint", str(path), "--axes", AXES["plain"], "--organs", "sacrum,spleen,aorta"]
    command += ["--licence", "Apache-2.0", "--origin", "made for tests", "--first"]
    command += ["--approver", "Dr. No", "--reason", "a first release"]
    home = {"ORGANLOOP_HOME": str(settings.home), "ORGANLOOP_THREADS": str(THREADS)}
    refused = CliRunner().invoke(app, command, env=home)
    assert refused.exit_code == 3
    assert "unknown-organ" in refused.output
    told = CliRunner().invoke(app, command, env=home | {"ORGANLOOP_ORGANS": str(SAMPLE)})
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
    found = segment(folder, tmp_path / "out", services)
    assert found.findings.organs[-1].organ == "sacrum"
    assert found.findings.masks["sacrum"].dense().sum() == np.count_nonzero(reference.labels == 1)
    (item,) = (one for one in seg_of(tmp_path).SegmentSequence if one.SegmentLabel == "Sacrum")
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "54735007"
    assert "NOT-JUDGED" in item.SegmentDescription


def seg_of(folder: Path) -> Dataset:
    return dcmread(folder / "out" / "organ-seg.dcm")
