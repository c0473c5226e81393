"""A public checkpoint, imported, is served by Triton and answers as its published formula does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet
from numpy.typing import NDArray
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.training.import_checkpoint import keep_checkpoint
from models.documents import to_json
from models.errors import InvalidRelease
from models.inference.windows import Prediction
from models.network.checkpoints import importing as checkpoint_import
from services.inference.engine import OpenVinoEngine
from services.records.entries.releases import ReleaseState
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.support.imported import SMALL, Imported, served_figures
from tests.support.log import lines

WINDOW = SMALL
ORGANS = ("liver", "spleen")


def kept_document(*asked: Any) -> dict[str, Any]:
    document: dict[str, Any] = to_json(keep_checkpoint(*asked))
    return document


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Return the services of an empty home; windows are small, the networks' widths too where they may be."""
    monkeypatch.setattr(checkpoint_import, "WINDOW", WINDOW)
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path / "home"))
    return connect_in_process(Settings())


def plain(folder: Path) -> Path:
    """Save a small SegResNet of two classes."""
    torch.manual_seed(0)
    network = SegResNet(init_filters=8, out_channels=2, blocks_down=(1, 1), blocks_up=(1,))
    torch.save({"net": network.state_dict()}, folder / "file.pth")
    return folder / "file.pth"


def test_an_imported_checkpoint_is_served_as_its_published_formula_says(
    services: Services, imported: Imported
) -> None:
    shutil.copytree(imported.home, services.settings.home, dirs_exist_ok=True)
    services = connect_in_process(Settings())
    figures = served_figures(imported.state, imported.document, WINDOW, services)
    assert figures.classes == 32
    assert figures.spread > 0.3
    assert figures.at_export < 1e-4
    assert figures.engine_to_formula < 1e-4
    assert figures.onnxruntime_to_formula < 1e-4
    assert figures.served_to_formula <= 0.0105  # rounded as all that is served
    assert figures.flipped == 0
    assert figures.served_as_in_process


def test_it_is_an_uncalibrated_candidate_that_serves_nobody_and_says_what_is_taken_for_granted(
    services: Services, tmp_path: Path
) -> None:
    file = plain(tmp_path)
    said: list[str] = []
    document = kept_document(
        file, services.releases, services.records, services.settings.threads, ORGANS, said.append
    )
    release = services.releases.release(document["release"])
    assert services.records.release_states() == {1: ReleaseState.CANDIDATE}
    assert services.records.incumbent() is None
    assert release.calibration is None
    assert release.parent is None
    assert "a sigmoid for each class" in release.note
    assert any("a sigmoid for each class" in line for line in said)
    assert not release.contract.antialias
    assert release.contract.spacing_mm == (1.5, 1.5, 1.5)
    assert release.contract.hu_window == (-175.0, 250.0)
    again = kept_document(file, services.releases, services.records, services.settings.threads, ORGANS)
    assert (again["release"], again["digest"]) == (1, document["digest"])
    assert services.releases.numbers() == (1,)
    assert len(lines(services.records, "checkpoint-imported")) == 1


def test_what_the_engine_answers_otherwise_is_not_published(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = OpenVinoEngine.predict

    def other(engine: OpenVinoEngine, window: NDArray[np.float32]) -> Prediction:
        found = answer(engine, window)
        return found._replace(logits=-found.logits)

    monkeypatch.setattr(OpenVinoEngine, "predict", other)
    with pytest.raises(InvalidRelease, match="change their label"):
        kept_document(plain(tmp_path), services.releases, services.records, services.settings.threads, ORGANS)
    assert services.releases.numbers() == ()
    assert services.records.release_states() == {}


def test_the_command_refuses_a_file_that_would_run_code(services: Services, tmp_path: Path) -> None:
    file = tmp_path / "file.pth"
    torch.save({"net": {"a": torch.zeros(1)}, "scheduler": Path("/")}, file)
    result = CliRunner().invoke(app, ["import-checkpoint", str(file), "--json"])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["code"] == "unsafe-checkpoint"
    assert services.releases.numbers() == ()


def test_whether_it_may_serve_first_is_judged_before_the_work(services: Services, tmp_path: Path) -> None:
    words = ["import-checkpoint", str(plain(tmp_path)), "--organs", ",".join(ORGANS), "--json"]
    nameless = CliRunner().invoke(app, [*words, "--first"])
    assert (nameless.exit_code, json.loads(nameless.stdout)["code"]) == (3, "no-name")
    assert services.releases.numbers() == ()
    named = [*words, "--first", "--approver", "Dr A", "--reason", "a trial"]
    done = CliRunner().invoke(app, named)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["state"] == "promoted"
    again = CliRunner().invoke(app, words)
    assert (json.loads(again.stdout)["release"], json.loads(again.stdout)["state"]) == (1, "promoted")
    assert json.loads(CliRunner().invoke(app, named).stdout)["code"] == "incumbent-exists"
