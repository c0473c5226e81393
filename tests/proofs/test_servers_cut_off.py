"""The archive is cut off, cut in mid answer and slow: a correction is taken in once."""

from __future__ import annotations

import pytest

from tests.support.archive import Archive
from tests.support.faulty_line import EachOnce, FaultyLine, TheOne
from tests.support.faulty_tasks import Proof

MOST_RUNS = 60
"""After so many it does not end any more."""

SLOWER = 100


@pytest.mark.parametrize("proof", ["ingest"], indirect=True)
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
