"""What a person is told of what came, and how a run ends whose study is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.arrivals.archived_study import note_failed
from flows.segmentation import flow as segmentation
from models.errors import OrganloopError, Refusal, Refused, StorageFailed
from services.records.entries.arrivals import Arrival, ArrivalState
from services.settings import Settings
from services.wiring import Services, connect_in_process

SUBMITTED = Arrival("1.9", "1.9", ArrivalState.SUBMITTED, attempts=2, urgent=True)


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path))
    return connect_in_process(Settings())


def test_what_came_is_listed_with_why_its_last_run_ended(services: Services) -> None:
    assert "nothing came yet" in CliRunner().invoke(app, ["arrivals"]).stdout
    services.records.change_arrival(None, SUBMITTED)
    note_failed("1.9", StorageFailed("No space left."), services.records)
    answer = CliRunner().invoke(app, ["arrivals", "--json"])
    assert answer.exit_code == 0
    (row,) = json.loads(answer.stdout)
    assert row.pop("since").startswith("20")
    assert row == {
        "uid": "1.9",
        "study_uid": "1.9",
        "state": "submitted",
        "code": "storage-failed",
        "detail": "No space left.",
        "attempts": 2,
        "urgent": True,
    }
    shown = CliRunner().invoke(app, ["arrivals"]).stdout
    assert "storage-failed" in shown
    assert "submitted" in shown


@pytest.mark.parametrize(
    ("error", "code"),
    [(Refused("too-few-slices", "Two.", {"slices": 2}), "too-few-slices"), (StorageFailed("Full."), "")],
)
def test_a_refusal_ends_a_run_with_its_document_and_a_failure_in_error(
    services: Services, monkeypatch: pytest.MonkeyPatch, error: OrganloopError, code: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(segmentation, "connect", lambda _: services)
    monkeypatch.setattr(segmentation, "segment", fails)
    services.records.change_arrival(None, replace(SUBMITTED, urgent=False))
    if code:
        document = segmentation.segment_task.fn("1.9", None, None)
        assert document == Refusal(code, "Two.", {"slices": 2})
        return
    with pytest.raises(StorageFailed):
        segmentation.segment_task.fn("1.9", None, None)
    arrival = services.records.arrival("1.9")
    assert arrival is not None
    assert arrival.code == "storage-failed"
