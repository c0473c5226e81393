"""Archive and database are cut off, cut in mid answer and slow: the study is finished once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.serving.serve import write
from tests.support import faulty_works as works
from tests.support.archive import Archive
from tests.support.faulty_line import EachOnce, FaultyLine, TheOne
from tests.support.faulty_tasks import Proof
from tests.support.faulty_workers import Ended
from tests.support.faulty_works import left_in
from tests.support.postgresql import new_database

MOST_RUNS = 60
"""After so many it does not end any more."""

SLOWER = 100


@pytest.mark.parametrize("proof", ["segment", "ingest"], indirect=True)
def test_an_archive_that_is_away_cuts_each_answer_or_is_slow(proof: Proof, archive: Archive) -> None:
    proof.task.take_back()
    port = int(archive.url.rpartition(":")[2])
    with FaultyLine(("127.0.0.1", port)) as line:
        task = proof.task.with_settings(orthanc_url=f"http://{line.address}")
        line.down()
        home = proof.home()
        assert task.done(home).error.startswith("PacsUnavailable")
        line.up()
        assert task.done(home).error == ""
        proof.check(home, "refused")
        home, line.cuts, runs = proof.home(), EachOnce(), 1
        while error := task.done(home).error:
            assert error.startswith("Pacs"), error
            runs += 1
            assert runs < MOST_RUNS
        proof.check(home, "cut")
        print(f"\narchive: {line.cut} answers cut, each once; {runs} runs")
        line.cuts, line.slower = TheOne(0), SLOWER
        home, before = proof.home(), line.passed
        assert task.done(home).error == ""
        proof.check(home, "slow")
        print(f"archive: {line.passed - before} pieces of answers {SLOWER} times slower, 1 run")


@pytest.mark.parametrize("proof", ["segment", "ingest"], indirect=True)
def test_a_database_that_is_away_or_cut_as_it_commits(proof: Proof, postgresql: str) -> None:
    """The answer to each commit is lost: done or not, the worker cannot know."""
    proof.task.take_back()
    with FaultyLine(f"{postgresql.partition('host=')[2]}/.s.PGSQL.5432") as line:
        made = _Databases(postgresql, line, proof)
        home, said = made.home()
        assert _done(proof, home, said).error == ""
        whole = left_in(home, **said)
        assert whole.faults == ()
        proof.task.take_back()
        home, said = made.home()
        line.down()
        assert _done(proof, home, said).error.startswith("StorageFailed")
        line.up()
        assert _done(proof, home, said).error == ""
        assert left_in(home, **said) == whole
        commit, known = 0, 0
        while True:
            proof.task.take_back()
            home, said = made.home()
            commit += 1
            line.cuts = cut = TheOne(commit, b"COMMIT\0")
            error = _done(proof, home, said).error
            if cut.seen < commit:
                break
            known += error.startswith("StorageFailed")
            assert not error or error.startswith("StorageFailed"), error
            assert _done(proof, home, said).error == ""
            assert left_in(home, **said) == whole, commit
            assert len(proof.task.stored()) == proof.stored
        proof.task.take_back()
        print(f"\ndatabase: {commit - 1} commits whose answer was lost, {known} times said so")
        home, said = made.home()
        line.slower = SLOWER
        assert _done(proof, home, said).error == ""
        assert left_in(home, **said) == whole
        proof.task.take_back()


class _Databases:
    """Homes whose records are in databases of their own, reached over the line."""

    def __init__(self, server: str, line: FaultyLine, proof: Proof) -> None:
        self._server, self._line, self._proof, self._made = server, line, proof, 0

    def home(self) -> tuple[Path, dict[str, Any]]:
        self._made += 1
        home, name = self._proof.home(), f"cut_{Path(self._proof.folder).name}_{self._made}"
        services = works.opened(home, {"database_url": new_database(self._server, name)})
        write(services.releases.release(1), services)
        services.records.set_incumbent(1, approver="test", reason="first")
        self._proof.task.prepare(services.records)
        services.records.close()
        return home, {"database_url": f"postgresql+psycopg://organloop@{self._line.address}/{name}"}


def _done(proof: Proof, home: Path, said: dict[str, Any]) -> Ended:
    return proof.task.with_settings(**said).done(home)
