"""What readers corrected, accepted and took back, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from models.corrections.ledger import OrganLedger, OrganState
from models.errors import Refused
from services.records import database
from services.records.database import connect
from services.records.entries.cases import Case, Purpose
from services.records.entries.corrections import Agreement, Answer, Correction, OpenQuestion
from services.records.store import open_records
from services.records.tables import CorrectionRow
from tests.support.log import lines

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture
def records(url):
    opened = open_records(url, clock=lambda: NOON)
    yield opened
    opened.close()


def ledger(organ: str, state: OrganState, added: int = 0) -> OrganLedger:
    return OrganLedger(organ, state, added, 0, 0, added * 0.027, 0.0, 0.5 if added else 0.0)


CORRECTION = Correction(
    sop_instance_uid="1.2.9",
    sent_uid="1.2.8",
    study_uid="1.2",
    series_uid="1.2.1",
    release=2,
    status="correction",
    reader="",
    viewer="a viewer",
    organs=(ledger("stomach", OrganState.EDITED, 7), ledger("liver", OrganState.NOT_REVIEWED)),
    questions=(OpenQuestion(4, "?", ("aorta",), "not-recognised"),),
    content="c" * 64,
    saved_at="2026-03-01T11:00:00",
)
ANSWERED = replace(CORRECTION, questions=(), answers=(Answer("4=aorta", "Dr A"),), version=2)


def test_a_correction_comes_back_as_it_was_recorded_and_once(records):
    assert records.record_correction(CORRECTION) == CORRECTION
    assert records.record_correction(CORRECTION) == CORRECTION
    assert records.corrections() == (CORRECTION,)
    assert len(lines(records, "correction-recorded")) == 1


def test_what_a_correction_is_read_as_later_is_its_next_version_and_nothing_is_lost(records):
    records.record_correction(CORRECTION)
    assert records.record_correction(replace(ANSWERED, version=1)) == ANSWERED
    saved_again = records.record_correction(replace(CORRECTION, content="d" * 64))
    assert (saved_again.version, saved_again.name) == (3, "1.2.9/3")
    assert records.record_correction(CORRECTION) == CORRECTION, "told again, the first is the first"
    assert records.corrections(sop_instance_uid="1.2.9") == (CORRECTION, ANSWERED, saved_again)
    assert records.corrections(sop_instance_uid="1.2.10") == ()
    assert len(records.corrections(series_uid="1.2.1")) == 3
    events = [event.payload for event in lines(records, "correction-recorded")]
    assert [(one["version"], one["supersedes"]) for one in events] == [
        (1, []), (2, ["1.2.9"]), (3, ["1.2.9", "1.2.9/2"]),
    ]  # fmt: skip


def save(uid: str, **more: object) -> Correction:
    return replace(CORRECTION, sop_instance_uid=uid, **more)


def places(records) -> dict[str, int | None]:
    return {one.name: one.arrived for one in records.corrections()}


def test_saves_have_the_place_in_which_the_archive_told_of_them_whichever_is_read_first(records):
    records.note_saves("1.2", [["1.2.9"], ["1.2.7", "1.2.8"]])
    assert records.untold_saves("1.2", ["1.2.10", "1.2.9", "1.2.6"]) == ("1.2.10", "1.2.6")
    records.note_saves("1.2", [["1.2.6", "1.2.7"], ["1.2.9"]])
    for uid in ("1.2.8", "1.2.6", "1.2.7", "1.2.9"):
        records.record_correction(save(uid))
    found = places(records)
    assert found["1.2.9"] < found["1.2.7"] == found["1.2.8"] < found["1.2.6"]
    assert [records.place_of_save("1.2", uid) for uid in ("1.2.9", "1.2.5")] == [found["1.2.9"], None]
    told = [tuple(event.payload["saves"]) for event in lines(records, "saves-arrived")]
    assert told == [("1.2.9",), ("1.2.7", "1.2.8"), ("1.2.6",)], "each once"
    assert records.place_of_save("1.3", "1.2.9") is None, "another study"


def test_a_save_that_no_archive_told_of_is_behind_what_is_told_and_stays_there(records):
    records.record_correction(save("1.2.9"))
    records.note_saves("1.2", [["1.2.9", "1.2.7"]])
    records.record_correction(save("1.2.8"))
    records.record_correction(save("1.2.9", answers=(Answer("4=aorta", "Dr A"),)))
    records.record_correction(save("1.2.7"))
    records.record_correction(save("1.2.9", content="d" * 64))
    found = places(records)
    order = ["1.2.9", "1.2.7", "1.2.8", "1.2.9/3"]
    assert [found[name] for name in order] == sorted(found[name] for name in order)
    assert len({found[name] for name in order}) == 4
    assert found["1.2.9/2"] == found["1.2.9"], "an answer is about the same voxels"


def test_times_are_shown_and_make_no_version(records):
    told = records.record_correction(CORRECTION)
    assert records.record_correction(replace(CORRECTION, saved_at="2026-03-01T11:00:00+00:00")) == told
    (kept,) = records.corrections()
    assert (kept.saved_at, kept.recorded_at) == (CORRECTION.saved_at, NOON)


def test_questions_and_answers_lie_in_the_database_as_they_always_did(records, url):
    records.record_correction(CORRECTION)
    records.record_correction(ANSWERED)
    engine = connect(url)
    with engine.connect() as connection:
        rows = connection.execute(select(CorrectionRow.questions, CorrectionRow.answers)).all()
    engine.dispose()
    question = {"segment": 4, "label": "?", "candidates": ["aorta"], "why": "not-recognised"}
    assert [tuple(row) for row in rows] == [
        ([question], []), ([], [{"answer": "4=aorta", "reader": "Dr A"}]),
    ]  # fmt: skip


def test_events_name_no_reader_where_the_object_names_none(records):
    records.record_correction(CORRECTION)
    records.record_correction(replace(CORRECTION, sop_instance_uid="1.2.10", reader="Doe^Jane"))
    assert [event.who for event in lines(records, "correction-recorded")] == ["unknown", "Doe^Jane"]


def test_the_origin_of_truth_is_on_record_for_each_organ(records):
    records.record_correction(CORRECTION)
    records.record_correction(replace(CORRECTION, sop_instance_uid="1.2.10", release=None))
    with records._engine.connect() as connection:
        rows = connection.execute(
            text("SELECT organ, origin FROM organ_ledgers ORDER BY correction_id, position")
        )
        assert [tuple(row) for row in rows] == [
            ("stomach", "edited-from-2"), ("liver", None), ("stomach", None), ("liver", None),
        ]  # fmt: skip


def test_a_crash_within_a_correction_leaves_none_of_it(records, monkeypatch):
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(records, "_add_event", crash)
        with pytest.raises(RuntimeError, match="killed"):
            records.record_correction(CORRECTION)
    assert records.corrections() == ()
    assert records.record_correction(CORRECTION).version == 1, "and the repeated step records it"


def test_withdrawal_is_an_act_on_what_is_on_record_and_not_on_what_comes_later(records):
    with pytest.raises(Refused, match="unknown-correction"):
        records.withdraw("1.2.9", reader="Dr A", reason="wrong study")
    records.record_correction(CORRECTION)
    for _ in range(2):
        (taken,) = records.withdraw("1.2.9", reader="Dr A", reason="wrong study")
        assert taken.withdrawn
    assert records.corrections() == (taken,)
    (event,) = lines(records, "correction-withdrawn")
    assert (event.who, event.payload["reason"], event.payload["versions"]) == ("Dr A", "wrong study", [1])
    answered = records.record_correction(replace(ANSWERED, version=1))
    assert answered.withdrawn, "the same voxels, whatever is answered about them"
    anew = records.record_correction(replace(CORRECTION, content="d" * 64))
    assert not anew.withdrawn, "another save is another word"
    assert [one.withdrawn for one in records.corrections()] == [True, True, False]


def test_how_far_readers_agree_is_recorded_once(records):
    for dsc in (0.75, 0.5):
        records.record_agreement(Agreement("1.2.9", "1.2.10", "liver", dsc))
    records.record_agreement(Agreement("1.2.9", "1.2.10", "aorta", None))
    assert records.agreements() == (
        Agreement("1.2.9", "1.2.10", "aorta", None), Agreement("1.2.9", "1.2.10", "liver", 0.75),
    )  # fmt: skip


def test_acceptance_is_an_act_of_a_reader_on_one_series_of_a_release(records):
    records.record_acceptance("1.2", "1.2.1", 1, ["liver", "spleen"], "Dr A")
    records.record_acceptance("1.2", "1.2.1", 1, ["liver"], "Dr A")
    assert records.accepted_organs("1.2.1", 1) == {"liver", "spleen"}
    assert records.accepted_organs("1.2.1", 2) == frozenset()
    assert records.accepted_organs("1.2.2", 1) == frozenset(), "the study's other series"
    (event,) = lines(records, "organs-accepted")
    assert (event.who, event.payload["organs"]) == ("Dr A", ["liver", "spleen"])


def test_the_results_of_a_series_come_in_the_order_they_were_written(records):
    for series, release, key in (("1.2.1", 2, "b"), ("1.2.1", 1, "a"), ("1.2.2", 3, "c")):
        records.first_written(key, NOON + timedelta(hours=release))
        objects = {"organ-seg": f"1.3.{release}"}
        records.record_result(key, study_uid="1.2", series_uid=series, release=release, objects=objects)
    assert [one.release for one in records.results_of_series("1.2.1")] == [1, 2]
    assert [one.release for one in records.results_of_study("1.2")] == [1, 2, 3]
    assert records.results_of_series("1.9") == ()


TUNING = Case("tuning-1", Purpose.TUNING, "a" * 64, "edited-from-1", "1" * 64)
GATE = Case("gate-1", Purpose.GATE, "b" * 64, "independent", "2" * 64)


def test_an_erased_patient_is_in_no_set_and_is_refused_from_then_on(records):
    for case in (TUNING, replace(TUNING, case_id="tuning-2"), GATE):
        records.add_case(case)
    assert not records.erased("a" * 64)
    erasures = [records.erase_patient("a" * 64, who="Dr A", reason="consent withdrawn") for _ in range(2)]
    assert erasures[0] == erasures[1]
    assert [one.case_id for one in erasures[0].cases] == ["tuning-1", "tuning-2"]
    assert erasures[0].thawed == {}
    assert records.cases(Purpose.TUNING) == ()
    assert records.cases(Purpose.GATE) == (GATE,)
    assert records.erased("a" * 64)
    with pytest.raises(Refused, match="patient-erased"):
        records.add_case(TUNING)
    (event,) = lines(records, "patient-erased")
    assert (event.who, event.payload["patient"]) == ("Dr A", "a" * 64)


def test_a_patient_who_is_not_known_can_be_erased_before_anything_is_kept(records):
    assert records.erase_patient("a" * 64, who="Dr A", reason="asked for").cases == ()
    with pytest.raises(Refused, match="patient-erased"):
        records.add_case(TUNING)


def test_a_frozen_set_that_loses_a_case_is_named(records):
    records.add_case(GATE)
    records.add_case(replace(GATE, case_id="gate-2", patient="c" * 64))
    frozen = records.freeze(Purpose.GATE)
    records.add_case(replace(GATE, case_id="gate-3", patient="d" * 64))
    not_frozen = records.erase_patient("d" * 64, who="Dr A", reason="consent withdrawn")
    assert not_frozen.thawed == {}, "added since, and in no frozen version"
    assert records.freeze(Purpose.GATE) == frozen
    erasure = records.erase_patient("b" * 64, who="Dr A", reason="consent withdrawn")
    assert erasure.thawed == {"gate": frozen.digest}
    assert records.freeze(Purpose.GATE).digest != frozen.digest


def test_what_older_versions_recorded_is_kept_by_the_migration(url):
    """A database as the first schema left it: a correction, acts on a study of one series and of two."""
    engine = connect(url)
    config = Config()
    folder = database.__file__.replace("database.py", "migrations")
    config.set_main_option("script_location", folder)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO first_writings VALUES ('k1', T), ('k2', T), ('k3', T)",
            "INSERT INTO results VALUES ('k1', '1.2', '1.2.1', 1), ('k2', '1.3', '1.3.1', 1),"
            " ('k3', '1.3', '1.3.2', 1)",
            "INSERT INTO corrections (sop_instance_uid, sent_uid, study_uid, series_uid, release, status,"
            " reader, viewer, questions, recorded_at)"
            " VALUES ('1.2.9', '1.2.8', '1.2', '1.2.1', 1, 'correction', '', 'v', '[]', T)",
            "INSERT INTO organ_ledgers SELECT id, 'liver', 0, 'edited', 1, 2, 0, 0.1, 0.2, 0.5,"
            " 'edited-from-1' FROM corrections",
            "INSERT INTO acceptances VALUES ('1.2', 1, 'spleen', 'Dr A', T), ('1.3', 1, 'liver', 'Dr A', T)",
        ):
            connection.execute(text(statement.replace(" T", f" '{NOON.isoformat()}'")))
    engine.dispose()
    records = open_records(url, clock=lambda: NOON)
    (kept,) = records.corrections()
    assert (kept.name, kept.version, kept.content, kept.scope) == ("1.2.9", 1, "", "organ")
    assert [(one.organ, one.added_voxels) for one in kept.organs] == [("liver", 1)]
    assert records.accepted_organs("1.2.1", 1) == {"spleen"}
    assert records.accepted_organs("1.3.1", 1) == frozenset(), "of which of two series is not known"
    assert kept.arrived is None, "no event tells of it"
    saved_again = records.record_correction(replace(kept, content="c" * 64))
    assert (saved_again.version, saved_again.arrived) == (2, len(lines(records)))
    records.close()
