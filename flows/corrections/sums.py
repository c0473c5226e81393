"""What all corrections come to: which organ needs tuning, what review costs, by whom and of which release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from statistics import median
from typing import Any

from models.corrections.ledger import OrganLedger, OrganState
from models.organs import KEYS
from models.uids import SopUid
from services.cases.disagreements import ReadersDisagree, Word, teaches, teaching_words, valid_words
from services.records.entries import ArrivalState, Correction
from services.records.events.corrections import KeptOutOfTuning
from services.records.port import Records

UNKNOWN = "unknown"
"""Of a reader, viewer or release that no object or record names."""


def sums(records: Records, policy: ReadersDisagree) -> dict[str, Any]:
    """Sum up each reader's latest words that were not withdrawn.

    Returns
    -------
    dict
        The document of the `corrections` verb: ``corrections``, their number; ``organs``: ``[{organ,
        edited, accepted, changed_ml, surface_mm, readers, releases, disagreements}]``, studies counted,
        medians over the edited ones, millilitres added and removed together; ``readers`` and
        ``releases``: ``[{reader or release, corrections, studies, edited_organs, changed_ml,
        hours_to_save, viewers}]``, medians per correction; ``disagreements``: ``[{series_uid, study_uid,
        organ, corrections, dsc}]``; ``questions``, open ones by name of the correction; ``not_taken``, saves
        that came and were refused, or of which every run failed: ``[{uid, study_uid, code, detail}]``; and
        ``not_kept``, corrections that are kept out of tuning: ``[{correction, code, detail}]``.
    """
    words = valid_words(records.corrections())
    said = [word for of_organ in words.values() for word in of_organ]
    corrections = {word.correction.name: word.correction for word in said}
    _, disagreements = teaching_words(words, records.agreements(), policy)
    hours = {name: hours_to_save(one, records) for name, one in corrections.items()}

    def by(name: str, of: Callable[[Correction], Any]) -> list[dict[str, Any]]:
        groups: dict[Any, list[Correction]] = {}
        for one in corrections.values():
            groups.setdefault(of(one), []).append(one)
        return [
            {name: group, **_review(found, hours)}
            for group, found in sorted(groups.items(), key=lambda item: str(item[0]))
        ]

    return {
        "corrections": len(corrections),
        "organs": [
            {**_organ(key, of_organ), "disagreements": sum(one.organ == key for one in disagreements)}
            for key in KEYS
            if (of_organ := [word for word in said if word.entry.organ == key])
        ],
        "readers": by("reader", lambda one: one.reader or UNKNOWN),
        "releases": by("release", lambda one: one.release or UNKNOWN),
        "disagreements": [
            {
                "series_uid": one.series_uid,
                "study_uid": one.study_uid,
                "organ": one.organ,
                "corrections": list(one.corrections),
                "dsc": _rounded(one.dsc),
            }
            for one in disagreements
        ],
        "questions": {name: [dict(q) for q in one.questions] for name, one in _asking(records).items()},
        "not_taken": [
            {"uid": one.uid, "study_uid": one.study_uid, "code": one.code, "detail": one.detail}
            for one in records.arrivals()
            if not one.is_study and one.state in (ArrivalState.REFUSED, ArrivalState.FAILED)
        ],
        "not_kept": list(_kept_out(records)),
    }


def hours_to_save(correction: Correction, records: Records) -> float | None:
    """Return the hours from our result's writing to the reader's save, None where they are not known.

    A viewer that names no offset from UTC is taken to keep the site's time, as the result does.
    """
    result = records.find_result(correction.sent_uid)
    if result is None or correction.saved_at is None:
        return None
    saved = datetime.fromisoformat(correction.saved_at)
    if saved.tzinfo is None:
        saved = saved.replace(tzinfo=result.written_at.tzinfo)
    hours = (saved - result.written_at).total_seconds() / 3600
    return round(hours, 2) if hours >= 0 else None


def edited_by_reader(correction: Correction) -> list[OrganLedger]:
    """Return the organs a reader meant to edit; what only a neighbour's brush took is none of them."""
    return [one for one in correction.organs if one.state is OrganState.EDITED and teaches(one)]


def _organ(key: str, said: list[Word]) -> dict[str, Any]:
    edited = [word for word in said if word.entry.state is OrganState.EDITED]
    return {
        "organ": key,
        "edited": len({word.correction.study_uid for word in edited}),
        "accepted": len(
            {word.correction.study_uid for word in said if word.entry.state is OrganState.ACCEPTED}
        ),
        "changed_ml": _median(_changed_ml(word.entry) for word in edited),
        "surface_mm": _median(word.entry.surface_mm for word in edited),
        "readers": len({word.correction.reader or word.correction.sop_instance_uid for word in said}),
        "releases": sorted({word.correction.release for word in said if word.correction.release}),
    }


def _review(found: list[Correction], hours: dict[str, float | None]) -> dict[str, Any]:
    edited = [edited_by_reader(each) for each in found]
    return {
        "corrections": len(found),
        "studies": len({one.study_uid for one in found}),
        "edited_organs": _median(len(organs) for organs in edited),
        "changed_ml": _median(sum(map(_changed_ml, organs)) for organs in edited),
        "hours_to_save": _median(hours[one.name] for one in found),
        "viewers": sorted({one.viewer or UNKNOWN for one in found}),
    }


def _asking(records: Records) -> dict[str, Correction]:
    """Return the corrections with open questions: of each object the last version."""
    newest = {one.sop_instance_uid: one for one in records.corrections()}
    return {one.name: one for one in newest.values() if one.questions and not one.withdrawn}


def _kept_out(records: Records) -> Iterator[dict[str, str]]:
    """Yield the corrections that tuning is not to learn from, whatever they say, and why."""
    there = {(one.sop_instance_uid, one.version): one for one in records.corrections() if not one.withdrawn}
    for event in records.all(KeptOutOfTuning):
        one = there.get((SopUid(event.said.sop_instance_uid), event.said.version))
        if one is not None:
            code, _, detail = event.said.why.partition(": ")
            yield {"correction": one.name, "code": code, "detail": detail}


def _changed_ml(entry: OrganLedger) -> float:
    return entry.added_ml + entry.removed_ml


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 3) if known else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
