"""Which corrections count: each reader's latest word on each organ, and where readers disagree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import combinations

from models.corrections.ledger import OrganLedger, OrganState
from models.organs import organ
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.corrections import Agreement, Correction


class ReadersDisagree(StrEnum):
    """What teaches where readers disagree on an organ: nothing until one is withdrawn, or the latest."""

    ASK = "ask"
    LATEST = "latest"


@dataclass(frozen=True)
class Word:
    """One reader's word on one organ of one CT series.

    Parameters
    ----------
    correction
        Where it was given.
    entry
        What it is.
    """

    correction: Correction
    entry: OrganLedger


@dataclass(frozen=True)
class OpenDisagreement:
    """Readers whose words on one organ are too far apart, or were never compared.

    Parameters
    ----------
    series_uid, study_uid
        The CT series.
    organ
        Key in the catalogue.
    corrections
        Names of the corrections, in order of arrival.
    dsc
        The lowest Dice coefficient between two of them; None if it was not measured.
    """

    series_uid: SeriesUid
    study_uid: StudyUid
    organ: str
    corrections: tuple[str, ...]
    dsc: float | None


SeriesOrgan = tuple[SeriesUid, str]
"""SeriesInstanceUID and organ key."""

SaidBy = tuple[SeriesUid, str, str, str]
"""SeriesInstanceUID, organ key, reader, and the SOP Instance UID where no reader is named."""

UNCHANGED = "ours-unchanged"
"""Status of a save in which our result came back as it was sent."""


def teaches(entry: OrganLedger) -> bool:
    """Tell whether a reader said anything about the organ; a neighbour's brush says nothing."""
    return entry.state is not OrganState.NOT_REVIEWED and not entry.only_overpainted


def valid_words(corrections: Iterable[Correction]) -> dict[SeriesOrgan, tuple[Word, ...]]:
    """Return the latest word of each reader on each organ, in order of arrival.

    Of several versions under one SOP Instance UID the last stands for all, in the place of its content. A
    later correction by the same reader replaces an earlier one organ by organ: an organ it says nothing
    about keeps its word. What was withdrawn counts as never said. Saves that name no reader may be anyone's:
    each is a word of its own. A save as it was sent takes the same reader's earlier words back; where either
    names no reader it stands against them.

    Parameters
    ----------
    corrections
        All there are, in order of arrival.
    """
    newest: dict[SopUid, Correction] = {}
    arrived: dict[tuple[SopUid, str], int] = {}
    for n, correction in enumerate(corrections):
        if not correction.withdrawn:
            newest[correction.sop_instance_uid] = correction
            arrived.setdefault((correction.sop_instance_uid, correction.content), n)
    latest: dict[SaidBy, Word] = {}
    for correction in sorted(newest.values(), key=lambda one: arrived[one.sop_instance_uid, one.content]):
        for entry in correction.organs:
            said_by = (correction.series_uid, entry.organ, *_who(correction))
            if correction.status == UNCHANGED:
                _take_back(latest, said_by, Word(correction, entry))
            elif teaches(entry):
                latest.pop(said_by, None)
                latest[said_by] = Word(correction, entry)
    words: dict[SeriesOrgan, tuple[Word, ...]] = {}
    for (series_uid, organ_key, *_), word in latest.items():
        words[series_uid, organ_key] = (*words.get((series_uid, organ_key), ()), word)
    return words


def takes_back(unchanged: Correction, corrections: Iterable[Correction]) -> bool:
    """Tell whether a save as it was sent takes back, or puts in doubt, anything that was said before.

    Parameters
    ----------
    unchanged
        The save, on record or not.
    corrections
        All of its series, in order of arrival.
    """
    before = list(corrections)
    if any(one.sop_instance_uid == unchanged.sop_instance_uid for one in before):
        return True
    back = {entry.organ for entry in unchanged.organs}
    return any(
        key in back
        and _may_be_one(word.correction, unchanged)
        and not _saved_before(unchanged, word.correction)
        for (_, key), said in valid_words(before).items()
        for word in said
    )


def _who(correction: Correction) -> tuple[str, str]:
    """Return whose word a correction is: the reader's, or that of the object alone."""
    return (correction.reader, "") if correction.reader else ("", correction.sop_instance_uid)


def _take_back(latest: dict[SaidBy, Word], said_by: SaidBy, word: Word) -> None:
    latest.pop(said_by, None)
    against = [one for key, one in latest.items() if key[:2] == said_by[:2]]
    if any(_may_be_one(one.correction, word.correction) for one in against):
        latest[said_by] = word


def _may_be_one(one: Correction, other: Correction) -> bool:
    return not one.reader or not other.reader or one.reader == other.reader


def _saved_before(one: Correction, other: Correction) -> bool:
    """Tell whether the objects say that one was saved before the other."""
    if one.saved_at is None or other.saved_at is None:
        return False
    first, second = datetime.fromisoformat(one.saved_at), datetime.fromisoformat(other.saved_at)
    return (first.tzinfo is None) == (second.tzinfo is None) and first < second


def teaching_words(
    words: Mapping[SeriesOrgan, tuple[Word, ...]],
    agreements: Collection[Agreement],
    policy: ReadersDisagree,
) -> tuple[dict[SeriesOrgan, Word], tuple[OpenDisagreement, ...]]:
    """Return the one word on each organ that teaches, and the disagreements that keep one from it.

    Readers agree when the Dice coefficient between their organs reaches the organ's ``dsc_target``; then,
    and by the policy `latest` always, the latest word teaches.
    """
    measured = {(frozenset((one.first, one.second)), one.organ): one.dsc for one in agreements}
    teaching: dict[SeriesOrgan, Word] = {}
    open_: list[OpenDisagreement] = []
    for (series_uid, key), said in words.items():
        apart = _farthest_apart(said, key, measured)
        if apart is not None:
            names = tuple(word.correction.name for word in said)
            study_uid = said[-1].correction.study_uid
            open_.append(OpenDisagreement(series_uid, study_uid, key, names, apart.dsc))
        if apart is None or policy is ReadersDisagree.LATEST:
            teaching[series_uid, key] = said[-1]
    return teaching, tuple(open_)


@dataclass(frozen=True)
class _Apart:
    dsc: float | None


def _farthest_apart(
    said: tuple[Word, ...], key: str, measured: Mapping[tuple[frozenset[str], str], float | None]
) -> _Apart | None:
    """Return the worst of the pairs that do not agree, one that was not measured first; None if all do."""
    worst: _Apart | None = None
    for first, second in combinations(said, 2):
        pair = frozenset((first.correction.name, second.correction.name)), key
        if pair not in measured:
            return _Apart(None)
        dsc = measured[pair]
        if dsc is not None and dsc < organ(key).agreement and (worst is None or dsc < (worst.dsc or 0)):
            worst = _Apart(dsc)
    return worst
