"""How often organs are flagged and edited, by week, site and organ: counted from the log, once a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from models.findings import Flag
from models.uids import StudyUid
from services.records.entries.log import Line
from services.records.events.corrections import CorrectionRecorded
from services.records.events.results import ResultRecorded, StudySegmented

WEEKS = 12
"""Weeks that are kept: the last four are compared with the eight before."""

FLAGGED = (Flag.REVIEW.value, Flag.REJECT.value)
_KINDS = {kind.what: kind for kind in (ResultRecorded, StudySegmented, CorrectionRecorded)}


@dataclass
class Counted:
    """Results of an organ, and how many of them were flagged, and edited by a reader."""

    results: int = 0
    flagged: int = 0
    edited: int = 0

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.results + other.results, self.flagged + other.flagged, self.edited + other.edited)


@dataclass
class _Study:
    """What is needed of a study until its week is over: where its last result was counted."""

    week: int
    site: str
    organs: frozenset[str]
    edited: set[str] = field(default_factory=set)


class Weeks:
    """What the log's lines add up to, week by week; older weeks than the last `WEEKS` are let go.

    Parameters
    ----------
    clock
        The time now: what a clock that was ahead has dated later is counted nowhere.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.number = 0
        self._counts: dict[tuple[int, str, str], Counted] = {}
        self._sites: dict[StudyUid, tuple[int, str]] = {}
        self._studies: dict[StudyUid, _Study] = {}

    def add(self, lines: Iterable[Line]) -> None:
        """Count further lines, in order. What tells nothing of its kind is passed over: `audit` names it."""
        present = self.present()
        self._let_go(present - WEEKS + 1)
        for line in lines:
            self.number = line.number
            if line.what not in _KINDS or not 0 <= present - week_of(line.at) < WEEKS:
                continue
            try:
                said = _KINDS[line.what].from_payload(line.payload)
            except ValueError:
                continue
            match said:
                case ResultRecorded():
                    self._sites[StudyUid(said.study_uid)] = week_of(line.at), said.site or ""
                case StudySegmented():
                    self._segmented(said, week_of(line.at))
                case CorrectionRecorded():
                    self._edited(said)

    def present(self) -> int:
        """Return the number of this week."""
        return week_of(self._clock())

    def counted(self) -> dict[tuple[int, str, str], Counted]:
        """Return what was counted, by week (`week_of`), site (empty if not known) and organ."""
        return dict(self._counts)

    def _segmented(self, said: StudySegmented, week: int) -> None:
        uid = StudyUid(said.study_uid)
        _, site = self._sites.get(uid, (week, ""))
        for organ, flag in said.flags.items():
            counted = self._counts.setdefault((week, site, organ), Counted())
            counted.results += 1
            counted.flagged += flag in FLAGGED
        self._studies[uid] = _Study(week, site, frozenset(said.flags))

    def _edited(self, said: CorrectionRecorded) -> None:
        """Count an edit where the study's result was counted: an organ of a result once."""
        study = self._studies.get(StudyUid(said.study_uid))
        if study is None:
            return
        for organ in study.organs.intersection(said.edited) - study.edited:
            study.edited.add(organ)
            self._counts[study.week, study.site, organ].edited += 1

    def _let_go(self, first: int) -> None:
        self._counts = {key: one for key, one in self._counts.items() if key[0] >= first}
        self._studies = {uid: one for uid, one in self._studies.items() if one.week >= first}
        self._sites = {uid: one for uid, one in self._sites.items() if one[0] >= first}


def week_of(at: datetime) -> int:
    """Return the number of a week since 1970, Monday to Sunday by the clock on record."""
    return (at.toordinal() - 1) // 7
