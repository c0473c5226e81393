"""Every verb and server, the whole loop of the demonstration, what only containers run: nobody is called."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from deploy.cli.console import EXIT_DONE, EXIT_REFUSED
from deploy.cli.main import app
from tests.support.every_verb import REFUSED, verbs_of
from tests.support.sealed import Heard, heard_of


def test_the_demonstration_calls_nobody(tmp_path: Path) -> None:
    home = {"ORGANLOOP_HOME": str(tmp_path / "home")}
    heard = heard_of([sys.executable, "-m", "deploy.demo"], tmp_path, home)
    assert heard.exit_code == 0, heard.said[-5000:]
    assert (heard.names, heard.addresses) == ((), ())


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Heard, dict[str, int]]:
    """Let every verb, server and worker do something; return what was heard, and how the verbs ended."""
    folder = tmp_path_factory.mktemp("heard")
    heard = heard_of([sys.executable, "-m", "tests.support.every_verb", str(folder)], folder)
    assert heard.exit_code == 0, heard.said[-5000:]
    return heard, json.loads((folder / "ended.json").read_text())


def test_every_verb_is_run_and_does_what_it_is_told(heard: tuple[Heard, dict[str, int]]) -> None:
    said, ended = heard
    assert ended.keys() == verbs_of(app)
    done = ended.keys() - set(REFUSED) - {"doctor"}  # which may find that nothing was watched yet
    assert {ended[verb] for verb in REFUSED} == {EXIT_REFUSED}, said.said
    assert {ended[verb] for verb in done} == {EXIT_DONE}, said.said


def test_no_verb_no_server_and_no_container_calls_anybody(heard: tuple[Heard, dict[str, int]]) -> None:
    assert (heard[0].names, heard[0].addresses) == ((), ())
