"""The folder of what is fetched: what is left over goes, what another works in stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.work_folder import work_folder


def test_what_a_killed_run_left_is_removed_and_what_another_works_in_is_not(tmp_path: Path) -> None:
    (tmp_path / "work" / "left").mkdir(parents=True)
    (tmp_path / "work" / "left" / "ct.dcm").write_bytes(b"pixels")
    with work_folder(tmp_path / "work") as one, work_folder(tmp_path / "work") as other:
        assert sorted((tmp_path / "work").iterdir()) == sorted((one, other))
    assert list((tmp_path / "work").iterdir()) == []


def test_a_leftover_that_another_process_removes_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = tmp_path / "left"
    leftover.mkdir()
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([leftover, tmp_path / "gone"]))
    with work_folder(tmp_path) as folder:
        assert folder.is_dir()
    assert not leftover.exists()
