"""A corrected SEG comes back: what it is, what changed, and what is kept of it.

Plain functions first; the Prefect tasks and the flow at the end only wrap them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_table_artifact
from prefect.client.schemas.objects import TaskRun
from prefect.states import State

from flows.correction_sums import sums
from flows.keep_correction import KEPT_OUT_OF_TUNING, Understood, keep, standing
from flows.returned_seg import Memory, Placed, finder
from models.corrections import Mask, OrganLedger, ledger
from models.errors import PacsUnavailable, Refused
from models.scopes import Scope
from services.cases.store import CaseStore
from services.cases.words import ReadersDisagree
from services.dicom.answers import Answers
from services.dicom.correction_reader import ReturnedSeg, Status, understand
from services.dicom.saved_seg import Saving, content_digest, saving_of
from services.dicom.seg_reader import SegObject, read_seg
from services.dicom.segment_claims import Question
from services.pictures.changes import most_changed_slice, picture_of_changes
from services.pictures.slices import data_url
from services.records.port import Correction, Result
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import archive_of

__all__ = ["KEPT_OUT_OF_TUNING", "Memory", "Said", "ingest", "ingest_correction", "memory_of"]

NOTHING_CHANGED = "ours-unchanged: no reader changed anything"
NO_RELEASE = "no-release: no release has served from this home"
WORTH_TRYING_AGAIN = ("incomplete",)


@dataclass(frozen=True)
class Said:
    """What a person says about a SEG that came in, beside what it holds.

    Parameters
    ----------
    answers
        To its questions, in words: ``3=stomach``; see `services.dicom.answers`.
    reader
        Who answers; kept on record with each answer.
    scope
        Where it is truth; None to leave it as it is on record, at first `organ`.
    """

    answers: tuple[str, ...] = ()
    reader: str = ""
    scope: Scope | None = None


Show = Callable[[bytes, str], None]
"""Told a PNG of the slice that changed most, and which one that is."""


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
    return Memory(
        records=records,
        cases=CaseStore(settings.case_store),
        spacing_mm=ReleaseStore(settings.release_store).release(number).contract.spacing_mm,
        archive=archive_of(settings),
        work=settings.home / "work",
        policy=ReadersDisagree(settings.readers_disagree),
    )


def ingest(
    source: str | Path,
    study: Path | None = None,
    sent: Path | None = None,
    memory: Memory | None = None,
    *,
    said: Said = Said(),
    show: Show | None = None,
) -> dict[str, Any]:
    """Tell what a SEG that came in is, and keep what a reader meant by it.

    Parameters
    ----------
    source
        The SEG that came in: a file, a folder with exactly one SEG, or a SOP Instance UID in the archive.
    study
        Folder with the CT study's DICOM files; by default the study is fetched from the archive.
    sent
        The SEG that was sent, file or folder alike; by default that result of ours on record that it was
        made from.
    memory
        Where to keep it; without one it is only read and compared. What is ours unchanged, of whatever
        release, or a stranger, is never kept. Told again, nothing is kept twice.
    said
        What a person answers; kept from then on.
    show
        Told the picture of what changed.

    Returns
    -------
    dict
        The document of the `ingest` verb: ``study_uid, series_uid, sop_instance_uid, sent_uid, release,
        version, status, code, scope, questions, organs``; ``kept``, whether its case is in the tuning set
        as this SEG says, and else ``why`` not (a code, a colon, a sentence); ``teaches, disagreements``
        as `standing`; with status `stranger` also ``detail`` and ``measured``.

    Raises
    ------
    Refused
        If the SEG cannot be found; if the CT study, or the SEG that was sent, is named and cannot be used.
    WrongAnswer
        If an answer answers no question.
    PacsFailed
        If no archive is known, or it does not answer.
    StorageFailed
        If what is to be kept cannot be stored.
    """
    with finder(memory, study, sent) as found:
        named = found.named() if study is not None and sent is not None else None
        study_uid = named.ct.study_uid if named else None
        try:
            seg = found.seg(source)
            saving = saving_of(seg)
            study_uid = study_uid or saving.study_uid or None
            placed = named or found.placed(saving.study_uid, seg)
            theirs = read_seg(seg, placed.ct)
            ours, result = found.corrected(theirs, placed)
            said = _with_what_is_on_record(said, theirs, memory)
            regions = found.regions(said.scope or Scope.ORGAN, result, placed)
            answer = understand(
                _as_ours(theirs, ours, memory), ours, placed.ct.volume.geometry, Answers.parse(said.answers)
            )
        except Refused as refused:
            if refused.code in WORTH_TRYING_AGAIN:
                raise
            return _stranger(study_uid, refused)
    understood = _understood(placed, saving, theirs, ours, result, answer, said, memory, regions)
    if show is not None and answer.status is not Status.UNCHANGED:
        _show(placed, answer, show)
    if answer.status is Status.UNCHANGED:
        return _document(understood.correction, NOTHING_CHANGED)
    if memory is None:
        return _document(understood.correction, NO_RELEASE)
    correction, why = keep(understood, memory)
    return _document(correction, why) | standing(correction, memory)


def _as_ours(theirs: SegObject, ours: SegObject, memory: Memory | None) -> SegObject:
    """Return what was sent in place of any other object of ours: another release's word is no reader's.

    Under the UID of what was sent only the voxels tell: a viewer may have kept it.
    """
    known = memory is not None and memory.records.find_result(theirs.sop_instance_uid) is not None
    return ours if known and theirs.sop_instance_uid != ours.sop_instance_uid else theirs


def _with_what_is_on_record(said: Said, theirs: SegObject, memory: Memory | None) -> Said:
    """Add what was said before about the same content: what was answered once stays answered."""
    before = _latest(theirs, memory)
    if before is None:
        return said
    answers = {_asked(act["answer"]): str(act["answer"]) for act in before.answers}
    answers |= {_asked(word): word for word in said.answers}
    return Said(tuple(answers.values()), said.reader, said.scope or Scope(before.scope))


def _latest(theirs: SegObject, memory: Memory | None) -> Correction | None:
    """Return the last version on record of the same content under the same UID."""
    if memory is None:
        return None
    content = content_digest(theirs)
    known = memory.records.corrections(sop_instance_uid=theirs.sop_instance_uid)
    return next((one for one in reversed(known) if one.content == content), None)


def _asked(answer: str) -> str:
    return answer.partition("=")[0].strip()


def _understood(
    placed: Placed,
    saving: Saving,
    theirs: SegObject,
    ours: SegObject,
    result: Result | None,
    answer: ReturnedSeg,
    said: Said,
    memory: Memory | None,
    regions: Mapping[str, Mask],
) -> Understood:
    ct, release = placed.ct, result.release if result else None
    accepted = memory.records.accepted_organs(ct.series_uid, release) if memory and release else frozenset()
    entries = ledger(answer.sent, answer.returned, ct.volume.geometry, accepted - _in_doubt(answer))
    before = _latest(theirs, memory)
    acts = {str(act["answer"]): act for act in (before.answers if before else ())}
    correction = Correction(
        sop_instance_uid=theirs.sop_instance_uid,
        sent_uid=ours.sop_instance_uid,
        study_uid=ct.study_uid,
        series_uid=ct.series_uid,
        release=release,
        status=answer.status,
        reader=saving.reader,
        viewer=saving.viewer,
        organs=entries,
        questions=tuple(_question(question) for question in answer.questions),
        content=content_digest(theirs),
        scope=said.scope or Scope.ORGAN,
        answers=tuple(
            acts.get(word, {"answer": word, "reader": said.reader})
            for word in Answers.parse(said.answers).words
        ),
        saved_at=saving.saved_at,
    )
    return Understood(correction, answer, ct, Scope(correction.scope), regions)


def _in_doubt(answer: ReturnedSeg) -> frozenset[str]:
    """Return the organs that a question is about; nobody can have accepted what may be gone."""
    asked = {organ for question in answer.questions for organ in question.candidates}
    return frozenset(asked - answer.returned.keys())


def _show(placed: Placed, answer: ReturnedSeg, show: Show) -> None:
    k = most_changed_slice(answer.sent, answer.returned)
    if k is None:
        return
    number = placed.ct.images[k].get("InstanceNumber")
    picture = picture_of_changes(placed.ct.volume.geometry, k, answer.sent, answer.returned)
    show(picture, f"image {number}" if number else f"slice {k + 1} of {len(placed.ct.images)}")


def _document(correction: Correction, why: str | None) -> dict[str, Any]:
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


def _stranger(study_uid: str | None, refused: Refused) -> dict[str, Any]:
    return {
        "study_uid": study_uid,
        "status": str(Status.STRANGER),
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


def _question(question: Question) -> Mapping[str, Any]:
    return {**asdict(question), "candidates": list(question.candidates), "why": str(question.why)}


def _worth_trying_again(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Only an archive that is away, or a study that was still arriving, is another matter later."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, PacsUnavailable) or (
        isinstance(failure, Refused) and failure.code in WORTH_TRYING_AGAIN
    )


@task(name="ingest", retries=2, retry_delay_seconds=[10, 60], retry_condition_fn=_worth_trying_again)
def ingest_task(source: str | Path, study: Path | None, sent: Path | None) -> dict[str, Any]:
    """Read one SEG that came in; the document of the `ingest` verb."""

    def show(picture: bytes, where: str) -> None:
        create_image_artifact(
            key="correction",
            image_url=data_url(picture),
            description=f"What was added (green) and removed (red), {where}",
        )

    return ingest(source, study, sent, memory_of(Settings()), show=show)


@task(name="publish ledger")
def publish_ledger_task(document: dict[str, Any]) -> None:
    """Show what the reader changed in the Prefect dashboard."""
    create_table_artifact(
        key="ledger",
        table=document["organs"],
        description=f"Study {document['study_uid']}: {document['status']}, "
        + ("kept" if document["kept"] else f"not kept ({document['why']})"),
    )


@task(name="publish sums")
def publish_sums_task() -> None:
    """Show which organ costs readers the most, over all corrections, in the Prefect dashboard."""
    memory = memory_of(Settings())
    if memory is not None:
        table = sums(memory.records, memory.policy)["organs"]
        create_table_artifact(key="corrections", table=table, description="All valid corrections, by organ")


@flow(name="ingest-correction")
def ingest_correction(
    source: str | Path, study: Path | None = None, sent: Path | None = None
) -> dict[str, Any]:
    """Tell what a SEG that came in is, and keep what a reader meant by it.

    A SOP Instance UID is enough: study and result are found in the archive.
    """
    document = ingest_task(source, study, sent)
    publish_ledger_task(document)
    publish_sums_task()
    return document
