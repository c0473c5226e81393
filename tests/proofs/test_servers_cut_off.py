"""The archive, the database, Triton and Prefect are cut off, cut in mid answer and slow: all is done once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from deploy.stack.prefect import Access, PrefectServer
from deploy.stack.triton import TritonServer
from tests.conftest import ROOT
from tests.support import faulty_works as works
from tests.support.archive import Archive
from tests.support.faulty_line import EachOnce, FaultyLine, TheOne
from tests.support.faulty_tasks import Proof
from tests.support.moved_records import copied, move
from tests.support.serving import ENVIRONMENT, thrown_away
from tests.support.waiting import end_at_once

MOST_RUNS = 60
"""After so many it does not end any more."""

MOST_CUTS = 400
"""More answers than any server gives for one task."""

SLOWER = 100
PREFECT_PORT = 4277


@pytest.mark.parametrize("proof", ["segment", "ingest"], indirect=True)
def test_an_archive_that_is_away_cuts_each_answer_or_is_slow(proof: Proof, archive: Archive) -> None:
    proof.task.take_back()
    port = int(archive.url.rpartition(":")[2])
    with FaultyLine(("127.0.0.1", port)) as line:
        proof = over(proof, orthanc_url=f"http://{line.address}")
        away(proof, line, "PacsUnavailable")
        home, line.cuts, runs = proof.home(), EachOnce(), 1
        while error := proof.task.done(home).error:
            assert error.startswith("Pacs"), error
            runs += 1
            assert runs < MOST_RUNS
        proof.check(home, "cut")
        assert line.cut > 1
        print(f"\narchive: {line.cut} answers cut, each once; {runs} runs")
        slow(proof, line)


@pytest.mark.parametrize("proof", ["ingest", "tune", "promote"], indirect=True)
def test_a_database_that_is_away_cuts_each_commit_or_is_slow(proof: Proof, postgresql: str) -> None:
    """After a commit whose answer was cut nobody knows whether it was done."""
    proof.task.take_back()
    base, trial = (f"{kind}_{proof.task.work.__name__}" for kind in ("base", "trial"))
    move(proof.task.home, postgresql, base)
    socket = str(Path(make_url(postgresql).query["host"]) / ".s.PGSQL.5432")
    with FaultyLine(socket) as line:
        near = make_url(postgresql % trial).set(host="127.0.0.1", port=line.port, query={})
        proof = over(proof, database_url=near.render_as_string())
        direct = {"database_url": copied(postgresql, trial, base)}
        away(proof, line, "StorageFailed", **direct)
        commits = 0
        while True:
            copied(postgresql, trial, base)
            home, line.cuts = proof.home(), TheOne(commits + 1, b"COMMIT\0")
            before = line.cut
            error = proof.task.done(home).error
            if line.cut == before:
                proof.check(home, "not cut", **direct)
                break
            commits += 1
            assert commits < MOST_CUTS
            assert error.partition(":")[0] in ("", "StorageFailed"), error
            again = proof.task.done(home).error
            assert again == "", f"after commit {commits} ({error}): {again}"
            expected = taken_back(proof) if "serves again" in error else proof
            expected.check(home, f"cut at commit {commits}", temporary=True, **direct)
        assert commits > 1
        print(f"\ndatabase: the answers to {commits} commits cut")
        copied(postgresql, trial, base)
        slow(proof, line, **direct)


@pytest.mark.parametrize("proof", ["segment"], indirect=True)
def test_a_triton_that_is_away_cuts_each_answer_or_is_slow(proof: Proof) -> None:
    proof.task.take_back()
    repository = proof.task.home / "triton" / "repository"
    server = TritonServer(proof.folder / "server", repository, ENVIRONMENT, ROOT)
    with thrown_away(server) as process, FaultyLine(process.url.removeprefix("unix:")) as line:
        proof = over(proof, triton_url=line.address)
        away(proof, line, "ServingUnavailable")
        cuts, said = 0, set()
        while True:
            home, line.cuts = proof.home(), TheOne(cuts + 1)
            before = line.cut
            error = proof.task.done(home).error
            if line.cut == before:
                proof.check(home, "not cut")
                break
            cuts += 1
            assert cuts < MOST_CUTS
            said.add(error.partition(":")[0])
            assert proof.task.done(home).error == "", error
            proof.check(home, f"cut at piece {cuts}")
        assert said <= {"", "ServingUnavailable"}, said
        assert cuts > 1
        print(f"\nTriton: {cuts} pieces of answers cut; it said {said}")
        slow(proof, line)


@pytest.mark.parametrize("proof", ["ingest"], indirect=True)
def test_a_prefect_that_is_away_cuts_each_answer_or_is_slow(proof: Proof) -> None:
    """The run is lost, and Prefect shows it as it can; the correction is not."""
    proof.task.take_back()
    with prefect_in(proof.folder / "prefect") as access:
        port = int(access.url.partition("127.0.0.1:")[2].partition("/")[0])
        with FaultyLine(("127.0.0.1", port)) as line:
            near = Access(f"http://{line.address}/api", access.auth).variables
            given = (*proof.task.given, near | {"PREFECT_CLIENT_MAX_RETRIES": "1"})
            proof = replace(proof, task=replace(proof.task, work=works.ingests_in_run, given=given))
            away(proof, line, "RunLost")
            home, line.cuts, runs = proof.home(), EachOnce(), 1
            while error := proof.task.done(home).error:
                assert error.startswith("RunLost"), error
                runs += 1
                assert runs < MOST_RUNS
            proof.check(home, "cut")
            assert line.cut > 1
            print(f"\nPrefect: {line.cut} answers cut, each once; {runs} runs")
            slow(proof, line)


def over(proof: Proof, **said: str) -> Proof:
    """Return the same proof of workers that reach a server by another way."""
    return replace(proof, task=proof.task.with_settings(**said))


def taken_back(proof: Proof) -> Proof:
    """Return the same proof where a promotion was taken back for its golden studies, and done again."""
    rows = proof.left.rows
    more = {"golden-failed": 1, "incumbent-changed": rows["incumbent-changed"] + 2}
    return replace(proof, left=replace(proof.left, rows=rows | more))


def away(proof: Proof, line: FaultyLine, says: str, **direct: str) -> None:
    """See that a worker says that a server is away, and that all is done once it is there."""
    line.down()
    home = proof.home()
    error = proof.task.done(home).error
    assert error.startswith(says), error
    line.up()
    assert proof.task.done(home).error == ""
    proof.check(home, "refused", **direct)


def slow(proof: Proof, line: FaultyLine, **direct: str) -> None:
    """See that a worker waits for a server that takes a hundred times as long."""
    line.cuts, line.slower = TheOne(0), SLOWER
    home, before = proof.home(), line.passed
    error = proof.task.done(home).error
    assert error == "", error
    proof.check(home, "slow", **direct)
    assert line.passed > before
    print(f"{line.passed - before} pieces of answers {SLOWER} times slower, 1 run")


@contextmanager
def prefect_in(folder: Path) -> Iterator[Access]:
    """Run a Prefect server that is killed at the end."""
    server = PrefectServer(folder, PREFECT_PORT)
    try:
        yield server.start()
    finally:
        end_at_once(server.process)
        shutil.rmtree(folder)
