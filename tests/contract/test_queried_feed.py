"""What came to an archive without a feed: told by QIDO-RS alone, of a real Orthanc."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from services.pacs.dicomweb import DicomwebArchive
from services.pacs.queried_feed import QueriedFeed
from tests.support.archive import Archive
from tests.support.instances import ct_slice, ct_study

MADE = date(2026, 3, 1)
"""StudyDate of what is stored here."""


class Calendar:
    def __init__(self) -> None:
        self.today = MADE

    def __call__(self) -> date:
        return self.today


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def feed(clean_archive: Archive, calendar: Calendar) -> QueriedFeed:
    return QueriedFeed(DicomwebArchive(clean_archive.http("/dicom-web")), calendar)


def test_a_study_is_told_once_when_two_queries_count_the_same(
    feed: QueriedFeed, clean_archive: Archive
) -> None:
    first, second, late = (ct_slice("1.9.1", "1.9.1.1", number) for number in (1, 2, 3))
    clean_archive.put(first.content)
    assert feed.changes(0).study_uids == ()
    clean_archive.put(second.content)
    assert feed.changes(20260301).study_uids == (), "more came: it is not complete"
    told = feed.changes(20260301)
    assert (told.study_uids, told.quiet, told.more, told.cursor) == (("1.9.1",), True, False, 20260301)
    nothing = feed.changes(20260301)
    assert (nothing.study_uids, nothing.quiet) == ((), False)
    clean_archive.put(late.content)
    assert [feed.changes(20260301).study_uids for _ in "12"] == [(), ("1.9.1",)]


def test_it_asks_from_the_day_before_the_last_query_on_however_long_that_is_ago(
    feed: QueriedFeed, clean_archive: Archive, calendar: Calendar
) -> None:
    [one] = ct_study(1)
    clean_archive.put(one.content)
    calendar.today = MADE + timedelta(days=10)
    assert [feed.changes(20260302).study_uids for _ in "12"] == [(), (one.study_uid,)]
    assert feed.changes(20260302).cursor == 20260311
    other = QueriedFeed(feed._archive, calendar)
    assert [other.changes(20260303).study_uids for _ in "12"] == [(), ()], "made before"
    assert [other.changes(0).study_uids for _ in "12"] == [(), ()], "from the first query's day on"


def test_a_clock_that_was_set_back_moves_no_cursor_back(feed: QueriedFeed, calendar: Calendar) -> None:
    calendar.today = MADE - timedelta(days=3)
    assert feed.changes(20260301).cursor == 20260301
