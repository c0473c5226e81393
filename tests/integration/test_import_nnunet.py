"""A network that nnU-Net trained, imported: it is served with its labels, voxel for voxel, or refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom import dcmread
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.cases.keep import add_case
from flows.progress import silent
from flows.segmentation.delivery import Places, deliver
from flows.segmentation.made import Made
from flows.segmentation.segment import SegmentedStudy, segment
from flows.speech.compared import compared
from flows.training.import_checkpoint import make_first
from flows.training.import_nnunet import ImportedNnunet, Reference, keep_nnunet
from flows.training.plan import Begin
from flows.training.train import train_release, training_settings
from flows.tuning.tune import tune
from models.corrections.ledger import INDEPENDENT
from models.errors import Refused
from models.inference.segmentation import Segmentation
from models.metrics.dsc import dsc
from models.network.checkpoints.nnunet.release import Asked
from models.nnunet.turn import Turn
from models.phantom.case import PhantomCase
from models.proof import reference as proof
from models.targets import Targets
from models.volume import Volume
from models.weights_source import WeightsSource
from services.dicom.ct.phantom_series import write_phantom_series, write_truth
from services.inference.engine import InProcessSegmenter
from services.pacs.port import ArchivedStudy
from services.pacs.unsent import UnsentResults
from services.records.entries.cases import Purpose
from services.settings import Settings
from services.stopwatch import Stopwatch
from services.triton.client import TritonSegmenter
from services.triton.repository import TritonRepository
from services.wiring import Services, connect_in_process
from tests.support.ct_files import ACQUISITION
from tests.support.established import established
from tests.support.nnunet import changed_copy, unpacked
from tests.support.nnunet_references import AXES, Answered, answered, most_differing
from tests.support.serving import MODEL, THREADS, server_at, thrown_away
from tests.support.waiting import GUARD_SECONDS

KINDS = tuple(AXES)


@dataclass(frozen=True)
class Home:
    """A home with both networks, what became of each, and the CT that each was asked about."""

    folder: Path
    results: Path
    documents: dict[str, ImportedNnunet]
    answers: dict[str, Answered]

    def services(self) -> Services:
        """Return its services, in this process."""
        return connect_in_process(Settings(home=self.folder))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Import both networks, each against the labels of nnU-Net's own predictor."""
    folder = tmp_path_factory.mktemp("nnunet")
    results = unpacked(folder / "results")
    answers = {kind: answered(results, kind, folder / "reference") for kind in KINDS}
    made = Home(folder / "home", results, {}, answers)
    services = made.services()
    for kind in KINDS:
        made.documents[kind] = imported(services, results / kind, kind, answers[kind])
    return made


def imported(services: Services, path: Path, kind: str, told: Answered, **changes: object) -> ImportedNnunet:
    asked = {"axes": AXES[kind]} | {k: v for k, v in changes.items() if k in Asked.__dataclass_fields__}
    return keep_nnunet(
        path,
        services.releases,
        services.records,
        THREADS,
        Asked(**asked),
        licence="Apache-2.0",
        origin="made for tests",
        reference=Reference(told.ct_file, told.labels_file, "nnunetv2 2.8.1, cpu, one fold, mirrored"),
    )


def painted(answer: Segmentation, classes: int) -> NDArray[np.int64]:
    assert answer.drawn is not None
    labels = np.zeros(answer.drawn.on_ct[0].shape, dtype=np.int64)
    for channel in range(classes):
        labels[answer.drawn.on_ct[channel].dense()] = channel + 1
    return labels


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_identical_to_what_nnunets_own_predictor_said(home: Home, kind: str) -> None:
    document = home.documents[kind]
    assert document.proven is not None
    agreement = document.proven.agreement
    assert agreement.differing <= most_differing(home.results, kind)
    assert agreement.identical == (agreement.differing == 0)
    assert all(one.dsc is not None and one.dsc > 0.99 for one in agreement.classes.values())
    assert document.organs == ("liver", "spleen", "aorta")
    release = home.services().releases.release(document.release)
    assert not release.demonstration
    assert "Apache-2.0" in release.note
    assert "nnunetv2 2.8.1" in release.note
    assert "checkpoint_final.pth" in release.note


