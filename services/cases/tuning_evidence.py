"""What there is to learn from: corrections that no ancestor has learnt from, and older cases to replay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from models.corrections.label_doubts import TINY_ML
from models.corrections.ledger import OrganState
from models.uids import SeriesUid, StudyUid
from services.cases.disagreements import ASK, Policy, teaching_words
from services.cases.from_pictures import words_that_teach
from services.cases.store import CaseStore
from services.records.entries.cases import Case, Purpose
from services.records.port import Records

FEWEST_EDITED_STUDIES = 3
"""Studies in which a reader edited an organ, below which its head is left as it is."""

FEWEST_EDITED_PATIENTS = 2
"""Patients they must be of: what one patient's anatomy teaches is no other's."""

FEWEST_REPLAYED = 12
"""Older cases replayed beside few corrections; beside many, as many as there are corrected ones."""


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
    series_uid
        SeriesInstanceUID of its CT; None where no correction says it.
    from_pictures
        Those of its organs that were accepted from pictures, by nobody who saw more.
    """

    case: Case
    organs: tuple[str, ...]
    correction: str | None
    series_uid: SeriesUid | None = None
    from_pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What there is to learn from since a release.

    Parameters
    ----------
    organs
        Those with enough new corrections, in the order asked for.
    left_out
        By organ, why its head is left as it is: a code, and the numbers.
    corrected
        Cases with the organs there that no ancestor has learnt, in the order of record.
    older
        The other organs and cases, of which some are replayed: a head that never sees its old site again
        forgets it.
    edited
        By organ and by name of the case in which it was edited, the study and its patient: what counts
        as evidence. What was accepted, or edited by too little, is learnt and does not count.
    """

    organs: tuple[str, ...]
    left_out: Mapping[str, str]
    corrected: tuple[LabelledCase, ...] = ()
    older: tuple[LabelledCase, ...] = ()
    edited: Mapping[str, Mapping[str, tuple[StudyUid, str]]] = field(default_factory=dict)

    def too_little_without(self, organ: str, refused: Collection[str]) -> str | None:
        """Return why an organ has not enough evidence without the labels of some cases; as `too_little`."""
        return _too_little_of(
            found for case_id, found in self.edited.get(organ, {}).items() if case_id not in refused
        )

    @property
    def budget(self) -> int:
        """How many of the older cases are replayed."""
        return max(FEWEST_REPLAYED, len(self.corrected))


def gather(
    records: Records,
    cases: CaseStore,
    learnt: Collection[tuple[str, str]],
    asked: Sequence[str],
    policy: Policy = ASK,
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
        Name of the correction and organ, of all that the incumbent and its ancestors have learnt: an organ
        that was left as it was has its corrections still to come.
    asked
        Organs that may be tuned.
    policy
        What teaches where readers disagree.
    """
    kept = {case.case_id: case for case in records.cases(Purpose.TUNING)}
    known = {cases.pseudonym(one.name): one for one in records.corrections()} if kept else {}
    words = words_that_teach(known.values(), policy, records)
    teaching, _ = teaching_words(words, records.agreements(), policy)
    from_pictures: dict[str, set[str]] = {}
    organs_of: dict[str, set[str]] = {}
    edited: dict[str, dict[str, tuple[StudyUid, str]]] = {organ: {} for organ in asked}
    tiny = dict.fromkeys(asked, 0)
    for (_, organ), word in teaching.items():
        correction = word.correction
        case_id = cases.pseudonym(correction.name)
        if case_id not in kept:
            continue
        organs_of.setdefault(case_id, set()).add(organ)
        if word.entry.state is OrganState.ACCEPTED_FROM_PICTURES:
            from_pictures.setdefault(case_id, set()).add(organ)
        if organ in edited and word.entry.state is OrganState.EDITED:
            if (correction.name, organ) in learnt:
                continue
            if word.entry.added_ml + word.entry.removed_ml < TINY_ML:
                tiny[organ] += 1
            else:
                edited[organ][case_id] = correction.study_uid, kept[case_id].patient
    left_out = {
        organ: why
        for organ, found in edited.items()
        if (why := _too_little_of(found.values(), tiny[organ])) is not None
    }
    enough = tuple(organ for organ in asked if organ not in left_out)

    def labelled(case: Case, fresh: bool) -> LabelledCase:
        correction = known.get(case.case_id)
        if correction is None:
            return LabelledCase(case, () if fresh else enough, None)
        taught = organs_of.get(case.case_id, ())
        organs = tuple(
            organ for organ in enough if organ in taught and ((correction.name, organ) not in learnt) is fresh
        )
        seen_less = tuple(organ for organ in organs if organ in from_pictures.get(case.case_id, ()))
        return LabelledCase(case, organs, correction.name, correction.series_uid, seen_less)

    corrected = _with_organs(labelled(kept[case_id], True) for case_id in known if case_id in kept)
    older = _with_organs(labelled(case, False) for case in kept.values())
    # The order of content digests is a draw, and the same draw every time and at every site.
    older = sorted(older, key=lambda one: one.case.digest)
    return Evidence(enough, left_out, tuple(corrected), tuple(older), edited)


def too_little(studies: int, patients: int, tiny: int = 0) -> str | None:
    """Return why an organ has not enough evidence, a code and the numbers; None if it has.

    Parameters
    ----------
    studies, patients
        New studies in which it was edited, and whose they are.
    tiny
        Edits that were too small to count.
    """
    if studies < FEWEST_EDITED_STUDIES:
        beside = f", {tiny} more by less than {TINY_ML:g} ml" if tiny else ""
        code = "tiny-edits" if studies + tiny >= FEWEST_EDITED_STUDIES else "too-few-studies"
        return f"{code}: edited in {studies} new studies{beside}, {FEWEST_EDITED_STUDIES} are needed"
    if patients < FEWEST_EDITED_PATIENTS:
        return f"single-patient: edited in {studies} new studies of {patients} patient"
    return None


def _too_little_of(edited: Iterable[tuple[str, str]], tiny: int = 0) -> str | None:
    studies = dict(edited)
    return too_little(len(studies), len(set(studies.values())), tiny)


def _with_organs(found: Iterator[LabelledCase]) -> list[LabelledCase]:
    return [one for one in found if one.organs]
