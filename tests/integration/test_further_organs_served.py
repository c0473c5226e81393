"""A release with organs of a site's file: its results, truth of them, and what a correction teaches."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.demo.simulated_reader import save_like_ohif
from flows.cases.keep import add_case
from flows.corrections.ingest import ingest, memory_of
from flows.corrections.report import Ingested
from flows.corrections.sums import sums
from flows.progress import silent
from flows.segmentation.delivery import Places, deliver
from flows.segmentation.made import Made
from flows.segmentation.segment import SegmentedStudy, segment
from flows.speech.compared import compared
from flows.tuning.tune import tune
from models.corrections.ledger import INDEPENDENT
from models.errors import Refused
from models.masks import BoxedMask
from models.metrics.dsc import dsc
from models.phantom.case import PhantomCase
from models.tuning.settings import Level, TuningSettings
from models.uids import SeriesUid, SopUid
from models.volume import Volume
from services.cases import tuning_evidence
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.identity import Identity
from services.dicom.results.heading import Heading
from services.dicom.results.organ_seg import organ_segments
from services.dicom.results.seg_writer import Profile, write_segmentation
from services.pacs.port import ArchivedStudy
from services.pacs.unsent import UnsentResults
from services.records.entries.cases import Purpose
from services.settings import Settings
from services.stopwatch import Stopwatch
from services.wiring import Services, connect_in_process
from tests.integration.test_further_organs import FILE, SAMPLE, WRITTEN_AT
from tests.support.ct_files import ACQUISITION
from tests.support.learning import SAVED_AT
from tests.support.nnunet import changed_copy, unpacked
from tests.support.nnunet_references import AXES, answered
from tests.support.serving import THREADS


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
    deliver(made, study, Places(never, unsent, None), services.cases, services.records, Stopwatch(), silent)
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
