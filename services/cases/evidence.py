"""What there is to learn from: corrections that no ancestor has learnt from, and older cases to replay."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.corrections import OrganLedger, OrganState
from services.cases.store import CaseStore
from services.records.port import Case, Correction, Purpose, Records

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
        SOP Instance UID of the correction it came from; None for a case added otherwise.
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


def gather(records: Records, cases: CaseStore, learnt: Collection[str], asked: Sequence[str]) -> Evidence:
    """Look through the records for what there is to learn from.

    Of several corrections of one organ in one series the last counts. What only a neighbour's brush took
    is no edit, and an organ that nobody looked at teaches nothing.

    Parameters
    ----------
    records, cases
        Where corrections and cases are.
    learnt
        SOP Instance UIDs of the corrections the incumbent and its ancestors have learnt from.
    asked
        Organs that may be tuned.
    """
    kept = {case.case_id: case for case in records.cases(Purpose.TUNING)}
    known = dict(_corrections(records, cases, kept)) if kept else {}
    newest = {
        (correction.series_uid, entry.organ): correction.sop_instance_uid
        for correction in known.values()
        for entry in correction.organs
        if _teaches(entry)
    }
    edited: dict[str, set[str]] = {organ: set() for organ in asked}
    for correction in known.values():
        for entry in correction.organs:
            counts = entry.state is OrganState.EDITED and _teaches(entry)
            if counts and entry.organ in edited and correction.sop_instance_uid not in learnt:
                edited[entry.organ].add(correction.study_uid)
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
        uid, series = correction.sop_instance_uid, correction.series_uid
        return LabelledCase(case, tuple(o for o in enough if newest.get((series, o)) == uid), uid)

    fresh = [case_id for case_id, correction in known.items() if correction.sop_instance_uid not in learnt]
    corrected = _with_organs(labelled(kept[case_id]) for case_id in fresh)
    older = _with_organs(labelled(case) for case_id, case in kept.items() if case_id not in fresh)
    # The order of content digests is a draw, and the same draw every time and at every site.
    older = sorted(older, key=lambda one: one.case.digest)[: max(FEWEST_REPLAYED, len(corrected))]
    return Evidence(enough, left_out, tuple(corrected), tuple(older))


def _corrections(
    records: Records, cases: CaseStore, kept: Collection[str]
) -> Iterator[tuple[str, Correction]]:
    """Yield the corrections that are kept for tuning, by case identifier, in order of arrival."""
    for correction in records.corrections_since(FIRST_RELEASE):
        case_id = cases.pseudonym(correction.sop_instance_uid)
        if case_id in kept:
            yield case_id, correction


def _teaches(entry: OrganLedger) -> bool:
    return entry.state is not OrganState.NOT_REVIEWED and not entry.only_overpainted


def _with_organs(found: Iterator[LabelledCase]) -> list[LabelledCase]:
    return [one for one in found if one.organs]
