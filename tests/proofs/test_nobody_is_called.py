"""The whole loop of the demonstration, what workers run and what only containers run: nobody is called."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.sealed import heard_of


def test_the_demonstration_calls_nobody(tmp_path: Path) -> None:
    home = {"ORGANLOOP_HOME": str(tmp_path / "home")}
    heard = heard_of([sys.executable, "-m", "deploy.demo"], tmp_path, home)
    assert heard.exit_code == 0, heard.said[-5000:]
    assert (heard.names, heard.addresses) == ((), ())


def test_workers_and_what_only_containers_run_call_nobody(tmp_path: Path) -> None:
    heard = heard_of([sys.executable, "-m", "tests.every_verb", str(tmp_path), "all"], tmp_path)
    assert heard.exit_code == 0, heard.said[-5000:]
    assert (heard.names, heard.addresses) == ((), ())
