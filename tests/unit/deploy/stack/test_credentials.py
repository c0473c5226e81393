"""What keeps other users of the machine out of the local stack."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.stack.credentials import close_to_others, password_in
from models.errors import StorageFailed


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_password_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "prefect" / "password"
    first = password_in(path)
    assert len(first) >= 32
    assert password_in(path) == first == path.read_text()
    assert mode_of(path) == 0o600
    assert password_in(tmp_path / "another") != first


def test_a_home_is_made_closed_and_one_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    for home in (tmp_path / "new" / "home", tmp_path / "earlier"):
        if home.name == "earlier":
            home.mkdir(mode=0o755)
        close_to_others(home)
        assert mode_of(home) == 0o700


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="cannot be written"):
        close_to_others(tmp_path / "file" / "home")
