"""A corrected SEG comes back: what it is, what changed, and what is kept of it.

Plain functions first; the Prefect tasks and the flow at the end only wrap them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from models.corrections import OrganLedger, OrganState, hybrid_labels, ledger, origin_of
from models.errors import Refused
from models.resampling import to_model_grid
from services.cases.store import CaseContent, CaseStore
from services.dicom.correction_reader import Question, ReturnedSeg, Status, understand
from services.dicom.provenance import patient_of, site_of
from services.dicom.seg_files import cited_series, find_seg
from services.dicom.seg_reader import SegObject, read_seg
from services.dicom.series import CTSeries, load, read_series
from services.records.port import Correction, Purpose, Records
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings

KEPT_OUT_OF_TUNING = "kept-out-of-tuning"
"""Event: a correction whose patient is in the gate or calibration set or not named, or of unknown origin."""

NOTHING_CHANGED = "ours-unchanged: no reader changed anything"
NOTHING_EDITED = "not-edited: no organ was edited beyond doubt"
NO_RELEASE = "no-release: no release has served from this home"
UNKNOWN_RESULT = "unknown-result: the release that was corrected is not on record"
NO_PATIENT = "missing-patient-id: the CT names no patient, who may be one of the gate's"
CASE_CHANGED = (
    "case-changed: this SEG is kept already with other content, and that stays; it was saved again under "
    "the same SOP Instance UID, or organs were accepted since"
)


@dataclass(frozen=True)
class Memory:
    """Where corrections are kept.

    Parameters
    ----------
    records
        What happened; also says which release's result was corrected, and what readers accepted.
    cases
        Volumes and labels for tuning.
    spacing_mm
        Voxel size of the model grid along (k, j, i), millimetres.
    """

    records: Records
    cases: CaseStore
    spacing_mm: tuple[float, float, float]


def memory_of(settings: Settings) -> Memory | None:
    """Return where corrections are kept at home; None where no release has served yet.

    Raises
    ------
    InvalidRelease
        If the incumbent cannot be read.
    StorageFailed
        If the records cannot be reached.
    """
    if settings.database_url is None and not settings.records_file.exists():
        return None
    records = open_records(settings.records_url)
    number = records.incumbent()
    if number is None:
        return None
    contract = ReleaseStore(settings.release_store).release(number).contract
    return Memory(records, CaseStore(settings.case_store), contract.spacing_mm)


def ingest(source: Path, study: Path, sent: Path, memory: Memory | None = None) -> dict[str, Any]:
    """Tell what a SEG that came in is, and keep what a reader meant by it.

    Parameters
    ----------
    source
        The SEG that came in: a file, or a folder with exactly one SEG.
    study
        Folder with the CT study's DICOM files.
    sent
        The SEG that was sent, file or folder alike.
    memory
        Where to keep it; without one it is only read and compared. What is ours unchanged, of whatever
        release, or a stranger, is never kept. Told again, nothing is kept twice.

    Returns
    -------
    dict
        The document of the `ingest` verb: ``study_uid, status, code, questions, organs``; ``kept``,
        whether its case is in the tuning set as this SEG says, and else ``why`` not (a code, a colon, a
        sentence); with status `stranger` also ``detail`` and ``measured``.

    Raises
    ------
    Refused
        If the CT study or the SEG that was sent cannot be used.
    StorageFailed
        If what is to be kept cannot be stored.
    """
    sent_path = find_seg(sent)
    ct = load(cited_series(read_series(study), sent_path))
    ours = read_seg(sent_path, ct)
    try:
        theirs = read_seg(find_seg(source), ct)
        answer = understand(_as_ours(theirs, ours, memory), ours, ct.volume.geometry)
    except Refused as refused:
        return _document(ct, Status.STRANGER, f"{refused.code}: {refused.detail}", refused=refused)
    result = memory.records.find_result(ours.sop_instance_uid) if memory else None
    release = result.release if result else None
    accepted = (
        memory.records.accepted_organs(ct.study_uid, release) if memory and release else frozenset[str]()
    )
    entries = ledger(answer.sent, answer.returned, ct.volume.geometry, accepted - _in_doubt(answer))
    if answer.status is Status.UNCHANGED:
        why: str | None = NOTHING_CHANGED
    elif memory is None:
        why = NO_RELEASE
    else:
        why = _keep(memory, ct, ours, theirs, answer, entries, release)
    return _document(ct, answer.status, why, entries, answer.questions)


def _as_ours(theirs: SegObject, ours: SegObject, memory: Memory | None) -> SegObject:
    """Return what was sent in place of any other object of ours: another release's word is no reader's.

    Under the UID of what was sent only the voxels tell: a viewer may have kept it.
    """
    known = memory is not None and memory.records.find_result(theirs.sop_instance_uid) is not None
    return ours if known and theirs.sop_instance_uid != ours.sop_instance_uid else theirs


def _in_doubt(answer: ReturnedSeg) -> frozenset[str]:
    """Return the organs that a question is about; nobody can have accepted what may be gone."""
    asked = {organ for question in answer.questions for organ in question.candidates}
    return frozenset(asked - answer.returned.keys())


def _keep(
    memory: Memory,
    ct: CTSeries,
    ours: SegObject,
    theirs: SegObject,
    answer: ReturnedSeg,
    entries: tuple[OrganLedger, ...],
    release: int | None,
) -> str | None:
    """Record a correction and keep its case for tuning; return why it is not kept, None if it is."""
    memory.records.record_correction(
        Correction(
            sop_instance_uid=theirs.sop_instance_uid,
            sent_uid=ours.sop_instance_uid,
            study_uid=ct.study_uid,
            series_uid=ct.series_uid,
            release=release,
            status=answer.status,
            reader=theirs.content_creator,
            viewer=theirs.manufacturer,
            organs=entries,
            questions=tuple(_question(question) for question in answer.questions),
        )
    )
    if not any(entry.state is OrganState.EDITED for entry in entries):
        return NOTHING_EDITED
    if release is None:
        return _keep_out(memory.records, theirs, UNKNOWN_RESULT)
    patient = patient_of(ct)
    if patient is None:
        return _keep_out(memory.records, theirs, NO_PATIENT)
    content = CaseContent(
        volume=to_model_grid(ct.volume, memory.spacing_mm),
        ct=ct.volume.geometry,
        sent=answer.sent,
        labels=hybrid_labels(answer.sent, answer.returned, entries),
    )
    origin = origin_of(OrganState.EDITED, release) or ""
    name, site = theirs.sop_instance_uid, site_of(ct)
    try:
        memory.cases.add(memory.records, name, patient, Purpose.TUNING, origin, content, site)
    except Refused as refused:
        if refused.code == "case-changed":
            return CASE_CHANGED
        if refused.code not in ("patient-leak", "set-frozen"):
            raise
        return _keep_out(memory.records, theirs, f"{refused.code}: {refused.detail}")
    return None


def _keep_out(records: Records, theirs: SegObject, why: str) -> str:
    uid = theirs.sop_instance_uid
    records.event(
        KEPT_OUT_OF_TUNING,
        who="ingest_correction",
        payload={"sop_instance_uid": uid, "why": why},
        key=f"{KEPT_OUT_OF_TUNING}:{uid}",
    )
    return why


def _document(
    ct: CTSeries,
    status: Status,
    why: str | None,
    entries: tuple[OrganLedger, ...] = (),
    questions: tuple[Question, ...] = (),
    refused: Refused | None = None,
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "study_uid": ct.study_uid,
        "status": str(status),
        "code": refused.code if refused else None,
        "questions": [_question(question) for question in questions],
        "organs": [_organ(entry) for entry in entries],
        "kept": why is None,
        "why": why,
    }
    if refused:
        document |= {"detail": refused.detail, "measured": refused.measured}
    return document


def _organ(entry: OrganLedger) -> dict[str, Any]:
    rounded = {
        name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(entry).items()
    }
    return {**rounded, "state": str(entry.state)}


def _question(question: Question) -> Mapping[str, Any]:
    return {**asdict(question), "candidates": list(question.candidates), "why": str(question.why)}


@task(name="ingest")
def ingest_task(source: Path, study: Path, sent: Path) -> dict[str, Any]:
    """Read one SEG that came in; the document of the `ingest` verb."""
    return ingest(source, study, sent, memory_of(Settings()))


@task(name="publish ledger")
def publish_ledger_task(document: dict[str, Any]) -> None:
    """Show what the reader changed in the Prefect dashboard."""
    create_table_artifact(
        key="ledger",
        table=document["organs"],
        description=f"Study {document['study_uid']}: {document['status']}, "
        + ("kept" if document["kept"] else f"not kept ({document['why']})"),
    )


@flow(name="ingest-correction")
def ingest_correction(source: Path, study: Path, sent: Path) -> dict[str, Any]:
    """Tell what a SEG that came in is, and keep what a reader meant by it."""
    document = ingest_task(source, study, sent)
    publish_ledger_task(document)
    return document
