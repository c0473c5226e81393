"""A corrected SEG comes back: what it is, what changed, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from flows.arrivals.archived_study import is_archived
from flows.arrivals.one_run import one_run
from flows.arrivals.savers import ingest_under_its_saver, saver_of
from flows.corrections.asked_pictures import keep_asked
from flows.corrections.keep import Understood, keep, put_on_record, standing
from flows.corrections.outcome import note_outcome, note_refused_save
from flows.corrections.questions import answered_on_pages
from flows.corrections.report import Ingested, NotTaken, document_of, question_of, refusal
from flows.corrections.returned_seg import Finder, Memory, Placed, finder
from flows.retries import STILL_ARRIVING
from models.corrections.ledger import ledger
from models.corrections.scopes import Scope
from models.errors import Refused
from models.masks import BoxedMask
from models.uids import SopUid, is_uid
from services.cases.disagreements import UNCHANGED, takes_back
from services.cases.from_pictures import accepted_of
from services.cases.store import CaseStore
from services.dicom.ct.headers import instance_number_of
from services.dicom.returned.answers import Answers, WrongAnswer
from services.dicom.returned.understand import ReturnedSeg, Status, understand
from services.dicom.seg.bounded import OpenedSeg, open_seg
from services.dicom.seg.reader import SegObject, read_seg
from services.dicom.seg.saving import Saving, content_digest, saving_of
from services.pictures.changes import most_changed_slice, picture_of_changes
from services.pictures.kept import StudyPictures
from services.records.entries.corrections import Answer, Correction
from services.records.entries.results import Result
from services.records.port import Corrections, Records
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import archive_of, policy_of

NOTHING_CHANGED = "ours-unchanged: no reader changed anything"
NO_STRANGER = ("no-result", "sent-not-archived", "ambiguous-result", "no-review-regions")
"""Refusals of what may well be a correction: a person has to name what is missing."""
NO_RELEASE = "no-release: no release has served from this home"
TAKEN_BACK = (
    "ours-unchanged: saved as it was sent after a correction; what that said teaches no more, or waits"
)


@dataclass(frozen=True)
class Said:
    """What a person says about a SEG that came in, beside what it holds.

    Parameters
    ----------
    answers
        To its questions, in words: ``3=stomach``; see `services.dicom.returned.answers`.
    reader
        Who answers, kept on record with each answer; and who drew it, where the SEG names nobody.
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
    contract = ReleaseStore(settings.release_store).release(number).contract
    return Memory(
        records=records,
        cases=CaseStore(settings.case_store),
        contract=contract,
        archive=archive_of(settings),
        work=settings.work_folder,
        policy=policy_of(settings),
        pictures=StudyPictures(settings.pictures_folder) if settings.keep_pictures_days > 0 else None,
    )


def ingest(
    source: str | Path,
    study: Path | None = None,
    sent: Path | None = None,
    memory: Memory | None = None,
    *,
    said: Said = Said(),
    show: Show | None = None,
) -> Ingested | NotTaken:
    """Tell what a SEG that came in is, and keep what a reader meant by it.

    What is saved as it was sent takes back what its reader said before. Which of two saves came later, their
    arrival says, and no clock (`flows.arrivals.saves`). A SEG that came to the archive bears what is said of
    it from then on (`flows.corrections.outcome`), a refusal too.

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

    Raises
    ------
    Refused
        If the CT study, or the SEG that was sent, is named and cannot be used; `no-result`,
        `sent-not-archived`, `ambiguous-result` if it cannot be told what it was made from;
        `no-review-regions` if these are the scope and none were shown.
    WrongAnswer
        If an answer answers no question.
    PacsFailed
        If no archive is known, or it does not answer.
    LeaseLost
        If another run of the archived SEG was started meanwhile: this one put nothing more on record.
    StorageFailed
        If what is to be kept cannot be stored; `ReadFailed` if not every file can be read.
    """
    with ExitStack() as held:
        if memory is not None and is_archived(source):
            records = held.enter_context(one_run(f"ingest:{source}", memory.records))
            memory = replace(memory, records=records)
        try:
            document = _ingested(source, study, sent, memory, said, show)
        except Refused as refused:
            if memory is not None and refused.code in NO_STRANGER:
                note_refused_save(source, refused, memory.records)
            raise
        if memory is not None:
            note_outcome(source, document, memory.records)
            if is_archived(source):
                ingest_under_its_saver(SopUid(str(source)), memory.records)
        return document