def test_it_is_served_by_triton_with_the_same_labels_and_as_in_process(home: Home, tmp_path: Path) -> None:
    services = home.services()
    repository = TritonRepository(tmp_path / "repository", MODEL, THREADS)
    for document in home.documents.values():
        repository.write_version(services.releases.release(document.release), services.releases)
    with thrown_away(server_at(tmp_path)) as process:
        client = TritonSegmenter(process.url, deadline_seconds=GUARD_SECONDS)
        here = InProcessSegmenter(repository.versions_folder, THREADS)
        for kind, document in home.documents.items():
            told, number = home.answers[kind], document.release
            for hu in (told.hu, told.hu.astype(np.float32)):
                served = client.segment(hu, number, ct=told.geometry)
                served.require(services.releases.release(number))
                off = np.count_nonzero(painted(served, 3) != told.labels)
                assert off <= most_differing(home.results, kind)
            own = here.segment(told.hu, number, ct=told.geometry)
            assert np.array_equal(served.probability, own.probability)
            assert np.array_equal(served.disagreement, own.disagreement)
            assert served.drawn is not None
            assert own.drawn is not None
            assert served.drawn.on_grid == own.drawn.on_grid
            assert served.drawn.geometry.same_grid(own.drawn.geometry, 1e-9)
        client.close()


def test_it_serves_as_the_first_release_and_its_masks_are_written_on_the_ct(
    home: Home, tmp_path: Path
) -> None:
    shutil.copytree(home.folder, tmp_path / "home")
    services = connect_in_process(Settings(home=tmp_path / "home"))
    number = home.documents["plain"].release
    make_first(number, services.releases, services.records, "Dr. No", "a first release")
    services.repository.write_version(services.releases.release(number), services.releases)
    told = home.answers["plain"]
    turn = Turn.between(told.geometry, "SPL")  # as a scanner's slices lie
    grid, hu = turn.geometry(told.geometry), np.ascontiguousarray(turn.apply(told.hu))
    folder = tmp_path / "ct"
    folder.mkdir()
    write_phantom_series(PhantomCase(Volume(hu, grid), {}, "A", 1, dict(ACQUISITION)), folder)
    found = segment(folder, tmp_path / "out", services)
    labels = turn.apply(told.labels)
    organs = ("liver", "spleen", "aorta")
    for number, organ in enumerate(organs, 1):
        off = np.count_nonzero(found.findings.masks[organ].dense() != (labels == number))
        assert off <= most_differing(home.results, "plain")
    drawn = [one for one in found.findings.organs if one.presence != "not-asked"]
    assert {one.flag for one in drawn} == {"not-judged"}, "nobody has established how exact they must be"
    assert all("no-target" in one.reasons for one in drawn)
    assert found.document.targets == Targets().digest
    assert found.document.weights == WeightsSource("Apache-2.0", "made for tests")
    report = dcmread(tmp_path / "out" / "report-sr.dcm")
    assert [item.TextValue for item in report.ContentSequence[-1].ContentSequence][-2:] == [
        "Apache-2.0",
        "made for tests",
    ]
    site = replace(services, targets=established({"liver": (0.9, None)}))
    judged = segment(folder, tmp_path / "judged", site)
    flags = {one.organ: one.flag for one in judged.findings.organs if one.presence != "not-asked"}
    assert flags == dict.fromkeys(flags, "not-judged") | {"liver": "review"}
    assert judged.document.targets == site.targets.digest
    uids = [{one.uid for one in said.document.objects} for said in (found, judged)]
    assert not uids[0] & uids[1], "another result, under UIDs of its own"
    require_compared_in_silence(found, {k: labels == n for n, k in enumerate(organs, 1)}, services, tmp_path)


