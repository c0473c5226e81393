"""The form of the command's log."""

from __future__ import annotations

import json
import logging
import sys

from deploy.logs import JsonLines


def record(message: str, *words: object, failed: bool = False) -> logging.LogRecord:
    error = None
    if failed:
        try:
            raise ValueError("why")
        except ValueError:
            error = sys.exc_info()
    made = logging.LogRecord("services.pacs", logging.WARNING, "f.py", 1, message, words, error)
    made.created = 1_767_225_600.25
    return made


def test_a_json_line_is_one_document_with_its_time_in_utc() -> None:
    line = JsonLines().format(record("stored %s,\nbut late", "1.2.3"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00.250+00:00",
        "level": "warning",
        "logger": "services.pacs",
        "message": "stored 1.2.3,\nbut late",
    }


def test_an_error_is_part_of_its_line() -> None:
    line = JsonLines().format(record("failed", failed=True))
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: why")