@dataclass(frozen=True, eq=False)
class _Compared:
    """A SEG that came in, beside what was sent.

    Parameters
    ----------
    placed, saving, theirs
        Where it belongs, how it was saved (by whom is settled), and what is in it.
    content
        Digest of that.
    ours, result
        What was sent, and the result it belongs to, if that is on record.
    acts
        What was answered before about the same content.
    said
        What a person answers, with what is on record.
    answer
        Which organs came back.
    regions
        Review regions by organ, if they are the scope.
    """

    placed: Placed
    saving: Saving
    theirs: SegObject
    content: str
    ours: SegObject
    result: Result | None
    acts: tuple[Answer, ...]
    said: Said
    answer: ReturnedSeg
    regions: Mapping[str, BoxedMask]


def _ingested(
    source: str | Path,
    study: Path | None,
    sent: Path | None,
    memory: Memory | None,
    said: Said,
    show: Show | None,
) -> Ingested | NotTaken:
    with finder(memory, study, sent) as found:
        named = found.named() if study is not None and sent is not None else None
        study_uid = named.ct.study_uid if named else None
        try:
            seg = open_seg(found.seg(source))
            saving = saving_of(seg)
            memory, saving = _with_its_saver(source, saving, memory, said)
            study_uid = study_uid or (saving.study_uid if is_uid(saving.study_uid) else None)
            compared = _compared(found, seg, saving, named, memory, said)
        except Refused as refused:
            if refused.code in (*STILL_ARRIVING, *NO_STRANGER):
                raise
            return refusal(Status.STRANGER, study_uid, refused)
    answer, understood = compared.answer, _understood(compared, memory)
    if show is not None and answer.status is not Status.UNCHANGED:
        _show(compared.placed, answer, show)
    if answer.status is Status.UNCHANGED:
        return _unchanged(understood, memory)
    if memory is None:
        return document_of(understood.correction, NO_RELEASE)
    correction, why = keep(understood, memory)
    if correction.questions:
        keep_asked(compared.content, compared.placed.ct, compared.theirs, answer, memory)
    return document_of(correction, why, standing(correction, memory))


def _compared(
    found: Finder, seg: OpenedSeg, saving: Saving, named: Placed | None, memory: Memory | None, said: Said
) -> _Compared:
    """Read a SEG and what it was made from; raises as `ingest`."""
    placed = named or found.placed(saving.study_uid, seg)
    theirs = read_seg(seg, placed.ct)
    content = content_digest(theirs)
    before = None if memory is None else _latest(theirs.sop_instance_uid, content, memory.records)
    ours, result = found.corrected(theirs, placed, before.sent_uid if before else None)
    acts = _answered(before, ours, memory)
    told = _with_what_is_on_record(said, before, acts)
    regions = found.regions(told.scope or Scope.ORGAN, result, placed)
    as_ours, grid = _as_ours(theirs, ours, memory), placed.ct.volume.geometry
    try:
        answer = understand(as_ours, ours, grid, Answers.parse(told.answers))
    except WrongAnswer:
        if said.answers:
            raise
        told = replace(told, answers=())  # it is read otherwise by now: asked again
        answer = understand(as_ours, ours, grid)
    saving = replace(saving, reader=_reader(saving, said, before))
    return _Compared(placed, saving, theirs, content, ours, result, acts, told, answer, regions)


def _unchanged(understood: Understood, memory: Memory | None) -> Ingested:
    """Put on record that nothing was changed: what came before it is taken back, be it read yet or not."""
    correction = understood.correction
    if memory is None or _took_nothing_back(correction.sop_instance_uid, memory.records):
        return document_of(correction, NOTHING_CHANGED)
    returned = tuple(one for one in correction.organs if one.organ in understood.answer.returned)
    correction = replace(correction, organs=returned)
    correction = put_on_record(correction, memory)
    if not takes_back(correction, memory.records.corrections(series_uid=correction.series_uid)):
        return document_of(understood.correction, NOTHING_CHANGED)
    return document_of(correction, TAKEN_BACK, standing(correction, memory))


def _took_nothing_back(sop_instance_uid: SopUid, known: Records) -> bool:
    """Tell whether it is ours itself, or was read by an earlier version, which recorded only what did."""
    if known.find_result(sop_instance_uid) is not None:
        return True
    arrival = known.arrival(sop_instance_uid)
    read = arrival is not None and arrival.code == UNCHANGED
    return read and not known.corrections(sop_instance_uid=sop_instance_uid)


