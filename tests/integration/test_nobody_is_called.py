"""Nothing here looks up or calls anybody who is not named in the settings, whatever library would like to.

All verbs and servers are in tests/proofs; here what catches most, in seconds.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from deploy.cli.main import app
from tests.conftest import ROOT
from tests.support.every_verb import told, verbs_of
from tests.support.sealed import heard_of
from tests.support.serving import ENVIRONMENT

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


@pytest.mark.timeout(900)  # `timeout` counts what others take
def test_nobody_is_called_where_libraries_do_so_first(tmp_path: Path) -> None:
    """When they are imported at a terminal; and Prefect, which has told its makers and asked GitHub."""
    heard = heard_of([sys.executable, "-m", "tests.support.what_calls_out", str(tmp_path)], tmp_path)
    assert heard.exit_code == 0, heard.said[-5000:]
    assert (heard.names, heard.addresses) == ((), ())


def test_the_walk_of_the_proof_has_every_verb(tmp_path: Path) -> None:
    """A new one is told there what to do, and nobody is called by it."""
    assert told(tmp_path).keys() == verbs_of(app)


def test_neither_environment_holds_the_package_by_which_openvino_calls_out() -> None:
    with pytest.raises(PackageNotFoundError):
        version(TELEMETRY)
    assert not list(ENVIRONMENT.glob(f"lib/python*/site-packages/{TELEMETRY}*"))


@pytest.mark.parametrize("engine", ["services.inference.engine", "services.triton.gpu_target"])
def test_openvino_does_not_find_that_package_even_where_somebody_installs_it(
    tmp_path: Path, engine: str
) -> None:
    (tmp_path / f"{TELEMETRY}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {engine}"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert not (tmp_path / "imported").exists()
    subprocess.run([sys.executable, "-c", program.replace(engine, "openvino")], cwd=ROOT, check=False)
    assert (tmp_path / "imported").exists(), "openvino asks for another package now: this test sees nothing"
