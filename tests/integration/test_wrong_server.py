"""A server that serves another release under our number: nothing is written in our release's name."""

from __future__ import annotations

import dataclasses
import shutil
import socket
from pathlib import Path

import pytest

from flows.segmentation.segment import segment
from models.errors import InvalidRelease, ServingFailed
from models.phantom.case import make_case
from services.dicom.ct.phantom_series import write_phantom_series
from services.inference.engine import RELEASE_FILE, InProcessSegmenter
from services.triton.client import TritonSegmenter
from tests.support.learning import ORGANS, SPACING, THREADS, open_site


def test_the_answer_of_another_homes_server_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    own = open_site(tmp_path / "own").services
    release = own.releases.release(1)
    theirs = dataclasses.replace(release, note="release 1 of another home")
    shutil.copytree(own.repository.versions_folder, tmp_path / "theirs")
    (tmp_path / "theirs" / "1" / RELEASE_FILE).write_bytes(theirs.to_bytes())
    wrong = dataclasses.replace(own, segmenter=InProcessSegmenter(tmp_path / "theirs", THREADS))
    assert wrong.segmenter.profile(1) == own.segmenter.profile(1)
    write_phantom_series(make_case("B", 1, spacing_mm=SPACING), tmp_path / "ct")
    with pytest.raises(InvalidRelease, match=f"{release.digest}.*{theirs.digest}"):
        segment(tmp_path / "ct", tmp_path / "out", wrong, organs=ORGANS)
    assert not (tmp_path / "out").exists()
    segment(tmp_path / "ct", tmp_path / "out", own, organs=ORGANS)
    assert (tmp_path / "out" / "organ-seg.dcm").is_file()


def test_a_server_that_is_silent_holds_up_nobody_who_asks_whether_it_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.triton.client.READY_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        client = TritonSegmenter(f"127.0.0.1:{silent.getsockname()[1]}", deadline_seconds=60)
        with pytest.raises(ServingFailed, match=r"no answer in 0\.2 s"):
            client.ready(1)
        client.close()
