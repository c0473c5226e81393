"""What keeps other users of the machine out of the local stack."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from deploy.stack.credentials import close_to_others, password_in
from deploy.stack.prefect import Access
from deploy.stack.triton import TritonServer
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


def noted_at(home: Path, socket: Path) -> TritonServer:
    """Return the server of a home whose server before listened at a socket and has ended."""
    home.mkdir()
    (home / "server.json").write_text(json.dumps({"pid": 1, "started": -1, "socket": str(socket)}))
    return TritonServer(home, home / "repository", home, home)


def test_triton_listens_where_it_did_before_while_that_folder_is_its_owner_s_alone(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o700)
    server = noted_at(tmp_path / "home", place / "grpc")
    assert server._socket() == place / "grpc"
    place.chmod(0o777)  # gone from /tmp, anybody may make it anew
    other = server._socket()
    assert other.parent != place
    assert mode_of(other.parent) == 0o700
    other.parent.rmdir()
    place.rmdir()
    (tmp_path / "theirs").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "theirs")
    another = server._socket()
    assert another.parent != place
    another.parent.rmdir()


def test_a_command_in_a_container_finds_prefects_password_where_compose_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    secret = tmp_path / "prefect_auth"
    assert Access.from_environment(secret) == Access("http://prefect:4200/api", "")
    secret.write_text("organloop:word\n")
    assert Access.from_environment(secret) == Access("http://prefect:4200/api", "organloop:word")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "organloop:other")
    assert Access.from_environment(secret) == Access("http://prefect:4200/api", "organloop:other")
    monkeypatch.delenv("PREFECT_API_URL")
    assert Access.from_environment(secret) is None
