"""An update and its taking back: stack and every verb on a home of an earlier version, then that again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.stack import up_and_down as stack
from deploy.stack.local_process import free_port
from tests.conftest import ROOT
from tests.support.earlier_homes import ARCHIVES, EarlierHome, unpacked, version_of
from tests.support.postgresql import new_database
from tests.support.walked_home import walk_every_verb

PORTS = ("archive", "archive_dicom", "viewer", "prefect", "triton_grpc", "triton_http")
VERB = """
import sys
try:
    from deploy.cli.main import main
except ImportError:  # `deploy.cli` was one file
    from deploy.cli import main
sys.argv[0] = "organloop"
main()
"""
"""The command of an earlier program, run in its folder."""


@pytest.fixture(params=ARCHIVES, ids=version_of)
def archive(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def earlier(archive: Path, tmp_path: Path) -> EarlierHome:
    return EarlierHome.on(unpacked(archive, tmp_path / "made"), tmp_path / "home", None)


@pytest.fixture
def old_program(archive: Path, tmp_path: Path) -> Path:
    """The code of the version that made the home, out of the history of this repository."""
    commit = version_of(archive).rsplit("-")[-1]
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"commit {commit} is not in this clone")
    (tmp_path / "then").mkdir()
    subprocess.run(["tar", "-x", "-C", tmp_path / "then"], input=packed.stdout, check=True)
    return tmp_path / "then"


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
def test_every_verb_works_on_an_earlier_home_in_postgresql(
    archive: Path, postgresql: str, tmp_path: Path
) -> None:
    """In SQLite with each run of the tests."""
    ours, restored = (new_database(postgresql, f"upgrade_{name}") for name in ("home", "restored"))
    earlier = EarlierHome.on(unpacked(archive, tmp_path / "made"), tmp_path / "home", ours)
    walk_every_verb(earlier, restored, tmp_path)
    gc.collect()  # a verb's process ends, and its connections with it; here many verbs run in one


def test_the_stack_comes_up_on_an_earlier_home_and_serves_it(
    earlier: EarlierHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for part in PORTS:
        monkeypatch.setenv(f"ORGANLOOP_{part.upper()}_PORT", str(free_port(0)))
    try:
        code, parts = earlier.organloop("up")
        assert (code, [one["part"] for one in parts if one["state"] == "down"]) == (0, [])
        assert earlier.organloop("status")[0] == 0
        first = earlier.said["results"][0]
        code, again = earlier.organloop("segment", earlier.ct(first["seed"]), "--out", tmp_path / "out")
        assert (code, again["release"]) == (0, earlier.said["incumbent"])
        code, found = earlier.organloop("audit", "verify", "--against", earlier.log)
        assert (code, found["faults"]) == (0, [])
    finally:
        assert earlier.organloop("down")[0] == 0
    assert not stack.triton_server(earlier.settings).process


def test_the_earlier_program_works_with_a_home_that_this_one_has_upgraded(
    earlier: EarlierHome, old_program: Path
) -> None:
    """What an update brought stays, and is in nobody's way (deploy/README.md)."""

    def then(*words: object) -> None:
        environment = os.environ | {"ORGANLOOP_HOME": str(earlier.home), "PYTHONPATH": str(old_program)}
        command = [sys.executable, "-c", VERB, *map(str, words), "--json"]
        done = subprocess.run(command, cwd=old_program, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout, done.stderr)

    assert earlier.organloop("prepare") == (0, {"incumbent": earlier.said["incumbent"]})
    then("prepare")
    then("audit", "verify", "--against", earlier.log)
    seed = earlier.said["to_come"]
    [result] = [one for one in earlier.said["results"] if one["seed"] == seed]
    sent = earlier.home / result["objects"][0]["path"]
    saved = earlier.made / "studies" / str(seed) / "saved.dcm"
    then("ingest", saved, "--study", earlier.ct(seed), "--sent", sent)
    then("accept", result["study_uid"], "--organs", "liver", "--reader", "Dr A")
    then("cases", "freeze", "--purpose", "gate")
    then("arrivals")
    then("tune", "--level", "head")
    assert earlier.organloop("prepare") == (0, {"incumbent": earlier.said["incumbent"]})
    code, found = earlier.organloop("audit", "verify", "--against", earlier.log)
    assert (code, found["faults"]) == (0, [])
