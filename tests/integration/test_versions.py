"""Versions on real Tritons: a writer killed half-way, late loads, every release on every replica."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.stack.triton import TritonServer
from flows.serving.serve import serve
from models.errors import ServingTimedOut
from services.settings import Settings
from services.triton.client import TritonSegmenter
from services.wiring import connect
from tests.conftest import ROOT
from tests.support.serving import ENVIRONMENT, Serving, put_on_record, thrown_away
from tests.support.tiny_networks import noisy_body, publish_tiny
from tests.support.waiting import GUARD_SECONDS

KILLED, SLOW, KEPT, NEXT = 71, 72, 73, 74
HU = noisy_body((16, 18, 20))

WRITER = """
import os, signal, sys
from pathlib import Path
from services.releases.store import ReleaseStore
from services.triton.repository import TritonRepository
from tests.support.serving import MODEL, THREADS
left = [int(sys.argv[3])]
fsync = os.fsync
def count(descriptor):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = count
store = ReleaseStore(Path(sys.argv[2]))
TritonRepository(Path(sys.argv[1]), MODEL, THREADS).write_version(store.release(int(sys.argv[4])), store)
"""


def test_what_a_killed_writer_left_is_never_loaded(serving: Serving) -> None:
    release = publish_tiny(serving.store, KILLED, {"liver": 1, "spleen": 71})
    folders = (serving.repository.folder, serving.store.folder)
    arguments = [sys.executable, "-c", WRITER, *map(str, folders), "3", str(KILLED)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=GUARD_SECONDS)
    assert done.returncode == -signal.SIGKILL, done.stderr
    try:
        serving.triton.load()
        assert [serving.triton.ready(n) for n in (1, 2, KILLED)] == [True, True, False]
        serving.repository.write_version(release, serving.store)
        serving.triton.load()
        assert serving.triton.segment(HU, KILLED).release_digest == release.digest
    finally:
        serving.repository.remove_version(KILLED)
        serving.triton.load()


def test_a_load_has_a_deadline_and_the_others_serve_meanwhile(serving: Serving) -> None:
    serving.add(SLOW, liver=1, spleen=72)
    hasty = TritonSegmenter(serving.triton.url, deadline_seconds=0.05)
    try:
        with pytest.raises(ServingTimedOut, match=r"no answer in 0\.05 s"):
            hasty.load()
        assert serving.triton.segment(HU, 1).probability.any()
        serving.triton.load()
        assert serving.triton.ready(SLOW)
    finally:
        hasty.close()
        serving.repository.remove_version(SLOW)
        serving.triton.load()


def test_every_kept_release_is_on_every_replica_before_another_serves(
    serving: Serving, tmp_path: Path
) -> None:
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "repository").symlink_to(serving.repository.folder)
    (tmp_path / "releases").symlink_to(serving.store.folder)
    site = connect(Settings(home=tmp_path, triton_url=serving.triton.url))
    server = TritonServer(tmp_path / "replica", serving.repository.folder, ENVIRONMENT, ROOT)
    with thrown_away(server) as process:
        replica = TritonSegmenter(process.url, deadline_seconds=GUARD_SECONDS)
        try:
            serving.add(KEPT, liver=1, spleen=73)
            serving.triton.load()
            assert [one.ready(KEPT) for one in (serving.triton, replica)] == [True, False]
            release = publish_tiny(serving.store, NEXT, {"liver": 1, "spleen": 74})
            both = replace(site, endpoints=(serving.triton, replica))
            told: list[str] = []
            put_on_record(site)
            serve(release, both, told.append)
            assert [one.ready(n) for one in both.endpoints for n in (1, 2, KEPT, NEXT)] == [True] * 8
            assert f"loading version {KEPT}, {NEXT}" in told
            answers = [one.segment(HU, KEPT).probability.tobytes() for one in both.endpoints]
            assert answers[0] == answers[1]
        finally:
            replica.close()
            for number in (KEPT, NEXT):
                serving.repository.remove_version(number)
            serving.triton.load()
            site.records.close()
