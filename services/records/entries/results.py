"""What was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from models.uids import SeriesUid, SopUid, StudyUid


@dataclass(frozen=True)
class Result:
    """One result that was written.

    Parameters
    ----------
    key
        Digest of what went in: images, release, settings.
    study_uid, series_uid
        The CT series.
    release
        Number of the release that answered.
    objects
        SOP Instance UID of each object, by kind.
    written_at
        When it was written first; written again, it bears the same time.
    """

    key: str
    study_uid: StudyUid
    series_uid: SeriesUid
    release: int
    objects: Mapping[str, SopUid]
    written_at: datetime