def require_compared_in_silence(
    found: SegmentedStudy, truth: dict[str, NDArray], services: Services, folder: Path
) -> None:
    """Demand that what such a network made in silence is kept, and compared with labels of the CT."""
    unsent = UnsentResults(services.settings.unsent_store)
    result, *_ = services.records.results_of_series(found.series.series_uid)
    made = Made(found.series, found.findings, found.objects, (), result.key)
    study = ArchivedStudy(found.series.study_uid, ("1",), stable=True, urgent=False, series=())
    never: Any = object()  # an archive that cannot even be asked
    assert (
        deliver(
            made, study, Places(never, unsent, None), services.cases, services.records, Stopwatch(), silent
        )
        is not None
    )
    phantom = PhantomCase(found.series.volume, truth, "A", 1, dict(ACQUISITION))
    write_truth(phantom, folder / "truth.npz")
    case = (folder / "ct", folder / "truth.npz", Purpose.CALIBRATION, INDEPENDENT)
    add_case(*case, services)
    summary = compared(services.records, services.cases, unsent)
    assert (summary.studies, summary.not_compared) == (1, ())
    scores = {one.organ: one.median_dsc for one in summary.organs}
    assert scores == {organ: dsc(found.findings.masks[organ].dense(), truth[organ]) for organ in truth}
    assert min(scores.values()) > 0.99


