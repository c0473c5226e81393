"""Where the embedded server's libpython is found: beside Python, by the loader, or fetched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.stack import libpython
from deploy.stack.libpython import LIBPYTHON, libpython_folder
from models.errors import ServingUnavailable

PYTHON = Path("/env/bin/python")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Stand in for the machine's commands: no library anywhere."""
    answers = {"python": str(tmp_path / "nowhere"), "ldconfig": "libm.so.6 => /lib/libm.so.6"}

    def output(command: list[str]) -> str:
        return answers[Path(command[0]).name]

    monkeypatch.setattr(libpython, "_output", output)
    return answers


def test_the_library_beside_the_interpreter_comes_first(machine: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / LIBPYTHON).touch()
    machine["python"] = str(tmp_path)
    assert libpython_folder(PYTHON, tmp_path / "tools") == tmp_path


def test_a_library_the_loader_knows_needs_no_folder(machine: dict[str, str], tmp_path: Path) -> None:
    machine["ldconfig"] = f"{LIBPYTHON} (libc6,x86-64) => /lib/x86_64-linux-gnu/{LIBPYTHON}"
    assert libpython_folder(PYTHON, tmp_path / "tools") is None


def test_a_library_fetched_before_is_used_again(machine: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "tools" / "usr" / "lib"
    folder.mkdir(parents=True)
    (folder / LIBPYTHON).touch()
    assert libpython_folder(PYTHON, tmp_path / "tools") == folder


def test_a_library_that_cannot_be_fetched_says_which_package_is_missing(
    machine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise subprocess.CalledProcessError(100, "apt-get")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(ServingUnavailable, match=r"Debian's package libpython3\.11"):
        libpython_folder(PYTHON, tmp_path / "tools")
    assert list(tmp_path.iterdir()) == []
