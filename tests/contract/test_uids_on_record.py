"""A UID of one kind never stands for one of another, in any method of the records that takes one.

Study, series and object bear different UIDs here, so that a method that looks in the wrong column finds
nothing, or something where there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import pytest

from models.corrections.ledger import OrganLedger, OrganState
from models.corrections.opinions import Opinion, Seen
from models.errors import Refused
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.arrivals import Arrival
from services.records.entries.corrections import Correction
from services.records.entries.reading import ReadingState
from services.records.port import Records
from services.records.store import SqlRecords, open_records
from tests.support.listed import LANG, WEBER, listed, said
from tests.support.log import lines

AS_WRITER = True
"""On PostgreSQL the writer's rights are enough."""

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = {StudyUid, SeriesUid, SopUid}

STUDY, OTHER_STUDY = StudyUid("1.2.1"), StudyUid("1.2.2")
SERIES, OTHER_SERIES = SeriesUid("1.3.1"), SeriesUid("1.3.2")
SENT, REPORT, OTHER_SENT = SopUid("1.4.1"), SopUid("1.4.2"), SopUid("1.4.3")
SAVED, OTHER_SAVED, UNREAD = SopUid("1.5.1"), SopUid("1.5.2"), SopUid("1.5.3")
UNKNOWN = "1.9"
EVERY = (STUDY, OTHER_STUDY, SERIES, OTHER_SERIES, SENT, REPORT, OTHER_SENT, SAVED, OTHER_SAVED, UNKNOWN)

CORRECTION = Correction(
    sop_instance_uid=SAVED,
    sent_uid=SENT,
    study_uid=STUDY,
    series_uid=SERIES,
    release=1,
    status="correction",
    reader="Dr A",
    viewer="",
    organs=(OrganLedger("liver", OrganState.EDITED, 1, 0, 0, 0.1, 0.0, 0.5),),
)
OTHER = Correction(OTHER_SAVED, OTHER_SENT, OTHER_STUDY, OTHER_SERIES, 1, "correction", "Dr A", "", ())
SEG = Arrival(SAVED, STUDY)


@pytest.fixture
def records(url: str) -> Iterator[Records]:
    """Two studies of one series each: their results, acceptances, corrections and arrivals."""
    opened = open_records(url, clock=lambda: NOON)
    opened.take_in((STUDY, OTHER_STUDY), 1)
    opened.change_arrival(None, SEG)
    opened.note_saves(STUDY, [[SAVED], [UNREAD]])
    for study, series, objects in (
        (STUDY, SERIES, {"organ-seg": SENT, "report-sr": REPORT}),
        (OTHER_STUDY, OTHER_SERIES, {"organ-seg": OTHER_SENT}),
    ):
        opened.first_written(f"of {study}", NOON)
        opened.record_result(f"of {study}", study_uid=study, series_uid=series, release=1, objects=objects)
        opened.record_acceptance(study, series, 1, [f"organ of {series}"], "Dr A")
    for number, study in enumerate((STUDY, OTHER_STUDY)):
        organs = (said("liver"), said("aorta"))[: number + 1]
        uids = {"study_uid": study, "series_uid": (SERIES, OTHER_SERIES)[number]}
        opened.list_study(listed(number, result=f"of {study}", **uids), organs)
        names = [one.organ for one in organs]
        opened.give_opinion(f"of {study}", names, Opinion.WRONG, reader=WEBER, seen=Seen.PICTURES)
        opened.hold(study, WEBER)
    for correction in (CORRECTION, OTHER):
        opened.record_correction(correction)
    yield opened
    opened.close()


@dataclass(frozen=True)
class Asked:
    """A question with one UID, and what it finds: of the first study, by the UIDs that find it."""

    method: str
    parameter: str
    ask: Callable[[Records, Any], Any]
    finds: dict[str, Any]


def series_of(result: Any) -> Any:
    return None if result is None else result.series_uid


def withdrawn(records: Records, uid: SopUid) -> Any:
    try:
        return [one.sop_instance_uid for one in records.withdraw(uid, reader="Dr A", reason="wrong")]
    except Refused as refused:
        return () if refused.code == "unknown-correction" else refused


def held(records: Records, uid: StudyUid) -> Any:
    try:
        return records.hold(uid, LANG).holder_name
    except Refused as refused:
        return () if refused.code == "not-listed" else refused


def viewed(records: Records, uid: StudyUid) -> Any:
    try:
        records.note_viewer(uid, LANG)
    except Refused as refused:
        return () if refused.code == "not-listed" else refused
    return records.opened_viewer(f"of {uid}", LANG)


def alive(records: Records, uid: StudyUid) -> Any:
    before = {one.study_uid: one.held_ms for one in records.worklist(ReadingState.CLEAR)}
    SqlRecords(records._engine, lambda: datetime.now(UTC)).still_held(uid, WEBER)  # type: ignore[attr-defined]
    found = [one for one in records.worklist(ReadingState.CLEAR) if one.held_ms != before[one.study_uid]]
    return None if not found else [one.study_uid for one in found]


def let_go(records: Records, uid: StudyUid) -> Any:
    before = {one.study_uid: one.holder for one in records.worklist(ReadingState.CLEAR)}
    records.let_go(uid, WEBER)
    freed = [one for one in records.worklist(ReadingState.CLEAR) if one.holder != before[one.study_uid]]
    return None if not freed else [one.study_uid for one in freed]


