"""Nothing here looks up or calls anybody who is not named in the settings, whatever library would like to."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from deploy.cli import app
from deploy.console import EXIT_DONE, EXIT_REFUSED
from tests.conftest import ROOT
from tests.every_verb import REFUSED, verbs_of
from tests.sealed import Heard, heard_of
from tests.serving import ENVIRONMENT

TELEMETRY = "openvino_telemetry"


def test_whoever_calls_out_is_heard(tmp_path: Path) -> None:
    program = """
import socket
for address in (("statistics.example.org", 443), ("192.0.2.7", 443), ("127.0.0.1", 1)):
    try: socket.create_connection(address)
    except OSError: pass
"""
    [python] = [sys.executable]
    child = f"{python} -c 'import socket; socket.getaddrinfo(\"of-a-child.example.org\", 80)'"
    script = tmp_path / "program.py"
    script.write_text(f"{program}\nimport os, sys\nos.system({child!r})\nsys.exit(7)")
    heard = heard_of([python, str(script)], tmp_path)
    assert heard.names == ("of-a-child.example.org", "statistics.example.org")
    assert heard.addresses == ("192.0.2.7:443",)
    assert heard.exit_code == 7


pytestmark = pytest.mark.timeout(900)  # a whole stack is started; `timeout` counts what others take


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Heard, dict[str, int]]:
    """Let every verb and every server do something; return what was heard, and how the verbs ended."""
    folder = tmp_path_factory.mktemp("heard")
    heard = heard_of([sys.executable, "-m", "tests.every_verb", str(folder)], folder)
    assert heard.exit_code == 0, heard.said[-5000:]
    return heard, json.loads((folder / "ended.json").read_text())


def test_every_verb_is_run_and_does_what_it_is_told(heard: tuple[Heard, dict[str, int]]) -> None:
    said, ended = heard
    assert ended.keys() == verbs_of(app)
    done = ended.keys() - set(REFUSED) - {"doctor"}  # which may find that nothing was watched yet
    assert {ended[verb] for verb in REFUSED} == {EXIT_REFUSED}, said.said
    assert {ended[verb] for verb in done} == {EXIT_DONE}, said.said


def test_no_verb_and_no_server_calls_anybody(heard: tuple[Heard, dict[str, int]]) -> None:
    assert (heard[0].names, heard[0].addresses) == ((), ())


def test_neither_environment_holds_the_package_by_which_openvino_calls_out() -> None:
    with pytest.raises(PackageNotFoundError):
        version(TELEMETRY)
    assert not list(ENVIRONMENT.glob(f"lib/python*/site-packages/{TELEMETRY}*"))


@pytest.mark.parametrize("engine", ["services.inference.engine", "services.releases.gpu_target"])
def test_openvino_does_not_find_that_package_even_where_somebody_installs_it(
    tmp_path: Path, engine: str
) -> None:
    (tmp_path / f"{TELEMETRY}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {engine}"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert not (tmp_path / "imported").exists()
    subprocess.run([sys.executable, "-c", program.replace(engine, "openvino")], cwd=ROOT, check=False)
    assert (tmp_path / "imported").exists(), "openvino asks for another package now: this test sees nothing"
