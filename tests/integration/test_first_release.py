"""One command takes the first release of a site in, proves it, calibrates it, and lets it serve."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import SegResNet
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.preparation import STARTER
from deploy.stack.triton import TritonProcess, TritonServer
from flows.installing.moved import export_to_file
from flows.promotion.roll_back import decline
from models.metrics.dsc import dsc
from models.network.checkpoints import importing as checkpoint_import
from models.organs import CATALOGUE, ORGANS
from models.phantom.case import make_case
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import read_truth, write_phantom_series, write_truth
from services.dicom.ct.series import read_series
from services.dicom.seg.reader import read_seg
from services.inference.engine import OpenVinoEngine
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import CandidateCalibrated, ReleaseImported
from services.records.events.results import SpeechChanged
from services.records.events.serving import IncumbentChanged
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.conftest import ROOT
from tests.support.imported import SMALL
from tests.support.learning import ORGANS as FEW
from tests.support.learning import SPACING, small_release
from tests.support.serving import ENVIRONMENT, thrown_away

WHO = ("--approver", "Dr B", "--reason", "the first one here")
SILENTLY = ("--serve", "silently", *WHO)
KEY_OF = {entry.label: entry.key for entry in CATALOGUE}


@dataclass
class Home:
    """A home, and the command there."""

    folder: Path
    triton_url: str | None = None

    def __call__(self, *words: object, ends: int = 0) -> Any:
        variables = {"ORGANLOOP_HOME": str(self.folder), "ORGANLOOP_TRITON_URL": self.triton_url}
        result = CliRunner().invoke(app, [*map(str, words), "--json"], env=variables)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == ends, result.output
        return json.loads(result.stdout)

    @property
    def services(self) -> Services:
        return connect_in_process(Settings(home=self.folder))

    @property
    def state(self) -> tuple[list[str], int]:
        """Every file of its stores, and how many events are on record."""
        folders = ("releases", "triton/repository", "cases")
        files = [path for name in folders for path in (self.folder / name).rglob("*") if path.is_file()]
        return sorted(map(str, files)), len(self.services.records.lines())


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the demonstration release, as another home has exported it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    store = ReleaseStore(folder / "releases")
    store.import_from(STARTER)
    records = open_records(f"sqlite:///{folder}/records.sqlite")
    export_to_file(1, folder / "demonstration.tar", store, records, "Dr A")
    return folder / "demonstration.tar"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a release that was never trained, without a calibration."""
    folder = tmp_path_factory.mktemp("small")
    return exported_small(folder)


