"""Studies on a worklist, made without any image."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from models.people import Person, Role
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.reading import Listed, OrganSaid
from services.records.port import Records

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEBER = Person("w1", "https://id.example", "Dr. Weber", frozenset({Role.READER}))
LANG = Person("l1", "https://id.example", "Dr. Lang", frozenset({Role.READER}))


def said(organ: str, flag: str | None = "clear", *reasons: str, **other: object) -> OrganSaid:
    """Return what is said of an organ; it was found and measures 100 ml."""
    given: dict[str, object] = {
        "presence": "found",
        "cut_by_field_of_view": False,
        "volume_ml": 100.0,
        "dsc_lower_bound": 0.9,
        "confidence": 0.9,
        "band_ml": 110.0,
        "importance_ml": 2.0,
        "segment": 1,
    }
    return OrganSaid(organ=organ, flag=flag, reasons=reasons, **given | other)  # type: ignore[arg-type]


def listed(
    number: int, *, result: str = "", rank: int = 12, doubt_ml: float = 2.0, **other: object
) -> Listed:
    """Return a study to be listed: its UIDs end in its number."""
    given: dict[str, object] = {
        "study_uid": StudyUid(f"1.2.{number}"),
        "series_uid": SeriesUid(f"1.3.{number}"),
        "result": result or f"result-{number}",
        "release": 1,
        "seg_series_uid": SeriesUid(f"1.4.{number}"),
        "page": f"{number:016x}",
        "patient": f"{number:064x}",
        "site": "",
        "audited": False,
    }
    return Listed(rank=rank, doubt_ml=doubt_ml, **given | other)  # type: ignore[arg-type]


def put_on_list(records: Records, study: Listed, organs: Sequence[OrganSaid]) -> None:
    """Record a result and list it."""
    records.first_written(study.result, NOON)
    records.record_result(
        study.result,
        study_uid=study.study_uid,
        series_uid=study.series_uid,
        release=study.release,
        objects={"organ-seg": SopUid(f"{study.seg_series_uid}.1.{len(study.result)}")},
    )
    records.list_study(study, organs)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def later(self, **by: int) -> None:
        self.now += timedelta(**by)
