"""What `ingest` says of a SEG that came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.corrections.ledger import OrganLedger
from models.errors import Refused
from models.uids import StudyUid
from services.dicom.returned.claims import Question
from services.records.entries import Correction


def document_of(correction: Correction, why: str | None) -> dict[str, Any]:
    """Return what is said of a correction on record; `why` is why its case is not kept for tuning."""
    return {
        "study_uid": correction.study_uid,
        "series_uid": correction.series_uid,
        "sop_instance_uid": correction.sop_instance_uid,
        "sent_uid": correction.sent_uid,
        "release": correction.release,
        "version": correction.version,
        "status": str(correction.status),
        "code": None,
        "scope": str(correction.scope),
        "questions": [dict(question) for question in correction.questions],
        "organs": [_organ(entry) for entry in correction.organs],
        "kept": why is None,
        "why": why,
        "teaches": [],
        "disagreements": [],
    }


def refusal(status: str, study_uid: StudyUid | None, refused: Refused) -> dict[str, Any]:
    """Return what is said of a SEG that is refused."""
    return {
        "study_uid": study_uid,
        "status": str(status),
        "code": refused.code,
        "questions": [],
        "organs": [],
        "kept": False,
        "why": f"{refused.code}: {refused.detail}",
        "detail": refused.detail,
        "measured": refused.measured,
    }


def _organ(entry: OrganLedger) -> dict[str, Any]:
    rounded = {
        name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(entry).items()
    }
    return {**rounded, "state": str(entry.state)}


def question_of(question: Question) -> Mapping[str, Any]:
    """Return a question as it goes on record and is asked."""
    return {**asdict(question), "candidates": list(question.candidates), "why": str(question.why)}