def exported_small(folder: Path, *, calibrated: bool = False) -> Path:
    store = ReleaseStore(folder / "releases")
    trunk, heads, release = small_release(14.0)
    store.add_trunk(trunk)
    for content in heads.values():
        store.add_head(content)
    kept = release.calibration if calibrated else None
    store.publish(replace(release, calibration=kept))
    records = open_records(f"sqlite:///{folder}/records.sqlite")
    export_to_file(1, folder / "small.tar", store, records, "Dr A")
    return folder / "small.tar"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def empty_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, TritonProcess]]:
    """Start a real Triton that has nothing to serve, as a new site's is."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        pytest.skip("the embedded Triton's environment .venv-triton is not there (make setup)")
    folder = tmp_path_factory.mktemp("site")
    server = TritonServer(folder / "server", folder / "home" / "triton" / "repository", ENVIRONMENT, ROOT)
    with thrown_away(server) as process:
        yield Home(folder / "home", process.url), process


def test_a_release_of_one_home_serves_in_another_by_one_command_and_a_study_is_segmented(
    demonstration: Path, empty_triton: tuple[Home, TritonProcess], tmp_path: Path
) -> None:
    home, process = empty_triton
    done = home("releases", "first", demonstration, *SILENTLY)
    assert (done["release"], done["changed"], done["demonstration"]) == (1, True, True)
    assert (done["came_by"], done["bounds"], done["speaks"]) == ("unsigned", "carried", False)
    assert (done["loaded"], done["not_reached"]) == ([process.url], [])
    case = make_case("A", 810000)
    write_phantom_series(case, tmp_path / "ct")
    write_truth(case, tmp_path / "truth.npz")
    said = home("segment", tmp_path / "ct", "--out", tmp_path / "out")
    assert said["release"] == 1
    series = load(choose_series(read_series(tmp_path / "ct")))
    truth, _ = read_truth(tmp_path / "truth.npz")
    [path] = [one["path"] for one in said["objects"] if one["kind"] == "organ-seg"]
    found = {KEY_OF[one.label]: one.mask.dense() for one in read_seg(Path(path), series).segments}
    assert min(dsc(found[key], truth[key].dense()) for key in ORGANS) > 0.6

    before = home.state
    again = home("releases", "first", demonstration, *SILENTLY)
    assert again == done | {"changed": False}
    assert home.state == before, "done again, it changes nothing"


def test_it_is_on_record_who_exported_it_and_who_lets_it_serve(small: Path, home: Home) -> None:
    home("releases", "first", small, *SILENTLY)
    records = home.services.records
    came, serves = records.last(ReleaseImported), records.last(IncumbentChanged)
    assert came is not None
    assert serves is not None
    assert (came.said.exporter, came.said.signer) == ("Dr A", None)
    assert (serves.who, serves.said.reason, serves.said.before) == ("Dr B", "the first one here", None)
    assert records.last(SpeechChanged) is None, "a new site is silent by itself"


def test_it_speaks_where_it_shall_and_not_before_it_serves(small: Path, home: Home) -> None:
    done = home("releases", "first", small, "--serve", "openly", *WHO)
    assert done["speaks"]
    kinds = [type(one.said).__name__ for one in home.services.records.all(IncumbentChanged, SpeechChanged)]
    assert kinds == ["IncumbentChanged", "SpeechChanged"]
    assert home("releases", "first", small, "--serve", "openly", *WHO)["changed"] is False


def test_a_silent_site_that_is_told_again_to_serve_openly_speaks(small: Path, home: Home) -> None:
    home("releases", "first", small, *SILENTLY)
    assert home("releases", "first", small, "--serve", "openly", *WHO)["changed"] is True
    done = home("releases", "first", small, *SILENTLY)
    assert (done["changed"], done["speaks"]) == (False, True), "silence is an act of its own"


def test_with_labelled_cases_it_serves_with_bounds_of_this_site(
    small: Path, home: Home, tmp_path: Path
) -> None:
    for seed in range(10):
        case, folder = make_case("A", seed, spacing_mm=SPACING), tmp_path / "cases" / f"{seed}"
        write_phantom_series(case, folder / "ct")
        write_truth(case, folder / "truth.npz")
    given = ("--calibration", tmp_path / "cases")
    done = home("releases", "first", small, *SILENTLY, *given)
    assert (done["release"], done["bounds"]) == (2, "calibrated-here")
    release = home.services.releases.release(2)
    assert release.calibration is not None
    made = home.services.records.last(CandidateCalibrated)
    assert made is not None
    assert (len(made.said.cases), made.said.parent) == (10, 1)
    assert release.contract.organs == FEW
    before = home.state
    assert home("releases", "first", small, *SILENTLY, *given) == done | {"changed": False}
    assert home("releases", "first", small, *SILENTLY) == done | {"changed": False}
    assert home.state == before


def test_too_few_cases_let_nothing_serve(small: Path, home: Home, tmp_path: Path) -> None:
    case, folder = make_case("A", 0, spacing_mm=SPACING), tmp_path / "cases" / "0"
    write_phantom_series(case, folder / "ct")
    write_truth(case, folder / "truth.npz")
    said = home("releases", "first", small, *SILENTLY, "--calibration", tmp_path / "cases", ends=3)
    assert said["code"] == "too-few-cases"
    assert home.services.records.incumbent() is None
    (tmp_path / "cases" / "1").mkdir()
    said = home("releases", "first", small, *SILENTLY, "--calibration", tmp_path / "cases", ends=3)
    assert said["code"] == "no-cases"
    shutil.rmtree(tmp_path / "cases")
    (tmp_path / "cases").mkdir()
    said = home("releases", "first", small, *SILENTLY, "--calibration", tmp_path / "cases", ends=3)
    assert said["code"] == "no-cases"


def test_cases_that_come_after_it_serves_are_not_left_aside_without_a_word(
    small: Path, home: Home, tmp_path: Path
) -> None:
    home("releases", "first", small, *SILENTLY)
    before = home.state
    case, folder = make_case("A", 0, spacing_mm=SPACING), tmp_path / "cases" / "0"
    write_phantom_series(case, folder / "ct")
    write_truth(case, folder / "truth.npz")
    said = home("releases", "first", small, *SILENTLY, "--calibration", tmp_path / "cases", ends=3)
    assert said["code"] == "serves-uncalibrated"
    assert home.state == before


def test_beside_another_release_nothing_is_taken_in(small: Path, home: Home, tmp_path: Path) -> None:
    home("releases", "first", small, *SILENTLY)
    before = home.state
    (tmp_path / "other").mkdir()
    other = exported_small(tmp_path / "other", calibrated=True)
    said = home("releases", "first", other, *SILENTLY, ends=3)
    assert (said["code"], said["measured"]) == ("incumbent-exists", {"incumbent": 1})
    assert home.state == before


def test_what_a_person_has_declined_is_not_let_serve(small: Path, home: Home) -> None:
    home("releases", "import", small)
    services = home.services
    decline(1, "Dr B", "not here", services.records, services.releases, services.repository)
    assert home("releases", "first", small, *SILENTLY, ends=3)["code"] == "declined"
    assert home.services.records.incumbent() is None


def test_what_the_engine_answers_otherwise_is_not_let_serve(
    small: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = OpenVinoEngine.predict

    def other(engine: OpenVinoEngine, window: Any) -> Any:
        found = answer(engine, window)
        return found._replace(logits=-found.logits)

    monkeypatch.setattr(OpenVinoEngine, "predict", other)
    assert home("releases", "first", small, *SILENTLY, ends=1)["code"] == "invalid-release"
    assert home.services.records.incumbent() is None


def test_where_the_triton_that_is_known_does_not_answer_nothing_serves_until_it_does(
    small: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.triton_url = "127.0.0.1:9"
    said = home("releases", "first", small, *SILENTLY, ends=1)
    assert said["code"] == "serving-unavailable"
    assert "no segmenter answers" in said["detail"]
    assert home.services.records.incumbent() is None
    home.triton_url = None
    assert home("releases", "first", small, *SILENTLY)["changed"] is True


def test_an_import_alone_lets_nothing_serve(small: Path, home: Home) -> None:
    taken = home("releases", "import", small)
    assert (taken["release"], taken["state"], taken["signer"]) == (1, "candidate", "unsigned")
    services = home.services
    assert services.records.incumbent() is None
    assert services.repository.versions() == ()
    assert services.records.release_states() == {1: ReleaseState.CANDIDATE}


def test_a_checkpoint_serves_by_the_same_command(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_import, "WINDOW", SMALL)
    torch.manual_seed(0)
    network = SegResNet(init_filters=8, out_channels=2, blocks_down=(1, 1), blocks_up=(1,))
    torch.save({"net": network.state_dict()}, tmp_path / "file.pth")
    asked = ("releases", "first", tmp_path / "file.pth", *SILENTLY, "--organs", "liver,spleen")
    done = home(*asked)
    assert (done["release"], done["came_by"], done["bounds"]) == (1, "checkpoint", "none")
    assert done["demonstration"], "whoever imports public weights vouches for nothing"
    before = home.state
    assert home(*asked) == done | {"changed": False}
    assert home.state == before


def test_the_file_and_both_verbs_say_that_it_is_not_for_clinical_use(demonstration: Path, home: Home) -> None:
    assert b'"demonstration": true' in demonstration.read_bytes()
    for words in (
        ("releases", "import", demonstration),
        ("releases", "export", 1, home.folder / "again.tar"),
    ):
        told = [*map(str, words), *(WHO[:2] if "export" in words else ())]
        result = CliRunner().invoke(app, told, env={"ORGANLOOP_HOME": str(home.folder)})
        assert result.exit_code == 0, result.output
        assert "NOT FOR CLINICAL USE" in result.stdout
