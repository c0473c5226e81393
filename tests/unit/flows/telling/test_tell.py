"""People are told what waits for them: grouped, once while it lasts, by one instance, and nobody is named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.telling.matters import LASTING, NIGHT_LATE, Matter, matters, standstills
from flows.telling.tell import AGAIN, LEASE_SECONDS, Teller, why_not_told
from models.errors import NotTold
from models.uids import StudyUid
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.releases import ReleaseState
from services.records.events.gate import GateDecided
from services.records.events.operations import NightEnded, PeopleNotTold, PeopleTold, RunFreed
from services.records.store import SqlRecords, open_records

PAGES = "https://pages.example"
SOON = timedelta(minutes=1)


class Mailbox:
    """Takes messages, unless it is full."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.full = False
        self.away = ""

    def send(self, subject: str, text: str) -> str:
        if self.full:
            raise NotTold("address 1 of the 1 did not take a message")
        self.taken.append((subject, text))
        return self.away


class Site:
    """Records whose archive is watched, and time that passes when it is told to."""

    def __init__(self, records: SqlRecords) -> None:
        self.records, self.mailbox = records, Mailbox()
        self.now = datetime.now(UTC)
        self.teller = self.instance("one")

    def instance(self, holder: str) -> Teller:
        return Teller(self.mailbox, PAGES, holder, lambda: self.now)

    def decided(self, release: int, decision: str, state: ReleaseState, *reasons: str) -> None:
        self.records.record_release(release, f"{release:064x}", state)
        event = GateDecided(release=release, against=1, decision=decision, reasons=reasons)
        self.records.record(event, who="gate_candidate")

    def passes(self, time: timedelta) -> None:
        """Let time pass, with a look in each minute; the archive is watched all along."""
        end = self.now + time
        while self.now < end:
            self.now += SOON
            self.records.note_watch()
            self.teller.look(self.records)