@pytest.mark.parametrize(
    ("axes", "code"), [("LPI", "wrong-axes"), ("RPS", "wrong-axes"), ("RAI", "wrong-axes")]
)
def test_axes_that_are_not_the_trainings_are_refused(
    home: Home, tmp_path: Path, axes: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = connect_in_process(Settings(home=tmp_path / "home"))
    monkeypatch.setattr(proof, "COUNTED_VOXELS", 500)
    with pytest.raises(Refused) as refused:
        imported(services, home.results / "plain", "plain", home.answers["plain"], axes=axes)
    assert refused.value.code in (code, "reference-differs")
    assert services.records.release_states() == {}


def test_windows_that_are_not_mirrored_as_they_were_are_refused(home: Home, tmp_path: Path) -> None:
    services = connect_in_process(Settings(home=tmp_path / "home"))
    with pytest.raises(Refused, match="DSC aorta") as refused:
        imported(services, home.results / "plain", "plain", home.answers["plain"], mirrored=False)
    assert refused.value.code == "reference-differs"


def test_a_label_map_with_swapped_numbers_is_refused(home: Home, tmp_path: Path) -> None:
    told = home.answers["plain"]
    image = nibabel.load(told.labels_file)
    numbers = np.array([0, 1, 3, 2], dtype=np.uint8)
    nibabel.save(nibabel.Nifti1Image(numbers[np.asarray(image.dataobj)], image.affine), tmp_path / "l.nii.gz")
    services = connect_in_process(Settings(home=tmp_path / "home"))
    with pytest.raises(Refused, match="where") as refused:
        imported(services, home.results / "plain", "plain", replace(told, labels_file=tmp_path / "l.nii.gz"))
    assert refused.value.code == "wrong-axes"
    assert services.records.release_states() == {}


def test_a_reference_that_proves_nothing_is_refused_by_its_code(home: Home, tmp_path: Path) -> None:
    services = connect_in_process(Settings(home=tmp_path / "home"))
    told = home.answers["plain"]
    image = nibabel.load(told.labels_file)
    labels, affine = np.asarray(image.dataobj), image.affine

    def saved(name: str, array: NDArray, at: NDArray | None = affine) -> Path:
        nibabel.save(nibabel.Nifti1Image(array, at), tmp_path / f"{name}.nii.gz")
        return tmp_path / f"{name}.nii.gz"

    (tmp_path / "text.nii.gz").write_text("no image")
    files = {
        "unreadable-reference": [
            tmp_path / "text.nii.gz",
            tmp_path / "nothing.nii.gz",
            saved("nowhere", labels, None),
            saved("flat", labels[0]),
        ],
        "other-grid": [
            saved("elsewhere", labels, affine + np.diag([1, 0, 0, 0.0])),
            saved("cut", labels[1:]),
        ],
        "other-labels": [
            saved("unknown", np.where(labels == 3, 9, labels).astype(np.uint8)),
            saved("fractions", labels + np.float32(0.5)),
        ],
        "empty-reference": [saved("empty", np.zeros_like(labels))],
    }
    for code, paths in files.items():
        for path in paths:
            with pytest.raises(Refused) as refused:
                imported(services, home.results / "plain", "plain", replace(told, labels_file=path))
            assert (refused.value.code, path.name) == (code, path.name)
    assert services.records.release_states() == {}


def test_an_unknown_trainer_is_refused_though_the_labels_are_those_of_the_reference(
    home: Home, tmp_path: Path
) -> None:
    folder = changed_copy(home.results / "plain", tmp_path / "copy", checkpoint=unknown_trainer)
    services = connect_in_process(Settings(home=tmp_path / "home"))
    with pytest.raises(Refused, match="STUNetTrainer") as refused:
        imported(services, folder, "plain", home.answers["plain"])
    assert refused.value.code == "unknown-trainer"
    assert services.records.release_states() == {}


def unknown_trainer(values: dict[str, Any]) -> None:
    """Say that a trainer of one's own made it, and leave all else as it is."""
    values["trainer_name"] = "STUNetTrainer"


def test_what_cannot_be_done_with_it_is_refused_and_a_night_without_corrections_learns_nothing(
    home: Home, tmp_path: Path
) -> None:
    shutil.copytree(home.folder, tmp_path / "home")
    services = connect_in_process(Settings(home=tmp_path / "home"))
    number = home.documents["plain"].release
    make_first(number, services.releases, services.records, "Dr. No", "a first release")
    assert tune(services).release is None
    document = tune(services, ("liver",))
    assert document.release is None
    assert "too-few-studies" in document.left_out["liver"]
    for act in (
        lambda: tune(services, new_organs=("colon",)),
        lambda: train_release(services, Begin.SCRATCH, training_settings(Begin.SCRATCH, 1)),
    ):
        with pytest.raises(Refused, match="nnU-Net planned") as refused:
            act()
        assert refused.value.code == "recipe"


def test_the_verb_says_what_was_proven_and_asks_for_what_no_file_says(home: Home, tmp_path: Path) -> None:
    told, run = home.answers["plain"], CliRunner()
    environment = {"ORGANLOOP_HOME": str(tmp_path / "home")}
    words = ["import-checkpoint", str(home.results / "plain")]
    refused = run.invoke(app, [*words, "--json"], env=environment)
    assert refused.exit_code == 3
    assert json.loads(refused.stdout)["code"] == "unknown-axes"
    alone = [words[0], str(home.results / "plain" / "fold_0" / "checkpoint_final.pth"), "--json"]
    refused = run.invoke(app, alone, env=environment)
    assert json.loads(refused.stdout)["code"] == "unknown-axes", "not that it asks to run something"
    other = tmp_path / "other.pth"
    torch.save({"net": {"weight": torch.zeros(3)}}, other)
    refused = run.invoke(app, [words[0], str(other), "--licence", "MIT", "--step", "0.8", "--json"])
    assert json.loads(refused.stdout)["code"] == "not-nnunet"
    assert json.loads(refused.stdout)["measured"] == {"options": ["--licence", "--step"]}
    words += ["--axes", "RPI"]
    refused = run.invoke(app, [*words, "--json"], env=environment)
    assert json.loads(refused.stdout)["code"] == "no-licence"
    bad = run.invoke(app, [*words, "--licence", "MIT", "--origin", "Universität", "--json"], env=environment)
    assert json.loads(bad.stdout)["code"] == "bad-licence"
    words += ["--licence", "Apache-2.0", "--origin", "made for tests"]
    words += ["--reference", str(told.ct_file), str(told.labels_file), "--made-by", "nnunetv2 2.8.1"]
    done = run.invoke(app, words, env=environment)
    assert done.exit_code == 0, done.output
    if most_differing(home.results, "plain") == 0:
        assert "identical: not one of 10296 voxels differs" in done.output
    assert "unproven, the reference has too little of them: liver, spleen" in done.output
