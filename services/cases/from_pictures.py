"""Which acceptances given from pictures teach: those that still stand, where the site lets any."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from models.corrections.ledger import OrganState
from models.corrections.opinions import Opinion, Seen
from models.uids import SopUid
from services.cases.disagreements import Policy, SeriesOrgan, Word, valid_words
from services.records.entries.corrections import Correction
from services.records.entries.reading import Given
from services.records.port import Results
from services.records.ports.reading import Reading


class _Records(Reading, Results, Protocol):
    """What is asked here."""


def accepted_from_pictures(opinions: Collection[Given], result: str) -> frozenset[str]:
    """Return the organs of a result that readers accepted from pictures, and of which nobody says otherwise.

    Parameters
    ----------
    opinions
        What readers said of the study, in order.
    result
        Key of the result that was shown.
    """
    last = {(one.organ, one.issuer, one.subject, one.reader): one for one in opinions if one.result == result}
    stand = [one for one in last.values() if one.opinion != Opinion.TAKEN_BACK]
    otherwise = {one.organ for one in stand if one.opinion != Opinion.ACCEPT}
    return frozenset(one.organ for one in stand if one.seen == Seen.PICTURES) - otherwise


def accepted_of(sent_uid: SopUid, records: _Records) -> frozenset[str]:
    """Return the organs that stand as accepted from pictures, of the result that an object belongs to.

    Of a study that was drawn at random none does: it is looked at in the viewer.
    """
    result = records.find_result(sent_uid)
    if result is None or any(one.audited for one in records.listed_studies([result.study_uid])):
        return frozenset()
    return accepted_from_pictures(records.opinions(result.study_uid), result.key)


def words_that_teach(
    corrections: Iterable[Correction], policy: Policy, records: _Records
) -> dict[SeriesOrgan, tuple[Word, ...]]:
    """Return the valid words without those from pictures that teach nothing.

    Parameters
    ----------
    corrections
        All there are, in the order of record.
    policy
        Whether any acceptance from pictures teaches.
    records
        Whether it still stands.
    """
    words = valid_words(corrections)
    accepted: dict[SopUid, frozenset[str]] = {}

    def stands(word: Word) -> bool:
        if word.entry.state is not OrganState.ACCEPTED_FROM_PICTURES:
            return True
        sent = word.correction.sent_uid
        if policy.from_pictures and sent not in accepted:
            accepted[sent] = accepted_of(sent, records)
        return policy.from_pictures and word.entry.organ in accepted[sent]

    left: Mapping[SeriesOrgan, tuple[Word, ...]] = {
        key: tuple(word for word in said if stands(word)) for key, said in words.items()
    }
    return {key: said for key, said in left.items() if said}