ASKED = (
    Asked("find_result", "sop_instance_uid", lambda records, uid: series_of(records.find_result(uid)),
          {SENT: SERIES, REPORT: SERIES, OTHER_SENT: OTHER_SERIES}),
    Asked("results_of_study", "study_uid",
          lambda records, uid: [one.series_uid for one in records.results_of_study(uid)],
          {STUDY: [SERIES], OTHER_STUDY: [OTHER_SERIES]}),
    Asked("results_of_series", "series_uid",
          lambda records, uid: [one.study_uid for one in records.results_of_series(uid)],
          {SERIES: [STUDY], OTHER_SERIES: [OTHER_STUDY]}),
    Asked("corrections", "sop_instance_uid", lambda records, uid: records.corrections(sop_instance_uid=uid),
          {SAVED: (CORRECTION,), OTHER_SAVED: (OTHER,)}),
    Asked("corrections", "series_uid", lambda records, uid: records.corrections(series_uid=uid),
          {SERIES: (CORRECTION,), OTHER_SERIES: (OTHER,)}),
    Asked("accepted_organs", "series_uid", lambda records, uid: records.accepted_organs(uid, 1),
          {SERIES: {f"organ of {SERIES}"}, OTHER_SERIES: {f"organ of {OTHER_SERIES}"}}),
    Asked("place_of_save", "study_uid", lambda records, uid: bool(records.place_of_save(uid, SAVED)),
          {STUDY: True}),
    Asked("place_of_save", "sop_instance_uid",
          lambda records, uid: bool(records.place_of_save(STUDY, uid)), {SAVED: True}),
    Asked("untold_saves", "study_uid", lambda records, uid: not records.untold_saves(uid, [UNREAD]),
          {STUDY: True}),
    Asked("untold_saves", "sop_instance_uids", lambda records, uid: not records.untold_saves(STUDY, [uid]),
          {SAVED: True, OTHER_SAVED: True}),
    Asked("arrival", "uid", lambda records, uid: (found := records.arrival(uid)) and found.study_uid,
          {STUDY: STUDY, OTHER_STUDY: OTHER_STUDY, SAVED: STUDY}),
    Asked("listed_studies", "study_uids",
          lambda records, uid: [one.study_uid for one in records.listed_studies([uid])],
          {STUDY: [STUDY], OTHER_STUDY: [OTHER_STUDY]}),
    Asked("opinions", "study_uid", lambda records, uid: [one.organ for one in records.opinions(uid)],
          {STUDY: ["liver"], OTHER_STUDY: ["liver", "aorta"]}),
    Asked("answered_organs", "study_uid", lambda records, uid: records.answered_organs(uid),
          {STUDY: {"liver"}, OTHER_STUDY: {"liver", "aorta"}}),
    Asked("hold", "study_uid", held, {STUDY: "Dr. Weber", OTHER_STUDY: "Dr. Weber"}),
    Asked("note_viewer", "study_uid", viewed, {STUDY: True, OTHER_STUDY: True}),
    Asked("still_held", "study_uid", alive, {STUDY: [STUDY], OTHER_STUDY: [OTHER_STUDY]}),
    Asked("let_go", "study_uid", let_go, {STUDY: [STUDY], OTHER_STUDY: [OTHER_STUDY]}),
    Asked("withdraw", "sop_instance_uid", withdrawn, {SAVED: [SAVED], OTHER_SAVED: [OTHER_SAVED]}),
)  # fmt: skip
"""Every question of the records that is asked by a UID; to withdraw changes what is there, and comes last."""

TOLD = {
    ("record_result", "study_uid"), ("record_result", "series_uid"), ("record_result", "objects"),
    ("record_acceptance", "study_uid"), ("record_acceptance", "series_uid"), ("take_in", "study_uids"),
    ("note_saves", "study_uid"), ("note_saves", "in_order"),
}  # fmt: skip
"""Parameters by which the records are told a UID; the questions above find it again, or the events do."""


def test_a_uid_finds_only_what_bears_it_and_none_of_another_kind(records: Records) -> None:
    for asked in ASKED:
        found = {uid: answer for uid in EVERY if (answer := asked.ask(records, uid))}
        assert found == asked.finds, f"{asked.method} by {asked.parameter}"


def test_what_is_told_of_a_uid_comes_back_as_that_kind(records: Records) -> None:
    result = records.find_result(REPORT)
    assert result is not None
    assert (result.study_uid, result.series_uid) == (STUDY, SERIES)
    assert result.objects == {"organ-seg": SENT, "report-sr": REPORT}
    assert records.corrections() == (CORRECTION, OTHER)
    first, _ = lines(records, "organs-accepted")
    assert (first.payload["study_uid"], first.payload["series_uid"]) == (STUDY, SERIES)
    assert [(one.uid, one.study_uid) for one in records.arrivals()] == [
        (STUDY, STUDY), (OTHER_STUDY, OTHER_STUDY), (SAVED, STUDY),
    ]  # fmt: skip


def test_no_method_of_the_records_takes_a_uid_that_is_not_tried_here() -> None:
    taken = {
        (name, parameter): hint
        for part in Records.__mro__
        for name, method in vars(part).items()
        if callable(method) and not name.startswith("_")
        for parameter, hint in get_type_hints(method).items()
        if parameter != "return"
    }
    typed = {one for one, hint in taken.items() if kinds_in(hint)}
    assert typed == TOLD | {(asked.method, asked.parameter) for asked in ASKED}
    assert [one for one in taken.keys() - typed if "uid" in one[1]] == [], "a UID of no kind"


def kinds_in(hint: Any) -> set[Any]:
    return ({hint} & KINDS).union(*map(kinds_in, get_args(hint)))
