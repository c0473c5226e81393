"""What a SEG that came back refers to: the CT it was drawn on, and the SEG of ours it was made from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.speech.speech import is_unsent
from models.contract import ModelContract
from models.corrections.scopes import Scope
from models.errors import PacsFailed, Refused
from models.masks import BoxedMask
from models.uids import SeriesUid, SopUid, StudyUid
from services.cases.disagreements import ASK, Policy
from services.cases.store import CaseStore
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.series import read_series
from services.dicom.foreign.listing import ListedFile, read_failures
from services.dicom.results.organ_seg import KIND as ORGAN_SEG
from services.dicom.results.review_seg import KIND as REVIEW_SEG
from services.dicom.returned.review_regions import review_regions
from services.dicom.returned.which_corrected import which_was_corrected
from services.dicom.seg.bounded import OpenedSeg, open_seg
from services.dicom.seg.files import cited_series, find_seg, members_of
from services.dicom.seg.reader import SegObject, read_seg
from services.pacs.port import Archive
from services.pictures.kept import StudyPictures
from services.records.entries.results import Result
from services.records.events.results import ResultRecorded
from services.records.port import Records
from services.work_folder import work_folder

UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True)
class Memory:
    """Where corrections are kept, and where what they refer to is found.

    Parameters
    ----------
    records
        What happened; also says which release's result was corrected, and what readers accepted.
    cases
        Volumes and labels for tuning.
    contract
        Of the incumbent: a case is kept as it is asked about.
    archive
        Where studies and results lie; None where everything is named.
    work
        Folder for what is fetched; None without an archive.
    policy
        What teaches where readers disagree.
    pictures
        Where pictures of what is asked about go; None where none are kept.
    """

    records: Records
    cases: CaseStore
    contract: ModelContract
    archive: Archive | None = None
    work: Path | None = None
    policy: Policy = ASK
    pictures: StudyPictures | None = None


@dataclass(frozen=True, eq=False)
class Placed:
    """Where a SEG belongs.

    Parameters
    ----------
    ct
        The series it was drawn on.
    folder
        The files of the study: of an archived one, its CT images.
    sent
        The SEG that was sent, if it was named.
    """

    ct: CTSeries
    folder: Path
    sent: SegObject | None = None


@contextmanager
def finder(memory: Memory | None, study: Path | None, sent: Path | None) -> Iterator[Finder]:
    """Give what finds; what it fetched is gone at the end."""
    if memory is None or memory.archive is None or memory.work is None:
        yield Finder(memory, study, sent)
        return
    with work_folder(memory.work) as into:
        yield Finder(memory, study, sent, into)


@dataclass(frozen=True)
class Finder:
    """Finds what a SEG refers to, in what is named or else in the archive.

    Parameters
    ----------
    memory
        Holds the archive, and the records of what was sent.
    study, sent
        Folder of the CT study, and the SEG that was sent (file or folder); None to find them.
    into
        Folder for what has to be fetched.
    """

    memory: Memory | None
    study: Path | None
    sent: Path | None
    into: Path = Path()

    def seg(self, source: str | Path) -> Path:
        """Return the SEG that came in: a file, the one in a folder, or an object of the archive.

        Raises
        ------
        Refused
            `not-in-archive` if the archive holds no object of that UID; as `find_seg`.
        PacsFailed
            If no archive is known, or it does not answer.
        """
        path = Path(source)
        if path.exists() or not UID.fullmatch(str(source)):
            return find_seg(path)
        found = self._archive().fetch_instance(SopUid(str(source)), self.into)
        if found is None:
            raise Refused("not-in-archive", f"the archive holds no object {source}")
        return found

    def named(self) -> Placed:
        """Return where the SEG that was sent belongs, of what is named.

        Raises
        ------
        Refused
            If either cannot be used.
        """
        if self.study is None or self.sent is None:
            raise ValueError("study and sent are to be named")
        sent = open_seg(find_seg(self.sent))
        ct = load(cited_series(read_series(self.study), sent))
        return Placed(ct, self.study, read_seg(sent, ct))

    def placed(self, study_uid: StudyUid, seg: OpenedSeg) -> Placed:
        """Return where a SEG belongs, by the images it cites.

        Raises
        ------
        Refused
            As `Archive.fetch_study` and `cited_series`.
        PacsFailed
            If no archive is known, or it does not answer.
        ReadFailed
            If not every file of the study can be read, to the last one that the archive listed.
        """
        folder, files = (self.study, None) if self.study else self._fetched(study_uid)
        sent = None if self.sent is None else open_seg(find_seg(self.sent))
        ct = load(cited_series(read_series(files or folder), sent or seg))
        return Placed(ct, folder, None if sent is None else read_seg(sent, ct))

    def corrected(
        self, theirs: SegObject, placed: Placed, known: SopUid | None = None
    ) -> tuple[SegObject, Result | None]:
        """Return the SEG of ours that a SEG was made from, and the result it belongs to.

        Parameters
        ----------
        theirs, placed
            The SEG that came back, and where it belongs.
        known
            SOP Instance UID of what it was made from, where that is on record.

        Raises
        ------
        Refused
            `no-result` if nothing of the series is on record, `sent-not-archived` if not every result it may
            be made from can be read, as `which_was_corrected` where it cannot be told.
        """
        ct = placed.ct
        if placed.sent is not None:
            uid = placed.sent.sop_instance_uid
            return placed.sent, self.memory.records.find_result(uid) if self.memory else None
        ours = self._on_record(theirs.sop_instance_uid)
        if known is not None and ours is None:
            path = self._member(known, placed.folder)
            if path is None:
                detail = "the archive no longer holds what it was made from; name it with --sent"
                raise Refused("sent-not-archived", detail, {"on_record": 1, "archived": 0})
            return read_seg(path, ct), self._on_record(known)
        results = [ours] if ours else self._results(ct.series_uid, theirs.sop_instance_uid)
        there: list[tuple[SegObject, Result]] = []
        for result in results:
            path = self._member(result.objects[ORGAN_SEG], placed.folder)
            if path is not None:
                there.append((read_seg(path, ct), result))
        measured = {"on_record": len(results), "archived": len(there)}
        if len(there) < len(results):
            # Releases share heads: an organ that came back as one result has it may be another's too.
            detail = (
                "not every result it may be made from is archived; name the one that was sent with --sent"
            )
            raise Refused("sent-not-archived", detail, measured)
        candidates = [seg for seg, _ in there]
        return there[which_was_corrected(theirs, candidates, ct.volume.geometry)]

    def regions(self, scope: Scope, result: Result | None, placed: Placed) -> Mapping[str, BoxedMask]:
        """Return the review regions that a reader was shown, by organ; none unless the scope asks for them.

        Raises
        ------
        Refused
            `no-review-regions` if none were shown, or the archive no longer holds them.
        """
        if scope is not Scope.REGIONS:
            return {}
        uid = result.objects.get(REVIEW_SEG) if result else None
        path = None if uid is None else self._member(uid, placed.folder)
        if path is None:
            raise Refused("no-review-regions", "no review regions were shown, or they are not archived")
        return review_regions(read_seg(path, placed.ct))

    def _fetched(self, study_uid: StudyUid) -> tuple[Path, list[ListedFile]]:
        """Return the folder of a study fetched from the archive, and the images that it listed before."""
        listed = self._archive().study(study_uid)
        folder = self._archive().fetch_study(study_uid, self.into)
        series = listed.ct_series() if listed else ()
        names = [f"{uid}.dcm" for one in series for uid in one.sop_instance_uids]
        with read_failures():
            return folder, [ListedFile.of(folder / name) for name in names]

    def _on_record(self, sop_instance_uid: SopUid) -> Result | None:
        """Return the result with this organ SEG, if it is one of ours."""
        result = self.memory.records.find_result(sop_instance_uid) if self.memory else None
        return result if result and ORGAN_SEG in result.objects else None

    def _results(self, series_uid: SeriesUid, save: SopUid) -> list[Result]:
        """Return the results of a series that a SEG may be made from, the likeliest of equal ones last.

        That is the one put on record last before the archive told of the save; of a save of which it did not
        tell yet, the last one. All are compared, since the archive may tell late; but not what was made in
        silence and never sent: no reader can have it from the archive.
        """
        if self.memory is None:
            raise Refused("no-result", "no release has served from this home: name the SEG that was sent")
        written = [
            one for one in self.memory.records.results_of_series(series_uid) if ORGAN_SEG in one.objects
        ]
        found = [one for one in written if not is_unsent(one.key, self.memory.records)]
        if not found:
            why = ": what is on record of it was made in silence, and not sent" if written else ""
            raise Refused("no-result", f"no result of series {series_uid} was sent, by the records{why}")
        study_uid = found[0].study_uid
        told = self.memory.records.place_of_save(study_uid, save)
        recorded: dict[str, int] = {}
        for event in self.memory.records.all(ResultRecorded, study_uid=study_uid):
            recorded.setdefault(event.said.result, event.number)

        def likelier(one: Result) -> tuple[bool, int]:
            number = recorded.get(one.key, 0)
            return told is None or number < told, number

        return sorted(found, key=likelier)

    def _member(self, sop_instance_uid: SopUid, folder: Path) -> Path | None:
        """Return the file of an object of the study; None if neither the folder nor the archive holds it."""
        named = folder / f"{sop_instance_uid}.dcm"
        if named.is_file():
            return named
        if self.study is not None:
            path = members_of(folder).get(sop_instance_uid)
            if path is not None:
                return path
            if self.memory is None or self.memory.archive is None:
                return None
        return self._archive().fetch_instance(sop_instance_uid, self.into)

    def _archive(self) -> Archive:
        if self.memory is None or self.memory.archive is None:
            raise PacsFailed("no archive is known, and not everything is named: use --study and --sent")
        return self.memory.archive
