"""What is kept of a correction: the record, its case for tuning, and how far readers agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from flows.arrivals.saves import note_saves
from flows.corrections.returned_seg import Memory
from models.corrections.ledger import HybridLabel, OrganState, Provenance, hybrid_labels, origin_of
from models.corrections.scopes import Scope
from models.errors import Refused
from models.inference.question import asked_volume
from models.masks import BoxedMask
from models.metrics.dsc import dsc
from models.uids import SeriesUid
from services.cases.disagreements import teaching_words, valid_words
from services.cases.from_pictures import words_that_teach
from services.cases.store import CaseContent
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.provenance import acquisition_of, patient_of, site_of
from services.dicom.returned.understand import ReturnedSeg
from services.records.entries.cases import Case, Purpose
from services.records.entries.corrections import Agreement, Correction
from services.records.events.corrections import KeptOutOfTuning, ReadersDisagree

NOTHING_EDITED = "not-edited: no organ was edited beyond doubt"
UNKNOWN_RESULT = "unknown-result: the release that was corrected is not on record"
NO_PATIENT = "missing-patient-id: the CT names no patient, who may be one of the gate's"
CASE_CHANGED = (
    "case-changed: the case of this correction was kept with other content, and that stays; the model "
    "grid or the program has changed since"
)
WITHDRAWN = "withdrawn: this correction was taken back"


@dataclass(frozen=True, eq=False)
class Understood:
    """A correction, understood, before any of it is kept.

    Parameters
    ----------
    correction
        As it goes on record.
    answer
        Which organs came back, and what was sent.
    ct
        The series.
    scope, regions
        Where it is truth; the review regions by organ, if they are the scope.
    """

    correction: Correction
    answer: ReturnedSeg
    ct: CTSeries
    scope: Scope
    regions: Mapping[str, BoxedMask]


@dataclass(frozen=True)
class Disagreement:
    """Readers who disagree on an organ of a series.

    Parameters
    ----------
    organ
        Key in the catalogue.
    corrections
        By name, as they came.
    dsc
        The lowest Dice coefficient between two of them, 0..1; None if it was not measured.
    """

    organ: str
    corrections: tuple[str, ...]
    dsc: float | None


@dataclass(frozen=True)
class Standing:
    """What of a correction counts now.

    Parameters
    ----------
    teaches
        Its organs that tuning may learn from.
    disagreements
        Of its series.
    """

    teaches: tuple[str, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()


NOTHING_STANDS = Standing()


def keep(understood: Understood, memory: Memory) -> tuple[Correction, str | None]:
    """Record a correction and keep its case for tuning; repeatable after every step.

    Returns
    -------
    correction
        As it is on record, with its version.
    why
        Why its case is not in the tuning set; None if it is.
    """
    correction = put_on_record(understood.correction, memory)
    why = _keep_case(correction, understood, memory)
    if why is None:
        compare_readers(correction.series_uid, memory)
    return correction, why


def put_on_record(correction: Correction, memory: Memory) -> Correction:
    """Record a correction, behind all that came to the archive before it, be it read yet or not.

    Raises
    ------
    PacsFailed
        If what it is not on record yet, and the archive does not say what came before it.
    StorageFailed
        If it cannot be recorded.
    """
    known = memory.records.corrections(sop_instance_uid=correction.sop_instance_uid)
    if memory.archive is not None and all(one.content != correction.content for one in known):
        study = memory.archive.study(correction.study_uid)
        if study is not None:
            note_saves(study, memory.archive, memory.records)
    return memory.records.record_correction(correction)


def _keep_case(correction: Correction, understood: Understood, memory: Memory) -> str | None:
    ct, answer = understood.ct, understood.answer
    if correction.withdrawn:
        return WITHDRAWN
    if not any(entry.state is OrganState.EDITED for entry in correction.organs):
        return NOTHING_EDITED
    if correction.release is None:
        return _keep_out(correction, UNKNOWN_RESULT, memory)
    patient = patient_of(ct)
    if patient is None:
        return _keep_out(correction, NO_PATIENT, memory)
    content = CaseContent(
        volume=asked_volume(ct.volume, memory.contract),
        ct=ct.volume.geometry,
        sent=answer.sent,
        labels=hybrid_labels(
            answer.sent, answer.returned, correction.organs, understood.scope, understood.regions
        ),
    )
    origin = origin_of(OrganState.EDITED, correction.release) or ""
    try:
        memory.cases.add(
            memory.records,
            correction.name,
            patient,
            Purpose.TUNING,
            origin,
            content,
            site_of(ct),
            acquisition_of(ct),
        )
    except Refused as refused:
        if refused.code == "case-changed":
            return CASE_CHANGED
        if refused.code not in ("patient-leak", "patient-erased"):
            raise
        return _keep_out(correction, f"{refused.code}: {refused.detail}", memory)
    return None


def _keep_out(correction: Correction, why: str, memory: Memory) -> str:
    event = KeptOutOfTuning(sop_instance_uid=correction.sop_instance_uid, version=correction.version, why=why)
    key = event.key(correction.name, why.split(":")[0])
    memory.records.record(event, who="ingest_correction", key=key)
    return why


def compare_readers(series_uid: SeriesUid, memory: Memory) -> None:
    """Measure how far readers agree on each organ of a series, wherever that was not measured yet.

    The Dice coefficient is taken where both are truth: one reader may have looked at a few slices only.
    """
    kept = {case.case_id: case for case in memory.records.cases(Purpose.TUNING)}
    measured = {(one.first, one.second, one.organ) for one in memory.records.agreements()}
    labels: dict[str, Mapping[str, HybridLabel]] = {}

    def label(name: str, key: str) -> HybridLabel | None:
        case: Case | None = kept.get(memory.cases.pseudonym(name))
        if case is None:
            return None
        if name not in labels:
            labels[name] = memory.cases.read(case).labels
        return labels[name].get(key)

    for (_, key), words in valid_words(memory.records.corrections(series_uid=series_uid)).items():
        for names in combinations([word.correction.name for word in words], 2):
            first, second = sorted(names)
            one, two = label(first, key), label(second, key)
            if (first, second, key) not in measured and one is not None and two is not None:
                _record_agreement(Agreement(first, second, key, _dsc_of_truths(one, two)), memory)


def _dsc_of_truths(one: HybridLabel, two: HybridLabel) -> float | None:
    both = (one.provenance != Provenance.MODEL) & (two.provenance != Provenance.MODEL)
    return dsc(one.inside.dense() & both, two.inside.dense() & both)


def _record_agreement(agreement: Agreement, memory: Memory) -> None:
    if agreement.dsc is not None and agreement.dsc < memory.policy.targets.agreement(agreement.organ):
        names = (agreement.first, agreement.second)
        event = ReadersDisagree(corrections=names, organ=agreement.organ, dsc=round(agreement.dsc, 4))
        memory.records.record(event, who="ingest_correction", key=event.key(*names, agreement.organ))
    memory.records.record_agreement(agreement)


def standing(correction: Correction, memory: Memory) -> Standing:
    """Return what of a correction teaches now, and where readers of its series disagree."""
    corrections = memory.records.corrections(series_uid=correction.series_uid)
    words = words_that_teach(corrections, memory.policy, memory.records)
    teaching, disagreements = teaching_words(words, memory.records.agreements(), memory.policy)
    kept = {case.case_id for case in memory.records.cases(Purpose.TUNING)}
    there = memory.cases.pseudonym(correction.name) in kept
    return Standing(
        tuple(
            key for (_, key), word in teaching.items() if there and word.correction.name == correction.name
        ),
        tuple(Disagreement(one.organ, one.corrections, _rounded(one.dsc)) for one in disagreements),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
