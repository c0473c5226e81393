"""The chain of events as a function of its lines: any one deed is found, whichever line it is done to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.records.chain import FIRST, chain_faults, digest_of, exported, imported
from services.records.entries.log import Line

payloads = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    max_size=3,
)


@st.composite
def chains(draw: st.DrawFn) -> list[Line]:
    previous, events = FIRST, []
    for number in range(1, draw(st.integers(2, 6)) + 1):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=draw(st.integers(0, 10**9)))
        key = draw(st.none() | st.text(max_size=5))
        event = Line(number, at, draw(st.text(max_size=5)), "who", draw(payloads), key, previous)
        event = replace(event, digest=digest_of(event))
        events.append(event)
        previous = event.digest
    return events


@given(chains())
def test_a_chain_as_it_was_written_has_no_fault_and_comes_back_from_its_export(events: list[Line]) -> None:
    assert chain_faults(events) == []
    assert [imported(exported(event)) for event in events] == events


@given(chains(), st.data())
def test_any_change_to_any_field_of_any_line_is_found(events: list[Line], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(events) - 1))
    event = events[place]
    changes = {
        "at": event.at + timedelta(microseconds=1),
        "what": event.what + "x",
        "who": event.who + "x",
        "payload": {**event.payload, "more": 1},
        "key": (event.key or "") + "x",
        "previous": "f" * 64,
        "digest": "f" * 64,
        "number": event.number + 1,
    }
    field = data.draw(st.sampled_from(sorted(changes)))
    events[place] = replace(event, **{field: changes[field]})
    assert chain_faults(events)


@given(chains(), st.data())
def test_any_line_dropped_or_moved_is_found(events: list[Line], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(events) - 2))
    dropped = events[:place] + events[place + 1 :]
    moved = [*events[:place], events[place + 1], events[place], *events[place + 2 :]]
    renumbered = [replace(event, number=n) for n, event in enumerate(moved, 1)]
    for found in (dropped, moved, renumbered):
        assert chain_faults(found)
