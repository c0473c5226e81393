"""Which corrections count: each reader's latest word on each organ, and where readers disagree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from models.corrections.ledger import OrganLedger, OrganState
from models.targets import FROM_THE_CATALOGUE, Targets
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.corrections import Agreement, Correction


class ReadersDisagree(StrEnum):
    """What teaches where readers disagree on an organ: nothing until one is withdrawn, or the latest."""

    ASK = "ask"
    LATEST = "latest"


@dataclass(frozen=True)
class Policy:
    """When readers agree, and what teaches where they do not.

    Parameters
    ----------
    apart
        What teaches where they do not.
    targets
        What the site has established: how far two may be apart.
    from_pictures
        Whether an acceptance that was given from pictures teaches, where nothing else is said of the organ.
    """

    apart: ReadersDisagree = ReadersDisagree.ASK
    targets: Targets = FROM_THE_CATALOGUE
    from_pictures: bool = False


ASK = Policy()
"""Of a site that has established nothing."""


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
    names no reader, or nobody knows which came first, it stands against them. What was accepted from pictures
    replaces nothing, and stands only where there is no other word.

    Parameters
    ----------
    corrections
        All there are, in the order of record.
    """
    words: dict[SeriesOrgan, list[Word]] = {}
    weaker: dict[SeriesOrgan, Word] = {}
    for correction in _as_they_came(corrections):
        for entry in correction.organs:
            said = words.setdefault((correction.series_uid, entry.organ), [])
            unchanged = correction.status == UNCHANGED
            if not unchanged and not teaches(entry):
                continue
            if not unchanged and entry.state is OrganState.ACCEPTED_FROM_PICTURES:
                weaker[correction.series_uid, entry.organ] = Word(correction, entry)
                continue
            said[:] = [word for word in said if not _replaces(correction, word.correction)]
            if not unchanged or any(_may_be_one(word.correction, correction) for word in said):
                said.append(Word(correction, entry))
    strong = {key: tuple(said) for key, said in words.items() if said}
    return {key: (word,) for key, word in weaker.items() if key not in strong} | strong


def takes_back(unchanged: Correction, corrections: Iterable[Correction]) -> bool:
    """Tell whether a save as it was sent takes back, or puts in doubt, anything that was said.

    Parameters
    ----------
    unchanged
        The save, on record.
    corrections
        All of its series, in the order of record.
    """
    every = list(corrections)
    save = (unchanged.sop_instance_uid, unchanged.content)
    others = [one for one in every if (one.sop_instance_uid, one.content) != save]
    return valid_words(every) != valid_words(others)


def _as_they_came(corrections: Iterable[Correction]) -> list[Correction]:
    """Return what stands of each object, as it came; of one place what is unchanged last: it stands against.

    What has no place came before all that have one, in the order of record.
    """
    newest: dict[SopUid, Correction] = {}
    first: dict[tuple[SopUid, str], int] = {}
    for n, one in enumerate(corrections):
        if not one.withdrawn:
            newest[one.sop_instance_uid] = one
            first.setdefault((one.sop_instance_uid, one.content), n)

    def place(one: Correction) -> tuple[int, int, str]:
        if one.arrived is None:
            return 0, first[one.sop_instance_uid, one.content], ""
        return one.arrived, one.status == UNCHANGED, one.sop_instance_uid

    return sorted(newest.values(), key=place)


def _replaces(later: Correction, earlier: Correction) -> bool:
    """Tell whether both are one reader's, and it is known that one came after the other."""
    return bool(later.reader) and later.reader == earlier.reader and not in_doubt(earlier, later)


def in_doubt(one: Correction, other: Correction) -> bool:
    """Tell whether nobody knows which of two saves came first."""
    return one.arrived is not None and one.arrived == other.arrived


def _may_be_one(one: Correction, other: Correction) -> bool:
    return not one.reader or not other.reader or one.reader == other.reader


def teaching_words(
    words: Mapping[SeriesOrgan, tuple[Word, ...]],
    agreements: Collection[Agreement],
    policy: Policy,
) -> tuple[dict[SeriesOrgan, Word], tuple[OpenDisagreement, ...]]:
    """Return the one word on each organ that teaches, and the disagreements that keep one from it.

    Readers agree when the Dice coefficient between their organs reaches the organ's target, the site's before
    the catalogue's (`Targets.agreement`); then the latest word teaches. By the policy `latest` it always
    does, where it is known which one that is.
    """
    measured = {(frozenset((one.first, one.second)), one.organ): one.dsc for one in agreements}
    words = {key: said for key, said in words.items() if policy.from_pictures or not _from_pictures(said)}
    teaching: dict[SeriesOrgan, Word] = {}
    open_: list[OpenDisagreement] = []
    for (series_uid, key), said in words.items():
        apart = _farthest_apart(said, policy.targets.agreement(key), key, measured)
        if apart is not None:
            names = tuple(word.correction.name for word in said)
            study_uid = said[-1].correction.study_uid
            open_.append(OpenDisagreement(series_uid, study_uid, key, names, apart.dsc))
        if apart is None or (policy.apart is ReadersDisagree.LATEST and _latest_is_known(said)):
            teaching[series_uid, key] = said[-1]
    return teaching, tuple(open_)


def _from_pictures(said: tuple[Word, ...]) -> bool:
    return all(word.entry.state is OrganState.ACCEPTED_FROM_PICTURES for word in said)


def _latest_is_known(said: tuple[Word, ...]) -> bool:
    return len(said) < 2 or not in_doubt(said[-2].correction, said[-1].correction)


@dataclass(frozen=True)
class _Apart:
    dsc: float | None


def _farthest_apart(
    said: tuple[Word, ...],
    agreed: float,
    key: str,
    measured: Mapping[tuple[frozenset[str], str], float | None],
) -> _Apart | None:
    """Return the worst of the pairs that do not agree, one that was not measured first; None if all do."""
    worst: _Apart | None = None
    for first, second in combinations(said, 2):
        pair = frozenset((first.correction.name, second.correction.name)), key
        if pair not in measured:
            return _Apart(None)
        dsc = measured[pair]
        if dsc is not None and dsc < agreed and (worst is None or dsc < (worst.dsc or 0)):
            worst = _Apart(dsc)
    return worst
