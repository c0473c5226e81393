"""The feed of an archive that has none: it is queried; what stays the same between two queries has come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

from models.uids import StudyUid
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.port import Changes

DAYS_BACK = 1
"""Studies are asked for from so many days before the day of the last query on."""
EVERY_SECONDS = 30.0
"""Between two queries. A study is complete when the archive counts as many instances of it in two of them."""


class QueriedFeed:
    """Tells by QIDO-RS what came to a DICOMweb archive; see `ChangeFeed`.

    Its cursor is the day of the last query, as the number YYYYMMDD; it begins with the day of the first one.
    What is told is known by this object alone: after a restart the studies of the last days are told again.
    A study that bears an older date than `DAYS_BACK` is not found.

    Parameters
    ----------
    archive
        What is asked.
    today
        The date here.
    """

    def __init__(self, archive: DicomwebArchive, today: Callable[[], date] = date.today) -> None:
        self._archive = archive
        self._today = today
        self._counted: dict[StudyUid, str] = {}
        self._told: dict[StudyUid, str] = {}

    @property
    def every_seconds(self) -> float:
        """See `ChangeFeed.every_seconds`."""
        return EVERY_SECONDS

    def changes(self, cursor: int) -> Changes:
        """See `ChangeFeed.changes`."""
        today = self.end()
        since = _day(min(cursor or today, today)) - timedelta(days=DAYS_BACK)
        counted = self._archive.studies_since(since)
        quiet = {
            uid: count
            for uid, count in counted.items()
            if self._counted.get(uid) == count and self._told.get(uid) != count
        }
        self._counted, self._told = counted, self._told | quiet
        return Changes(tuple(quiet), max(cursor, today), more=False, quiet=bool(quiet))

    def end(self) -> int:
        """See `ChangeFeed.end`."""
        return int(f"{self._today():%Y%m%d}")


def _day(cursor: int) -> date:
    return datetime.strptime(str(cursor), "%Y%m%d").date()
