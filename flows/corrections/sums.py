"""What all corrections come to: which organ needs tuning, what review costs, by whom and of which release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import TypeVar

from flows.reading.times import ReadingSum, reading_sums
from models.corrections.ledger import OrganLedger, OrganState
from models.organs import KEYS
from models.uids import SopUid, StudyUid
from services.cases.disagreements import (
    OpenDisagreement,
    Policy,
    Word,
    teaches,
    teaching_words,
)
from services.cases.from_pictures import words_that_teach
from services.dicom.seg.viewer_clocks import with_zone
from services.records.entries.arrivals import ArrivalState
from services.records.entries.corrections import Correction, OpenQuestion
from services.records.events.corrections import KeptOutOfTuning
from services.records.port import Records

S = TypeVar("S")

UNKNOWN = "unknown"
"""Of a reader, viewer or release that no object or record names."""


@dataclass(frozen=True)
class OrganSum:
    """What all corrections come to of one organ.

    Parameters
    ----------
    organ
        Key in the catalogue.
    edited, accepted
        Studies.
    changed_ml, surface_mm
        Medians over the edited ones: millilitres added and removed together, millimetres between surfaces.
    readers, releases
        How many readers spoke of it, and of which releases.
    disagreements
        How many are open.
    """

    organ: str
    edited: int
    accepted: int
    changed_ml: float | None
    surface_mm: float | None
    readers: int
    releases: tuple[int, ...]
    disagreements: int


@dataclass(frozen=True)
class _Reader:
    reader: str


@dataclass(frozen=True)
class _Release:
    release: int | str


@dataclass(frozen=True)
class _Review:
    """What review cost.

    Parameters
    ----------
    corrections, studies
        Their numbers.
    edited_organs, changed_ml, hours_to_save
        Medians per correction; hours from our result's writing to the reader's save.
    viewers
        What they were drawn with.
    """

    corrections: int
    studies: int
    edited_organs: int | float | None
    changed_ml: int | float | None
    hours_to_save: float | None
    viewers: tuple[str, ...]


@dataclass(frozen=True)
class ReaderSum(_Review, _Reader):  # fields of the last base come first
    """What review cost one reader; see `_Review`."""


@dataclass(frozen=True)
class ReleaseSum(_Review, _Release):
    """What review of one release cost; see `_Review`."""


@dataclass(frozen=True)
class SaveNotTaken:
    """A save that came and was refused, or of which every run failed."""

    uid: str
    study_uid: StudyUid
    code: str
    detail: str


@dataclass(frozen=True)
class NotKept:
    """A correction that is kept out of tuning, by name."""

    correction: str
    code: str
    detail: str


@dataclass(frozen=True)
class Sums:
    """The document of the `corrections` verb.

    Parameters
    ----------
    corrections
        How many count.
    organs, readers, releases
        What they come to.
    disagreements
        Open ones; the DSC to four decimals.
    questions
        Open ones by name of the correction.
    not_taken, not_kept
        What teaches nothing, and why.
    reading
        How long readers had studies open, by nobody's name.
    """

    corrections: int
    organs: tuple[OrganSum, ...]
    readers: tuple[ReaderSum, ...]
    releases: tuple[ReleaseSum, ...]
    disagreements: tuple[OpenDisagreement, ...]
    questions: Mapping[str, tuple[OpenQuestion, ...]]
    not_taken: tuple[SaveNotTaken, ...]
    not_kept: tuple[NotKept, ...]
    reading: tuple[ReadingSum, ...] = ()


def sums(records: Records, policy: Policy) -> Sums:
    """Sum up each reader's latest words that were not withdrawn; what was said from pictures is none."""
    in_full = replace(policy, from_pictures=False)
    words = words_that_teach(records.corrections(), in_full, records)
    said = [word for of_organ in words.values() for word in of_organ]
    corrections = {word.correction.name: word.correction for word in said}
    _, disagreements = teaching_words(words, records.agreements(), policy)
    hours = {name: hours_to_save(one, records) for name, one in corrections.items()}
    found = corrections.values()
    return Sums(
        corrections=len(corrections),
        organs=tuple(
            _organ(key, of_organ, sum(one.organ == key for one in disagreements))
            for key in (*KEYS, *sorted({word.entry.organ for word in said} - set(KEYS)))
            if (of_organ := [word for word in said if word.entry.organ == key])
        ),
        readers=_reviews(ReaderSum, found, lambda one: one.reader or UNKNOWN, hours),
        releases=_reviews(ReleaseSum, found, lambda one: one.release or UNKNOWN, hours),
        disagreements=tuple(replace(one, dsc=_rounded(one.dsc)) for one in disagreements),
        questions={name: one.questions for name, one in _asking(records).items()},
        not_taken=tuple(
            SaveNotTaken(one.uid, one.study_uid, one.code, one.detail)
            for one in records.arrivals()
            if not one.is_study and one.state in (ArrivalState.REFUSED, ArrivalState.FAILED)
        ),
        not_kept=tuple(_kept_out(records)),
        reading=reading_sums(records),
    )


