"""The golden set: what differs is named, and what hangs on the clock is masked and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.golden import differing, masked


def test_each_file_that_differs_or_is_lacking_is_named(tmp_path: Path) -> None:
    for folder, files in (
        ("one", {"a": "1", "b": "1", "c": "1"}),
        ("other", {"a": "1", "b": "2", "d": "1"}),
    ):
        (tmp_path / folder / "deep").mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / folder / "deep" / name).write_text(content)
    assert differing(tmp_path / "one", tmp_path / "one") == []
    assert differing(tmp_path / "one", tmp_path / "other") == ["deep/b", "deep/c", "deep/d"]


def test_times_are_masked_at_any_depth_and_what_a_decision_says_is_not() -> None:
    document = {
        "organs": [{"dsc": 0.5, "fit_seconds": 3.1}],
        "saved_at": "2026",
        "state": "promoted",
        "what": 1,
    }
    assert masked(document) == {
        "organs": [{"dsc": 0.5, "fit_seconds": "<masked>"}],
        "saved_at": "<masked>",
        "state": "promoted",
        "what": 1,
    }
