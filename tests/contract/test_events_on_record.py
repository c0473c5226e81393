"""Events as an earlier version wrote them: each is read as its own type, and says the same bytes again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from flows.lineage import origin_of_release
from models.errors import StorageFailed
from services.records.chain import chain_faults, digest_of
from services.records.events.arrivals import StudyRefused
from services.records.events.event import Event, kinds
from services.records.events.gate import GateDecided
from services.records.events.serving import IncumbentChanged
from services.records.log import recorded
from services.records.store import SqlRecords, open_records
from tests.support.earlier_homes import ARCHIVES, EarlierHome, unpacked, version_of
from tests.support.log import write_line


@pytest.fixture(params=ARCHIVES, ids=version_of)
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlRecords]:
    """The records of a home that an earlier version made."""
    made = unpacked(request.param, tmp_path / "made")
    home = EarlierHome.on(made, tmp_path / "home", None)
    with closing(open_records(home.settings.records_url)) as opened:
        yield opened


def test_what_an_earlier_version_wrote_is_read_as_its_kind_and_says_the_same(earlier: SqlRecords) -> None:
    lines = earlier.lines()
    assert len(lines) > 60
    assert chain_faults(lines) == []
    for line in lines:
        assert digest_of(line) == line.digest
        one = recorded(line)
        assert one is not None, f"{line.what} is no kind of this version"
        again = one.said.payload()
        assert again | line.payload == again, f"{line.what} says something that is not read"
        added = again.keys() - line.payload.keys()
        assert json.dumps({k: v for k, v in again.items() if k not in added}, sort_keys=True) == json.dumps(
            line.payload, sort_keys=True
        )


def test_the_log_is_asked_by_kind_and_field(earlier: SqlRecords) -> None:
    lines = earlier.lines()
    counted = Counter(line.what for line in lines)
    for name, kind in kinds().items():
        assert len(earlier.all(kind)) == counted[name]
    changes = [line for line in lines if line.what == "incumbent-changed"]
    for line in changes:
        to = line.payload["to"]
        last = [one for one in changes if one.payload["to"] == to][-1]
        found = earlier.last(IncumbentChanged, after=to)
        assert found is not None
        assert (found.number, found.said.reason) == (last.number, last.payload["reason"])
    assert earlier.last(IncumbentChanged, after=99) is None


def test_a_field_that_a_kind_lacks_cannot_be_asked_for(earlier: SqlRecords) -> None:
    with pytest.raises(AttributeError, match="no field number"):
        earlier.last(GateDecided, number=2)


def test_a_line_that_tells_nothing_of_its_kind_is_named(earlier: SqlRecords) -> None:
    write_line(earlier, "gate-decided", who="somebody", payload={"release": 2})
    number = len(earlier.lines())
    with pytest.raises(StorageFailed, match=f"event {number} of the log cannot be read"):
        earlier.all(GateDecided, release=2)


def test_a_candidate_that_names_no_patients_is_no_candidate_that_learnt_from_nobody(
    earlier: SqlRecords,
) -> None:
    write_line(earlier, "candidate-tuned", who="tune_heads", payload={"key": "k", "release": 9})
    with pytest.raises(StorageFailed, match="patients"):
        origin_of_release(9, earlier)


def test_a_number_that_is_none_is_not_recorded_as_nothing(earlier: SqlRecords) -> None:
    before = earlier.lines()
    with pytest.raises(ValueError, match="Out of range float values"):
        earlier.record(StudyRefused(code="x", measured={"gap_mm": float("nan")}), who="somebody")
    assert earlier.lines() == before


def test_no_kind_shares_its_name_and_each_field_of_one_has_a_type() -> None:
    named = [kind for kind in every_kind(Event) if kind.what and kind.__module__.startswith("services")]
    assert len({kind.what for kind in named}) == len(named) == len(kinds())
    assert all(fields(kind) for kind in named)


def every_kind(kind: type[Event]) -> Iterator[type[Event]]:
    for one in kind.__subclasses__():
        yield one
        yield from every_kind(one)
