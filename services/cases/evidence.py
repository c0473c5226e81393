"""What there is to learn from: corrections that no ancestor has learnt from, and older cases to replay."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.corrections import OrganState
from services.cases.store import CaseStore
from services.cases.words import ReadersDisagree, teaching_words, valid_words
from services.records.port import Case, Purpose, Records

FEWEST_EDITED_STUDIES = 3
"""Studies in which a reader edited an organ, below which its head is left as it is."""

FEWEST_REPLAYED = 12
"""Older cases replayed beside few corrections; beside many, as many as there are corrected ones."""

FIRST_RELEASE = 1


@dataclass(frozen=True)
class LabelledCase:
    """One case to learn from.

    Parameters
    ----------
    case
        Where it lies.
    organs
        Organs whose label there may be learnt from, where a reader's word stands in it.
    correction
        Name of the correction it came from; None for a case added otherwise.
    """

    case: Case
    organs: tuple[str, ...]
    correction: str | None


@dataclass(frozen=True)
class Evidence:
    """What there is to learn from since a release.

    Parameters
    ----------
    organs
        Those with enough new corrections, in the order asked for.
    left_out
        By organ, why its head is left as it is.
    corrected
        Cases no ancestor has learnt from, in order of arrival.
    replayed
        Older ones, by identifier: a head that never sees its old site again forgets it.
    """

    organs: tuple[str, ...]
    left_out: Mapping[str, str]
    corrected: tuple[LabelledCase, ...] = ()
    replayed: tuple[LabelledCase, ...] = ()


def gather(
    records: Records,
    cases: CaseStore,
    learnt: Collection[str],
    asked: Sequence[str],
    policy: ReadersDisagree = ReadersDisagree.ASK,
) -> Evidence:
    """Look through the records for what there is to learn from.

    Each reader's latest word on an organ of a series counts, unless it was withdrawn; of several readers'
    the latest, if they agree or the policy says so. What only a neighbour's brush took is no edit, and an
    organ that nobody looked at teaches nothing.

    Parameters
    ----------
    records, cases
        Where corrections and cases are.
    learnt
        Names of the corrections the incumbent and its ancestors have learnt from.
    asked
        Organs that may be tuned.
    policy
        What teaches where readers disagree.
    """
    kept = {case.case_id: case for case in records.cases(Purpose.TUNING)}
    known = {cases.pseudonym(one.name): one for one in records.corrections()} if kept else {}
    teaching, _ = teaching_words(valid_words(known.values()), records.agreements(), policy)
    organs_of: dict[str, set[str]] = {}
    edited: dict[str, set[str]] = {organ: set() for organ in asked}
    for (_, organ), word in teaching.items():
        correction = word.correction
        case_id = cases.pseudonym(correction.name)
        if case_id not in kept:
            continue
        organs_of.setdefault(case_id, set()).add(organ)
        if organ in edited and word.entry.state is OrganState.EDITED and correction.name not in learnt:
            edited[organ].add(correction.study_uid)
    enough = tuple(organ for organ in asked if len(edited[organ]) >= FEWEST_EDITED_STUDIES)
    left_out = {
        organ: f"edited in {len(studies)} new studies, {FEWEST_EDITED_STUDIES} are needed"
        for organ, studies in edited.items()
        if organ not in enough
    }

    def labelled(case: Case) -> LabelledCase:
        correction = known.get(case.case_id)
        if correction is None:
            return LabelledCase(case, enough, None)
        taught = organs_of.get(case.case_id, ())
        return LabelledCase(case, tuple(organ for organ in enough if organ in taught), correction.name)

    fresh = [case_id for case_id, one in known.items() if case_id in kept and one.name not in learnt]
    corrected = _with_organs(labelled(kept[case_id]) for case_id in fresh)
    older = _with_organs(labelled(case) for case_id, case in kept.items() if case_id not in fresh)
    # The order of content digests is a draw, and the same draw every time and at every site.
    older = sorted(older, key=lambda one: one.case.digest)[: max(FEWEST_REPLAYED, len(corrected))]
    return Evidence(enough, left_out, tuple(corrected), tuple(older))


def _with_organs(found: Iterator[LabelledCase]) -> list[LabelledCase]:
    return [one for one in found if one.organs]