def _with_its_saver(
    source: str | Path, saving: Saving, memory: Memory | None, said: Said
) -> tuple[Memory | None, Saving]:
    """Put who is proven to have saved it in place of whom it names, and have the act bear the proof.

    What a person answers now is that person's act, and bears no proof of another's name. Of a file that is no
    object of the archive nobody knows who saved it.
    """
    if memory is None or not is_archived(source):
        return memory, saving
    saver = saver_of(SopUid(str(source)), memory.records)
    if saver is None:
        return memory, saving
    if said == Said():
        memory = replace(memory, records=memory.records.signed(saver))
    return memory, replace(saving, reader=saver.name)


def _reader(saving: Saving, said: Said, before: Correction | None) -> str:
    """Return who drew it: whom it names, else whom a person names; the last name without an answer stands."""
    named_before = before.reader if before else ""
    return saving.reader or ("" if said.answers else said.reader) or named_before or said.reader


def _as_ours(theirs: SegObject, ours: SegObject, memory: Memory | None) -> SegObject:
    """Return what was sent in place of any other object of ours: another release's word is no reader's.

    Under the UID of what was sent only the voxels tell: a viewer may have kept it.
    """
    known = memory is not None and memory.records.find_result(theirs.sop_instance_uid) is not None
    return ours if known and theirs.sop_instance_uid != ours.sop_instance_uid else theirs


def _answered(before: Correction | None, ours: SegObject, memory: Memory | None) -> tuple[Answer, ...]:
    """Return what was answered about the same content, with an earlier version or on the pages since.

    Answers are about what was sent: made from another one, it is asked anew.
    """
    if before is None or memory is None or before.sent_uid != ours.sop_instance_uid:
        return ()
    return (*before.answers, *answered_on_pages(before, memory.records))


def _with_what_is_on_record(said: Said, before: Correction | None, acts: Collection[Answer]) -> Said:
    """Add what was said before about the same content: what was answered once stays answered."""
    if before is None:
        return said
    answers = {_asked(act.answer): act.answer for act in acts}
    answers |= {_asked(word): word for word in said.answers}
    return Said(tuple(answers.values()), said.reader, said.scope or Scope(before.scope))


def _latest(sop_instance_uid: SopUid, content: str, known: Corrections) -> Correction | None:
    """Return the last version on record of the same content under the same UID."""
    versions = known.corrections(sop_instance_uid=sop_instance_uid)
    return next((one for one in reversed(versions) if one.content == content), None)


def _asked(answer: str) -> str:
    return answer.partition("=")[0].strip()


def _understood(read: _Compared, memory: Memory | None) -> Understood:
    ct, answer, release = read.placed.ct, read.answer, read.result.release if read.result else None
    accepted = memory.records.accepted_organs(ct.series_uid, release) if memory and release else frozenset()
    doubted, seen = _in_doubt(answer), _accepted_from_pictures(read, memory)
    entries = ledger(
        answer.sent, answer.returned, ct.volume.geometry, accepted - doubted, from_pictures=seen - doubted
    )
    acts = {act.answer: act for act in read.acts}
    words = Answers.parse(read.said.answers).words
    correction = Correction(
        sop_instance_uid=read.theirs.sop_instance_uid,
        sent_uid=read.ours.sop_instance_uid,
        study_uid=ct.study_uid,
        series_uid=ct.series_uid,
        release=release,
        status=answer.status,
        reader=read.saving.reader,
        viewer=read.saving.viewer,
        organs=entries,
        questions=tuple(question_of(question) for question in answer.questions),
        content=read.content,
        scope=read.said.scope or Scope.ORGAN,
        answers=tuple(acts.get(word, Answer(word, read.said.reader)) for word in words),
        saved_at=read.saving.saved_at,
    )
    return Understood(correction, answer, ct, Scope(correction.scope), read.regions)


def _accepted_from_pictures(read: _Compared, memory: Memory | None) -> frozenset[str]:
    """Return the organs that readers accepted from pictures, where the site lets such answers teach."""
    if memory is None or not memory.policy.from_pictures:
        return frozenset()
    return accepted_of(read.ours.sop_instance_uid, memory.records)


def _in_doubt(answer: ReturnedSeg) -> frozenset[str]:
    """Return the organs that a question is about; nobody can have accepted what may be gone."""
    asked = {organ for question in answer.questions for organ in question.candidates}
    return frozenset(asked - answer.returned.keys())


def _show(placed: Placed, answer: ReturnedSeg, show: Show) -> None:
    k = most_changed_slice(answer.sent, answer.returned)
    if k is None:
        return
    number = instance_number_of(placed.ct.images[k])
    picture = picture_of_changes(placed.ct.volume.geometry, k, answer.sent, answer.returned)
    show(picture, f"image {number}" if number else f"slice {k + 1} of {len(placed.ct.images)}")
