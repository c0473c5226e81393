"""What an arrival becomes, by what the archive holds and by what became of its run."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.arrivals.archived_study import is_archived, version_of
from flows.arrivals.rules import (
    ALONE_AFTER,
    ATTEMPTS,
    INTERRUPTIONS,
    LONGEST_PAUSE,
    NOT_ITS_FAULT,
    event_of,
    followed,
    in_order,
    judged,
    startable,
)
from flows.launching import RunState
from models import errors
from models.errors import Refused
from services.pacs.port import ArchivedSeries, ArchivedStudy
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.events.arrivals import ArrivalFailed, StudyGone, StudyRefused, StudyRenewed

NEW = Arrival("1.2", "1.2")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def study(*images: str, stable: bool = True, urgent: bool = False, others: tuple[str, ...] = ()):
    series = [ArchivedSeries("1.2.1", "CT", images)] if images else []
    series += [ArchivedSeries(f"1.2.{kind}", kind, (f"1.2.{kind}.1",)) for kind in others]
    return ArchivedStudy("1.2", ("P",), stable, urgent, tuple(series))


def look(arrival: Arrival, held: ArchivedStudy | None, **more):
    instances = sum(len(one.sop_instance_uids) for one in held.series) if held else 0
    return judged(arrival, held, instances=instances, **more)


def done(held: ArchivedStudy, state: ArrivalState = ArrivalState.SEGMENTED) -> Arrival:
    return replace(look(NEW, held), state=state, attempts=2, run="r", patient="somebody")


def test_a_complete_study_is_ready():
    ready = look(NEW, study("a", "b"))
    assert (ready.state, ready.code, ready.instances) == (ArrivalState.WAITING, "", 2)
    assert in_order([ready]) == [ready]


def test_a_study_that_still_arrives_or_of_which_the_pacs_holds_more_waits():
    arriving = look(NEW, study("a", stable=False))
    incomplete = look(NEW, study("a"), expected=2)
    assert (arriving.state, arriving.code) == (ArrivalState.WAITING, "arriving")
    assert (incomplete.state, incomplete.code) == (ArrivalState.WAITING, "incomplete")
    assert "1 of the 2" in incomplete.detail
    assert in_order([arriving, incomplete]) == []
    assert look(incomplete, study("a", "b"), expected=2).code == ""


@pytest.mark.parametrize("state", [ArrivalState.SEGMENTED, ArrivalState.REFUSED, ArrivalState.FAILED])
def test_what_is_settled_stays_so_for_the_same_images_and_ends_with_new_ones(state):
    settled = done(study("a", "b"), state)
    assert look(settled, study("b", "a", others=("SEG", "SR"))).state is state, "sent again, results beside"
    renewed = look(settled, study("a", "b", "c"))
    assert (renewed.state, renewed.attempts, renewed.run) == (ArrivalState.WAITING, 0, "")
    assert renewed.patient == "somebody"
    assert isinstance(event_of(settled, renewed), StudyRenewed)


def test_a_run_under_way_is_not_disturbed_by_a_study_that_is_touched():
    submitted = done(study("a"), ArrivalState.SUBMITTED)
    assert look(submitted, study("a", stable=False)).state is ArrivalState.SUBMITTED


def test_a_study_without_ct_is_ignored_and_says_what_it_holds():
    ignored = look(NEW, study(others=("MR", "SR")))
    assert (ignored.state, ignored.code) == (ArrivalState.IGNORED, "not-ct")
    assert ignored.detail == "It holds MR, SR and no CT."
    assert look(ignored, study("a", others=("MR",))).state is ArrivalState.WAITING


def test_a_deleted_study_is_gone_and_is_done_again_when_it_comes_back():
    gone = look(done(study("a")), None)
    assert (gone.state, gone.code) == (ArrivalState.GONE, "study-gone")
    assert isinstance(event_of(done(study("a")), gone), StudyGone)
    assert look(gone, study("a")).state is ArrivalState.WAITING


def test_a_fault_of_the_patient_is_no_verdict_on_the_images_and_ends_when_it_is_over():
    fault = Refused("patient-changed", "Another patient.")
    refused = look(done(study("a")), study("a"), fault=fault)
    assert (refused.state, refused.code) == (ArrivalState.REFUSED, "patient-changed")
    assert isinstance(event_of(done(study("a")), refused), StudyRefused)
    assert event_of(refused, look(refused, study("a"), fault=fault)) is None, "said once"
    assert look(refused, study("a")).state is ArrivalState.WAITING


def submitted(**values) -> Arrival:
    return replace(done(study("a"), ArrivalState.SUBMITTED), **{"attempts": 0, "run": "r"} | values)


def test_a_run_that_fails_by_itself_is_an_attempt_and_after_three_the_study_has_failed():
    first = submitted()
    assert followed(first, RunState.GOING) == first
    again = followed(first, RunState.FAILED)
    assert (again.state, again.attempts, again.interrupted) == (ArrivalState.WAITING, 1, 0)
    failed = followed(submitted(attempts=ATTEMPTS - 1), RunState.FAILED)
    assert (failed.state, failed.code, failed.attempts) == (ArrivalState.FAILED, "run-failed", ATTEMPTS)
    assert isinstance(event_of(first, failed), ArrivalFailed)
    last = submitted(attempts=ATTEMPTS - 1, code="proof-failed", detail="Voxels differ.")
    assert "3 runs ended without a result, the last of them r (proof-failed: Voxels differ.)" in (
        followed(last, RunState.FAILED).detail
    )


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (RunState.LOST, ""),
        (RunState.LATE, ""),
        (RunState.FAILED, "serving-unavailable"),
        (RunState.FAILED, "serving-timed-out"),
        (RunState.FAILED, "pacs-unavailable"),
        (RunState.FAILED, "pacs-failed"),
        (RunState.FAILED, "storage-failed"),
        (RunState.FAILED, "read-failed"),
        (RunState.FAILED, "lease-lost"),
        (RunState.FAILED, "invalid-release"),
    ],
)
def test_a_neighbour_s_fault_and_an_ended_process_cost_no_attempt(run, code):
    again = followed(submitted(attempts=ATTEMPTS - 1, code=code), run)
    assert (again.state, again.attempts, again.interrupted) == (ArrivalState.WAITING, ATTEMPTS - 1, 1)


def test_the_codes_of_others_faults_are_those_of_errors_there_are():
    names = {re.sub(r"(?<=.)(?=[A-Z])", "-", name).lower() for name in vars(errors)}
    assert names >= NOT_ITS_FAULT


def test_what_ends_its_process_each_time_has_failed_in_the_end_and_says_so():
    arrival, starts = submitted(), 0
    while arrival.state is not ArrivalState.FAILED:
        arrival, starts = followed(replace(arrival, state=ArrivalState.SUBMITTED), RunState.LOST), starts + 1
    assert (starts, arrival.code, arrival.attempts) == (INTERRUPTIONS, "run-interrupted", 0)
    assert "10 runs were cut short, the last of them, r, while no other study ran" in arrival.detail
    late = followed(submitted(interrupted=INTERRUPTIONS - 1), RunState.LATE)
    assert "(ended because it took too long)" in late.detail


def waiting(uid: str, **values) -> Arrival:
    return replace(NEW, uid=uid, study_uid=uid, changed_at=NOON, touched=False, **values)


def names(arrivals) -> list[str]:
    return [one.uid for one in arrivals]


def test_what_was_cut_short_waits_longer_each_time_and_nothing_else_does():
    arrivals = [waiting("a"), waiting("b", interrupted=1), waiting("c", interrupted=2)]
    later = [NOON + timedelta(seconds=seconds) for seconds in (0, 2, 4)]
    assert [names(startable(arrivals, 8, now)) for now in later] == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_what_was_cut_short_while_the_clock_was_an_hour_ahead_does_not_wait_for_that_hour():
    an_hour_ahead = replace(waiting("a", interrupted=1), changed_at=NOON + timedelta(hours=1))
    somewhat = replace(waiting("b", interrupted=1), changed_at=NOON + timedelta(seconds=5))  # two machines'
    assert names(startable([an_hour_ahead, somewhat], 8, NOON)) == ["a"]


def test_no_more_are_under_way_than_there_is_room_for():
    arrivals = [replace(waiting("a"), state=ArrivalState.SUBMITTED), waiting("b"), waiting("c")]
    assert names(startable(arrivals, 2, NOON)) == ["b"]
    assert startable(arrivals, 1, NOON) == []


def test_what_was_cut_short_often_runs_alone_and_only_what_is_urgent_goes_before_it():
    later = NOON + LONGEST_PAUSE
    bomb, other = waiting("bomb", interrupted=ALONE_AFTER), waiting("a")
    going = replace(waiting("g"), state=ArrivalState.SUBMITTED)
    assert names(startable([bomb, other], 8, later)) == ["bomb"]
    assert startable([bomb, other, going], 8, later) == [], "what is under way ends first"
    assert names(startable([bomb, replace(other, urgent=True), going], 8, later)) == ["a"]
    assert startable([replace(bomb, state=ArrivalState.SUBMITTED), other], 8, later) == []
    assert names(startable([bomb, other, going], 8, NOON)) == ["a"], "not while it pauses"


@pytest.mark.parametrize("uid", ["1.2", "1.2.9"])
def test_a_run_that_ended_without_an_outcome_has_not_done_its_study_or_seg(uid):
    again = followed(submitted(uid=uid), RunState.DONE)
    assert (again.state, again.attempts) == (ArrivalState.WAITING, 1)


def test_why_the_last_run_of_a_seg_failed_does_not_keep_it_from_the_next():
    failed = replace(NEW, uid="1.2.9", code="pacs-unavailable", detail="No answer.")
    assert in_order([failed]) == [failed]


def test_urgent_studies_go_first_then_as_they_came():
    arrivals = [replace(NEW, uid=uid, urgent=uid in "bd") for uid in "abcd"]
    assert [one.uid for one in in_order(arrivals)] == ["b", "d", "a", "c"]


def test_what_an_earlier_program_took_for_images_renews_nothing():
    """It counted a page of dose that the scanner sent as CT; an image that comes still renews."""
    page = ArchivedSeries("1.2.2", "OT", ("page",), "CT")
    held = replace(study("a", "b"), series=(*study("a", "b").series, page))
    of_all = replace(study("a", "b"), series=(*study("a", "b").series, replace(page, modality="CT")))
    for state in (ArrivalState.SEGMENTED, ArrivalState.REFUSED, ArrivalState.FAILED):
        known = replace(done(held, state), version=version_of(of_all))
        assert known.version != version_of(held)
        after = look(known, held)
        assert (after.state, after.version) == (state, version_of(held))
        assert event_of(known, after) is None
        more = replace(held, series=(*held.series, ArchivedSeries("1.2.3", "CT", ("c",))))
        assert look(known, more).state is ArrivalState.WAITING
        assert type(event_of(known, look(known, more))) is StudyRenewed


def test_the_version_of_a_study_is_that_of_its_ct_images_in_any_order():
    assert version_of(study("a", "b")) == version_of(study("b", "a", others=("SEG",)))
    assert version_of(study("a", "b")) != version_of(study("a", "b", "c"))
    assert version_of(study(others=("MR",))) == ""


@pytest.mark.parametrize(
    ("source", "answer"),
    [("2.25.123", True), ("1.2.840.10008", True), ("1.02", True), ("3.1", True), ("ct/1.2", False),
     ("../../1", False), ("1.2.826.03.77.1", True),
     ("1." + "2" * 63, False), ("", False)],
)  # fmt: skip
def test_a_uid_is_told_from_a_path(source, answer):
    assert is_archived(source) is answer
