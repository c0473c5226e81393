"""What `ingest` says of a SEG that came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flows.corrections.keep import NOTHING_STANDS, Disagreement, Standing
from models.corrections.ledger import OrganLedger
from models.errors import Refused
from models.uids import SeriesUid, SopUid, StudyUid
from services.dicom.returned.claims import Question
from services.dicom.seg.names import label_to_say
from services.records.entries.corrections import Correction, OpenQuestion


@dataclass(frozen=True)
class Ingested:
    """The document of the `ingest` verb: of a SEG that is ours, unchanged or corrected.

    Parameters
    ----------
    study_uid, series_uid, sop_instance_uid, sent_uid, release, version, status, scope, questions
        As in `services.records.entries.corrections.Correction`.
    code
        None: it is not refused.
    organs
        The ledger, voxels, millilitres and millimetres; to six decimals.
    kept, why
        Whether its case is in the tuning set as this SEG says, and else why not: a code, a colon, a sentence.
    teaches, disagreements
        As in `flows.corrections.keep.Standing`.
    """

    study_uid: StudyUid
    series_uid: SeriesUid
    sop_instance_uid: SopUid
    sent_uid: SopUid
    release: int | None
    version: int
    status: str
    code: None = field(default=None, kw_only=True)
    scope: str
    questions: tuple[OpenQuestion, ...]
    organs: tuple[OrganLedger, ...]
    kept: bool
    why: str | None
    teaches: tuple[str, ...]
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True)
class NotTaken:
    """The document of the `ingest` verb: of a SEG that is refused.

    Parameters
    ----------
    study_uid
        None where that is not known.
    status
        `stranger`; of a run also `refused`, where a person has to act.
    code, detail, measured
        Of the refusal.
    why
        Code, a colon, and the sentence.
    questions, organs, kept
        Nothing.
    """

    study_uid: StudyUid | None
    status: str
    code: str
    questions: tuple[()] = field(default=(), kw_only=True)
    organs: tuple[()] = field(default=(), kw_only=True)
    kept: bool = field(default=False, kw_only=True)
    why: str
    detail: str
    measured: Mapping[str, object]


def document_of(correction: Correction, why: str | None, standing: Standing = NOTHING_STANDS) -> Ingested:
    """Return what is said of a correction on record; `why` is why its case is not kept for tuning."""
    return Ingested(
        study_uid=correction.study_uid,
        series_uid=correction.series_uid,
        sop_instance_uid=correction.sop_instance_uid,
        sent_uid=correction.sent_uid,
        release=correction.release,
        version=correction.version,
        status=str(correction.status),
        scope=str(correction.scope),
        questions=correction.questions,
        organs=tuple(_rounded(entry) for entry in correction.organs),
        kept=why is None,
        why=why,
        teaches=standing.teaches,
        disagreements=standing.disagreements,
    )


def refusal(status: str, study_uid: StudyUid | None, refused: Refused) -> NotTaken:
    """Return what is said of a SEG that is refused."""
    why = f"{refused.code}: {refused.detail}"
    return NotTaken(study_uid, str(status), refused.code, why, refused.detail, refused.measured)


def _rounded(entry: OrganLedger) -> OrganLedger:
    mm = None if entry.surface_mm is None else round(entry.surface_mm, 6)
    added, removed = round(entry.added_ml, 6), round(entry.removed_ml, 6)
    return replace(entry, added_ml=added, removed_ml=removed, surface_mm=mm)


def question_of(question: Question) -> OpenQuestion:
    """Return a question as it goes on record and is asked; a label that names no organ stays unsaid."""
    return OpenQuestion(
        question.segment, label_to_say(question.label), question.candidates, str(question.why)
    )
