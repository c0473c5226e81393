"""What `ingest` said of a SEG that came, put on record with its arrival: a refused one must not look kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from flows.arrivals.archived_study import is_archived
from flows.corrections.report import Ingested, NotTaken
from models.corrections.ledger import OrganState
from models.errors import Refused
from models.uids import SopUid
from services.records.entries.arrivals import ArrivalState
from services.records.events.arrivals import CorrectionRefused
from services.records.port import Arrivals

KEPT = "kept"
QUESTION_OPEN = "question-open"


class Outcome(NamedTuple):
    """What an arrival becomes by what `ingest` said: its state, and code and sentence for a person."""

    state: ArrivalState
    code: str
    detail: str


def outcome_of(document: Ingested | NotTaken) -> Outcome:
    """Return what an arrival becomes.

    Parameters
    ----------
    document
        Of the `ingest` verb, of a refusal too.

    Returns
    -------
    Outcome
        `refused` with the code of the refusal, else `ingested` with `question-open`, `kept` or the code of
        why its case is not kept for tuning.
    """
    if isinstance(document, NotTaken):
        return Outcome(ArrivalState.REFUSED, document.code, document.detail)
    code, _, why = (document.why or "").partition(": ")
    edited = [one.organ for one in document.organs if one.state is OrganState.EDITED]
    if document.kept:
        code, why = KEPT, f"version {document.version} is kept for tuning; edited: {', '.join(edited)}"
    if document.questions:
        asked = (
            f"questions open: {len(document.questions)}; answer by `organloop ingest "
            f"{document.sop_instance_uid} --as …`"
        )
        return Outcome(ArrivalState.INGESTED, QUESTION_OPEN, f"{asked}; {code}: {why}")
    return Outcome(ArrivalState.INGESTED, code, why)


def note_outcome(source: str | Path, document: Ingested | NotTaken, arrivals: Arrivals) -> None:
    """Put on record with its arrival what was said of a SEG; where none came, nothing.

    Parameters
    ----------
    source
        What `ingest` was told to read.
    document
        What it said.
    arrivals
        Where the arrival is.
    """
    if isinstance(document, Ingested):
        uid = SopUid(str(source)) if is_archived(source) else document.sop_instance_uid
        note(uid, outcome_of(document), arrivals)
    elif is_archived(source):
        note(SopUid(str(source)), outcome_of(document), arrivals, measured=document.measured)


def note_refused_save(source: str | Path, refused: Refused, arrivals: Arrivals) -> None:
    """Put on record with its arrival that a SEG of the archive was refused; see `note_outcome`."""
    if is_archived(source):
        outcome = Outcome(ArrivalState.REFUSED, refused.code, refused.detail)
        note(SopUid(str(source)), outcome, arrivals, measured=refused.measured)


def note(
    uid: SopUid, outcome: Outcome, arrivals: Arrivals, *, measured: Mapping[str, object] | None = None
) -> None:
    """Give a SEG's arrival its outcome; one that was taken is not refused by what is tried later.

    An arrival that an earlier version of the program ended as `ingested` has no code: it was never said.
    """
    refused = outcome.state is ArrivalState.REFUSED
    while True:
        before = arrivals.arrival(uid)
        if before is None or before.is_study:
            return
        if refused and before.state is ArrivalState.INGESTED and before.code:
            return
        after = replace(before, state=outcome.state, code=outcome.code, detail=outcome.detail)
        event, key = None, None
        if refused:
            event = CorrectionRefused(
                uid=uid,
                study_uid=before.study_uid,
                code=outcome.code,
                detail=outcome.detail,
                measured=measured or {},
            )
            key = event.key(uid, outcome.code)
        if after == before or arrivals.change_arrival(before, after, event=event, key=key):
            return  # else the watcher changed it meanwhile