def of_candidates(site: Site) -> list[Matter]:
    """Return the matters but for a new site's, that no night has ended yet."""
    return [one for one in matters(site.records, site.now) if one.key != "night:never"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    clock: list[Site] = []
    records = open_records(
        f"sqlite:///{tmp_path / 'records.sqlite'}",
        clock=lambda: clock[0].now if clock else datetime.now(UTC),
    )
    made = Site(records)
    clock.append(made)
    records.set_incumbent(1, approver="IT", reason="first")
    records.note_watch()
    yield made
    records.close()


def test_what_came_up_together_is_one_message_with_a_page_for_each(site: Site) -> None:
    site.decided(8, "needs-approval", ReleaseState.NEEDS_APPROVAL, "few-patients")
    site.decided(9, "refuse", ReleaseState.REFUSED, "worse-than-incumbent")
    site.passes(LASTING + SOON)
    ((subject, text),) = site.mailbox.taken
    assert subject == "Organloop: 2 matters"
    first, second = text.split("\n\n")
    assert first == (
        "Release 8 waits for a person who promotes or declines it (few-patients).\n"
        "https://pages.example/model/candidates/8"
    )
    assert second.startswith("The gate does not let release 9 pass (worse-than-incumbent).")
    site.passes(5 * LASTING)
    assert len(site.mailbox.taken) == 1, "once each"


def test_what_is_over_soon_wakes_nobody_and_what_comes_again_is_told_again(site: Site) -> None:
    def away(minutes: int) -> None:
        for _ in range(minutes):
            site.now += SOON
            site.records.note_watch("the archive does not answer")
            site.teller.look(site.records)

    away(5)
    site.passes(SOON)
    assert site.mailbox.taken == []
    away(15)
    site.passes(SOON)
    away(15)
    assert [subject for subject, _ in site.mailbox.taken] == ["Organloop: 1 matter"] * 2
    assert "the page says more" in site.mailbox.taken[0][1]
    assert "does not answer" not in site.mailbox.taken[0][1], "what the archive says may name a study"
    (said,) = standstills(site.records, site.now)
    assert said.detail == "the archive does not answer"


def test_who_was_told_is_not_told_again_because_another_address_is_away(site: Site) -> None:
    site.mailbox.away = "address 2 of the 2 did not take a message"
    site.decided(8, "needs-approval", ReleaseState.NEEDS_APPROVAL, "few-patients")
    site.passes(LASTING + 3 * AGAIN)
    assert len(site.mailbox.taken) == 1
    assert why_not_told(site.records) == site.mailbox.away


def test_a_candidate_that_passed_the_gate_waits_for_a_person_too(site: Site) -> None:
    site.decided(8, "promote", ReleaseState.CANDIDATE)
    (matter,) = of_candidates(site)
    assert matter.words == "Release 8 passed the gate and waits for a person who promotes or declines it."


def test_what_was_weighed_against_a_release_that_serves_no_more_waits_for_nobody(site: Site) -> None:
    site.decided(8, "needs-approval", ReleaseState.NEEDS_APPROVAL, "few-patients")
    site.records.set_incumbent(2, approver="Dr. Ito", reason="better")
    assert [one for one in matters(site.records, site.now) if one.key.startswith("approval")] == []


def test_a_site_whose_nights_never_end_is_told_after_more_than_a_day(site: Site) -> None:
    site.passes(LASTING + SOON)
    assert site.mailbox.taken == []
    for _ in range(31):
        site.now += timedelta(hours=1)
        site.passes(SOON)
    ((_, text),) = site.mailbox.taken
    assert text.startswith("No night has come to its end here yet.")


def test_a_night_that_stays_out_is_told_where_nights_have_ended_before(site: Site) -> None:
    site.passes(LASTING + SOON)
    assert site.mailbox.taken == []
    site.records.record(NightEnded(release=None), who="nightly_tuning")
    site.now += NIGHT_LATE
    site.passes(LASTING + SOON)
    ((_, text),) = site.mailbox.taken
    assert text.startswith("No night has ended since ")
    site.records.record(NightEnded(release=None), who="nightly_tuning")
    assert of_candidates(site) == []


def test_what_a_person_has_decided_and_what_is_long_past_is_no_matter(site: Site) -> None:
    site.decided(8, "needs-approval", ReleaseState.NEEDS_APPROVAL, "few-patients")
    site.decided(9, "refuse", ReleaseState.REFUSED, "worse-than-incumbent")
    site.records.record_release(8, f"{8:064x}", ReleaseState.PROMOTED)
    site.records.decline(9, f"{9:064x}", approver="Dr. Ito", reason="it is worse")
    assert of_candidates(site) == []
    site.decided(10, "refuse", ReleaseState.REFUSED, "worse-than-incumbent")
    assert len(of_candidates(site)) == 1
    site.now += timedelta(days=8)
    site.records.note_watch()
    assert of_candidates(site) == []


def test_what_could_not_be_told_is_on_record_once_tried_again_and_told_late(site: Site) -> None:
    site.mailbox.full = True
    site.decided(8, "needs-approval", ReleaseState.NEEDS_APPROVAL, "few-patients")
    site.passes(LASTING + 3 * AGAIN)
    assert len(site.records.all(PeopleNotTold)) == 1
    assert why_not_told(site.records) == "address 1 of the 1 did not take a message"
    site.mailbox.full = False
    site.passes(AGAIN + SOON)
    assert len(site.mailbox.taken) == 1
    assert why_not_told(site.records) == ""


def test_of_two_instances_one_tells_and_the_other_follows_when_it_ends(site: Site) -> None:
    site.decided(8, "needs-approval", ReleaseState.NEEDS_APPROVAL, "few-patients")
    other = site.instance("two")
    for _ in range(15):
        site.passes(SOON)
        other.look(site.records)
    assert len(site.mailbox.taken) == 1
    assert len(site.records.all(PeopleTold)) == 1
    assert LEASE_SECONDS > 60


def test_what_stands_still_is_said(site: Site) -> None:
    assert standstills(site.records, site.now) == ()
    (said,) = standstills(site.records, site.now + timedelta(minutes=30))
    assert "look whether a worker runs" in said.words
    going = Arrival(StudyUid("1.2.3"), StudyUid("1.2.3"), ArrivalState.SUBMITTED)
    site.records.change_arrival(None, going)
    site.records.record(RunFreed(run="r", was="running", pool="p", why="gone"), who="watch")
    site.now += timedelta(minutes=30)
    site.records.note_watch()
    assert [one.words for one in standstills(site.records, site.now)] == [
        "1 study is being segmented for more than 20 minutes.",
        "1 run of the last day was ended: nobody worked on it any more.",
    ]


def test_a_site_without_a_worker_says_so(tmp_path: Path) -> None:
    records = open_records(f"sqlite:///{tmp_path / 'new.sqlite'}")
    (said,) = standstills(records, datetime.now(UTC))
    assert said.words == "The archive has not been watched yet: no worker has started here."
