"""What a reader is shown of a study: what was said of each organ, what readers said, what was said before."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from models.corrections.opinions import Opinion
from models.errors import Refused
from models.findings import Flag
from models.people import Person
from services.records.entries.corrections import Correction
from services.records.entries.reading import Given, Listed, OrganSaid, holder_of
from services.records.port import Corrections
from services.records.ports.reading import Reading

ORDER = {Flag.REJECT.value: 0, Flag.REVIEW.value: 1}


@dataclass(frozen=True)
class Earlier:
    """The same organ in an earlier study of the patient: its volume, and when that study was listed."""

    volume_ml: float
    listed_ms: int


@dataclass(frozen=True)
class OrganShown:
    """One organ as it is shown.

    Parameters
    ----------
    said
        What was said of it.
    asked
        Whether the study waits for a word on it.
    wanted
        DSC under which a reader should look; None where nobody has established it.
    earlier
        In the study before this one; None without one, or where it was not found.
    opinions
        The last word of each reader, but what was taken back; the newest last.
    mine
        The last word of who looks; None without one.
    answered
        Whether some reader's word on it stands: an opinion, an acceptance or a correction.
    """

    said: OrganSaid
    asked: bool
    wanted: float | None
    earlier: Earlier | None
    opinions: tuple[Given, ...]
    mine: Given | None
    answered: bool


@dataclass(frozen=True)
class StudyShown:
    """A study as it is shown.

    Parameters
    ----------
    listed
        Where it stands.
    organs
        What is asked first, worst first; then the rest, in the order of the result. Of a random check all
        are in that order.
    corrections
        What came back of this CT series, as it is on record.
    """

    listed: Listed
    organs: tuple[OrganShown, ...]
    corrections: tuple[Correction, ...]

    @property
    def asked(self) -> tuple[OrganShown, ...]:
        """What the study waits for a word on, or waited for."""
        return tuple(one for one in self.organs if one.asked)

    @property
    def others(self) -> tuple[OrganShown, ...]:
        """Organs with nothing against them, or of which nothing is said."""
        return tuple(one for one in self.organs if not one.asked and one.said.flag is not None)

    def organ(self, key: str) -> OrganShown | None:
        """Return one of its organs; None if it has none of that key."""
        return next((one for one in self.organs if one.said.organ == key), None)


class _Records(Reading, Corrections, Protocol):
    """What is asked here."""


def listed(page: str, records: Reading) -> Listed:
    """Return the study of that name.

    Raises
    ------
    Refused
        `no-such-study` if there is none, or its patient was taken out.
    """
    found = records.listed(page)
    if found is None:
        raise Refused("no-such-study", "there is no such study on the list: go back to the worklist")
    return found


def shown(study: Listed, who: Person, records: _Records, wanted: Mapping[str, float | None]) -> StudyShown:
    """Return what a reader is shown of a study.

    Parameters
    ----------
    study
        As it is listed.
    who
        Who looks.
    records
        What was said.
    wanted
        DSC under which a reader should look, by organ; None where nobody has established it.
    """
    before = _before(study, records)
    findings = records.findings([study.result, *([before.result] if before else [])])
    earlier = {one.organ: one for one in findings[before.result]} if before else {}
    answered = records.answered_organs(study.study_uid)
    words = [one for one in records.opinions(study.study_uid) if one.result == study.result]
    organs = [
        OrganShown(
            said=said,
            asked=_is_asked(said, audited=study.audited),
            wanted=wanted.get(said.organ),
            earlier=_earlier(earlier.get(said.organ), before),
            opinions=(last := _last_words(words, said.organ)),
            mine=next((one for one in last if is_of(one, who)), None),
            answered=said.organ in answered,
        )
        for said in findings[study.result]
    ]
    order = _asked_first if study.audited else _worst_first
    corrections = records.corrections(series_uid=study.series_uid)
    return StudyShown(study, tuple(sorted(organs, key=order)), corrections)


def _is_asked(said: OrganSaid, *, audited: bool) -> bool:
    return said.flag in ORDER or (audited and said.flag is not None)


def _asked_first(organ: OrganShown) -> tuple[bool, int, float]:
    """Leave a random check in the order of the result, which says nothing of its flags."""
    return not organ.asked, 0, 0.0


def _worst_first(organ: OrganShown) -> tuple[bool, int, float]:
    if not organ.asked:
        return True, 0, 0.0
    rank = 0 if organ.said.flag is None else ORDER.get(organ.said.flag, len(ORDER))
    return False, rank, -(organ.said.importance_ml or 0.0)


def _before(study: Listed, records: Reading) -> Listed | None:
    """Return the patient's study that was listed last before this one."""
    own = [one for one in records.listed_of_patient(study.patient) if one.study_uid != study.study_uid]
    earlier = [one for one in own if one.came_ms < study.came_ms]
    return max(earlier, key=lambda one: one.came_ms, default=None)


def _earlier(said: OrganSaid | None, before: Listed | None) -> Earlier | None:
    if said is None or before is None or said.presence != "found":
        return None
    return Earlier(said.volume_ml, before.came_ms)


def _last_words(words: Collection[Given], organ: str) -> tuple[Given, ...]:
    last: dict[tuple[str, str], Given] = {}
    for one in words:
        if one.organ == organ:
            last.pop((one.issuer, one.subject), None)
            last[one.issuer, one.subject] = one
    return tuple(one for one in last.values() if one.opinion != Opinion.TAKEN_BACK)


def is_of(given: Given, who: Person) -> bool:
    """Tell whether an opinion is this person's."""
    return f"{given.issuer} {given.subject}" == holder_of(who)