def hours_to_save(correction: Correction, records: Records) -> float | None:
    """Return the hours from our result's writing to the reader's save, None where they are not known.

    What cannot be, a save before the result or after it was put on record, is not known either: the viewer's
    clock was wrong, or in another zone. Hours are shown, and decide nothing.
    """
    result = records.find_result(correction.sent_uid)
    if result is None or correction.saved_at is None or correction.recorded_at is None:
        return None
    saved = with_zone(datetime.fromisoformat(correction.saved_at), correction.viewer)
    if saved is None or not result.written_at <= saved <= correction.recorded_at:
        return None
    return round((saved - result.written_at).total_seconds() / 3600, 2)


def edited_by_reader(correction: Correction) -> list[OrganLedger]:
    """Return the organs a reader meant to edit; what only a neighbour's brush took is none of them."""
    return [one for one in correction.organs if one.state is OrganState.EDITED and teaches(one)]


def _organ(key: str, said: list[Word], disagreements: int) -> OrganSum:
    edited = [word for word in said if word.entry.state is OrganState.EDITED]
    accepted = [word for word in said if word.entry.state is OrganState.ACCEPTED]
    return OrganSum(
        organ=key,
        edited=len({word.correction.study_uid for word in edited}),
        accepted=len({word.correction.study_uid for word in accepted}),
        changed_ml=_median(_changed_ml(word.entry) for word in edited),
        surface_mm=_median(word.entry.surface_mm for word in edited),
        readers=len({word.correction.reader or word.correction.sop_instance_uid for word in said}),
        releases=tuple(sorted({word.correction.release for word in said if word.correction.release})),
        disagreements=disagreements,
    )


def _reviews(
    kind: Callable[..., S],
    corrections: Iterable[Correction],
    of: Callable[[Correction], str | int],
    hours: Mapping[str, float | None],
) -> tuple[S, ...]:
    """Return what review cost, by reader or release."""
    groups: dict[str | int, list[Correction]] = {}
    for one in corrections:
        groups.setdefault(of(one), []).append(one)
    summed = []
    for group, found in sorted(groups.items(), key=lambda item: str(item[0])):
        edited = [edited_by_reader(each) for each in found]
        summed.append(
            kind(
                group,
                corrections=len(found),
                studies=len({one.study_uid for one in found}),
                edited_organs=_median(len(organs) for organs in edited),
                changed_ml=_median(sum(map(_changed_ml, organs)) for organs in edited),
                hours_to_save=_median(hours[one.name] for one in found),
                viewers=tuple(sorted({one.viewer or UNKNOWN for one in found})),
            )
        )
    return tuple(summed)


def _asking(records: Records) -> dict[str, Correction]:
    """Return the corrections with open questions: of each object the last version."""
    newest = {one.sop_instance_uid: one for one in records.corrections()}
    return {one.name: one for one in newest.values() if one.questions and not one.withdrawn}


def _kept_out(records: Records) -> Iterator[NotKept]:
    """Yield the corrections that tuning is not to learn from, whatever they say, and why."""
    there = {(one.sop_instance_uid, one.version): one for one in records.corrections() if not one.withdrawn}
    for event in records.all(KeptOutOfTuning):
        one = there.get((SopUid(event.said.sop_instance_uid), event.said.version))
        if one is not None:
            code, _, detail = event.said.why.partition(": ")
            yield NotKept(one.name, code, detail)


def _changed_ml(entry: OrganLedger) -> float:
    return entry.added_ml + entry.removed_ml


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 3) if known else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
