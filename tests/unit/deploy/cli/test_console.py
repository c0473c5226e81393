"""Every verb ends in one document and one of four exit codes."""

from __future__ import annotations

import json

import pytest
import typer
from pydantic import ValidationError

from deploy.cli.console import Outcome, answer, conclude, failure_code
from models.errors import Refused, ServingTimedOut
from services.settings import Settings


def refuse() -> Outcome:
    raise Refused("missing-slices", "A slice is missing between 12 and 13.", {"gap_mm": 5.0})


def fail() -> Outcome:
    raise ServingTimedOut("no answer within 120 s")


def test_a_result_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end:
        answer(lambda: Outcome({"release": 1}, ("release 1",)), as_json=True)
    assert end.value.exit_code == 0
    assert json.loads(capsys.readouterr().out) == {"release": 1}


def test_a_refusal_is_a_document_too_and_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end:
        answer(refuse, as_json=True)
    assert end.value.exit_code == 3
    assert json.loads(capsys.readouterr().out) == {
        "code": "missing-slices",
        "detail": "A slice is missing between 12 and 13.",
        "measured": {"gap_mm": 5.0},
    }


def test_a_failure_speaks_on_stderr_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end:
        answer(fail, as_json=False)
    printed = capsys.readouterr()
    assert end.value.exit_code == 1
    assert printed.out == ""
    assert "no answer within 120 s" in printed.err


def test_a_failure_has_a_code_of_its_own() -> None:
    assert failure_code(ServingTimedOut("late")) == "serving-timed-out"


def test_a_file_that_cannot_be_written_is_a_failure_with_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> Outcome:
        raise PermissionError(13, "Permission denied", "/reports/report.html")

    assert conclude(write, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["code"] == "storage-failed"
    assert "/reports/report.html" in document["detail"]


def test_a_wrong_setting_is_said_without_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGANLOOP_DATABASE_URL", "postgresql//reader:secret@host")
    with pytest.raises(ValidationError) as wrong:
        Settings()
    assert "database_url" in str(wrong.value)
    assert "secret" not in str(wrong.value)
