"""Any DICOMweb server as an archive: QIDO-RS, WADO-RS, STOW-RS.

Objects travel as the bytes they are: a library's client would parse and write them anew, and what is stored
must be what was proven, what is read what was stored. Searches are another file, `services.pacs.qido`.
Source: PS3.18 sections 10.4 (retrieve), 10.5 (store).
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

import requests

from models.errors import PacsFailed, PacsUnavailable, Refused, StorageFailed, StoredDiffers
from models.series.verdict import Code
from models.uids import SeriesUid, SopUid, StudyUid, is_uid
from services.dicom.foreign.identifiers import Named, named_in
from services.pacs import multipart, stow
from services.pacs.allowance import ORDINARY, Allowance, StudyLimits
from services.pacs.http import Http
from services.pacs.incoming import bring, fetching, require_uid, write_object
from services.pacs.kinds import kind_of
from services.pacs.port import ArchivedSeries, ArchivedStudy, DicomObject
from services.pacs.qido import (
    INSTANCES,
    ISSUER,
    MODALITY,
    PATIENT_ID,
    SERIES_UID,
    SOP_CLASS_UID,
    SOP_UID,
    PatientOfStudy,
    Searches,
    place_of,
)
from services.pacs.read_back import came_back

STUDY_GONE = "study-gone"
INCOMPLETE = "incomplete"

CHUNK_BYTES = 1 << 20
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Never decoded or encoded anew on the way."""
_log = logging.getLogger(__name__)


class DicomwebArchive:
    """An archive that speaks DICOMweb; nothing is asked before it is used. See `Archive`.

    Parameters
    ----------
    http
        The connection; its address is the DICOMweb root.
    limits
        The most that is fetched of one study.
    """

    def __init__(self, http: Http, limits: StudyLimits = ORDINARY) -> None:
        self._web, self.limits = http, limits
        self._searches = Searches(http)

    @property
    def web(self) -> Http:
        """The connection to its DICOMweb root."""
        return self._web

    def study(self, study_uid: StudyUid) -> ArchivedStudy | None:
        """See `Archive.study`.

        Raises
        ------
        PacsFailed
            Also if the server lists fewer instances than it counts itself: part of the study would be
            overlooked.
        """
        if not is_uid(study_uid):
            return None
        rows = self._searches.studies(study_uid)
        instances = self._searches.instances(study_uid) if rows else []
        if not rows or not instances:
            return None
        listed = {row[SOP_UID] for row in instances}
        counted = rows[0][INSTANCES]
        if len(rows) == 1 and counted.isdecimal() and len(listed) < int(counted):
            raise PacsFailed(
                f"The archive at {self._web.name} counts {counted} instances in study {study_uid}, "
                f"and lists {len(listed)}: is its limit of results too low?"
            )
        patients = {(row[PATIENT_ID], row[ISSUER]) for row in rows}
        return ArchivedStudy(
            study_uid,
            patients=tuple(patient for patient, _ in sorted(patients)),
            stable=True,
            urgent=self._searches.urgent(study_uid),
            series=by_series(
                (SeriesUid(row[SERIES_UID]), row[MODALITY], row[SOP_CLASS_UID], SopUid(row[SOP_UID]))
                for row in instances
            ),
        )

    def studies_since(self, day: date) -> dict[StudyUid, str]:
        """Return how many instances the archive counts of each study made on a day or later, as it writes it.

        Raises
        ------
        PacsFailed
            If the archive answered with an error, or not at all.
        """
        return self._searches.counted_since(day)

    def patients_of(self, study_uids: Collection[StudyUid]) -> dict[StudyUid, PatientOfStudy]:
        """Return whose studies these are; those it does not hold, or that are two patients', are left out.

        Raises
        ------
        PacsFailed
            If the archive answered with an error, or not at all.
        """
        return self._searches.patients_of([uid for uid in study_uids if is_uid(uid)])

    def studies_of(self, name: str, at_most: int) -> tuple[StudyUid, ...]:
        """Return studies of patients whose name holds these letters; raises as `patients_of`."""
        return self._searches.studies_of(name, at_most)

    def fetch_study(self, source: StudyUid | Path, into: Path) -> Path:
        """Write a study's images to the folder under `into` that bears its UID, a file each; see `Pacs`.

        The folder appears whole, in place of an earlier one.
        """
        study = self.study(StudyUid(str(source)))
        if study is None:
            raise Refused(STUDY_GONE, "The archive holds nothing under that study UID, or nothing any more.")
        if len(study.patients) > 1:
            raise Refused(
                Code.MIXED_PATIENT,
                f"The archive holds study {source} under more than one patient.",
                {"patients": len(study.patients)},
            )
        wanted = {uid for series in study.ct_series() for uid in series.sop_instance_uids}
        if not wanted:
            raise Refused(Code.NOT_CT, "The study holds no CT image.")
        for uid in sorted(wanted):
            require_uid(uid)
        self.limits.require(len(wanted), self._size(study))
        with fetching(into) as folder:
            self._fetch(study, folder, Allowance(self.limits))
            came = {path.stem for path in folder.iterdir()}
            if came != wanted:
                raise Refused(
                    INCOMPLETE,
                    f"The archive did not send what it lists of study {source}; it may be changing.",
                    {
                        "listed": len(wanted),
                        "received": len(came),
                        "missing": len(wanted - came),
                        "unlisted": len(came - wanted),
                    },
                )
            bring(folder, into / source)
        return into / source

    def fetch_instance(self, sop_instance_uid: SopUid, into: Path) -> Path | None:
        """See `Archive.fetch_instance`; the file is named by the UID."""
        return self._fetch_one(self._locate(sop_instance_uid), sop_instance_uid, into)

    def _fetch_one(self, found: list[str], sop_instance_uid: SopUid, into: Path) -> Path | None:
        """Write the one object that lies at a place to a file; see `Archive.fetch_instance`."""
        if len(found) > 1:
            raise Refused(
                Code.MIXED_PATIENT,
                f"The archive holds object {sop_instance_uid} more than once.",
                {"copies": len(found)},
            )
        if not found:
            return None
        with fetching(into) as folder:
            self._fetch_object(found[0], sop_instance_uid, folder, Allowance(self.limits))
            files = {path.stem: path for path in folder.iterdir()}
            if not files:
                return None
            if set(files) != {sop_instance_uid}:
                raise PacsFailed(f"The archive at {self._web.name} sent another object than was asked for.")
            bring(files[sop_instance_uid], into / files[sop_instance_uid].name)
        return into / f"{sop_instance_uid}.dcm"

    def as_they_came(self, sop_instance_uids: Collection[SopUid]) -> tuple[tuple[SopUid, ...], ...]:
        """See `Archive.as_they_came`: DICOMweb does not tell."""
        return (tuple(sop_instance_uids),)

    def store(self, objects: Sequence[DicomObject]) -> tuple[str, ...]:
        """Store objects that are not there yet, one request each; see `Pacs.store`.

        What the archive holds under the same UID is left as it is. An object counts as stored once the
        archive lists it and gives it back as it was sent, also where it was there already.
        """
        names = [_named(item) for item in objects]
        for number, (item, named) in enumerate(zip(objects, names, strict=True)):
            reason = self._store_one(item, named)
            if reason:
                rest = "".join(f"; {other.sop_instance_uid}: not sent" for other in objects[number + 1 :])
                raise StorageFailed(
                    f"The archive at {self._web.name} did not store {item.sop_instance_uid}: {reason}{rest}."
                )
        return tuple(item.sop_instance_uid for item in objects)

    def _store_one(self, item: DicomObject, named: Named) -> str | None:
        """Return why the archive does not hold an object in the end; None if it does."""
        reason, again = "", True
        unavailable: PacsUnavailable | None = None
        for pause in self._web.pauses():
            time.sleep(pause)
            if self._holds_the_same(item, named):  # also after no answer: it may lie there
                return None
            if not again:  # accepted, and not listed yet
                continue
            try:
                outcome = self._send(item)
            except PacsUnavailable as error:
                unavailable = error
                continue
            unavailable, reason, again = None, outcome.reason or "", outcome.again
            if reason and not again:
                return reason
        if self._holds_the_same(item, named):
            return None
        if unavailable is not None:
            raise unavailable
        return reason or "accepted, but not listed afterwards"

    def _send(self, item: DicomObject) -> stow.Outcome:
        def call() -> stow.Outcome:
            answer = self._web.session.post(
                f"{self._web.url}/studies",
                data=multipart.encode([item.content]),
                headers={"Content-Type": multipart.CONTENT_TYPE, "Accept": stow.ACCEPT},
                timeout=self._web.deadline_seconds,
            )
            outcome = stow.outcome(answer.status_code, answer.content)
            if outcome is None:
                raise self._web.refusal(answer.status_code)
            return outcome

        outcome = self._web.ask(call, attempts=1)
        if outcome.warning:
            _log.warning("the archive stored %s, but %s", item.sop_instance_uid, outcome.warning)
        return outcome

    def _size(self, study: ArchivedStudy) -> int:
        """Return how many bytes the archive says that a study's images have; 0 where it does not say."""
        return 0

    def _fetch(self, study: ArchivedStudy, folder: Path, allowance: Allowance) -> None:
        """Write the images of a study to a folder; what is not there any more is left out.

        Of a series that holds other objects too, the images are asked for one by one.
        """
        kinds = Counter(series.series_uid for series in study.series)
        for series in study.ct_series():
            path = f"/studies/{study.study_uid}/series/{series.series_uid}"
            if kinds[series.series_uid] == 1:
                self._retrieve(path, folder, allowance)
                continue
            for uid in series.sop_instance_uids:
                self._retrieve(place_of(study.study_uid, series.series_uid, uid), folder, allowance)

    def _locate(self, sop_instance_uid: SopUid) -> list[str]:
        """Return what names each copy of an object for `_fetch_object`."""
        return self._searches.places(sop_instance_uid) if is_uid(sop_instance_uid) else []

    def _where_stored(self, named: Named) -> list[str]:
        """Return where an object of ours lies, once it is listed: asked of nothing but its study."""
        return [place_of(named.study_uid, named.series_uid, named.sop_instance_uid)]

    def _fetch_object(self, place: str, sop_instance_uid: SopUid, folder: Path, allowance: Allowance) -> None:
        self._retrieve(place, folder, allowance)

    def _retrieve(self, path: str, folder: Path, allowance: Allowance) -> None:
        def take(_: int, pieces: Iterator[bytes]) -> None:
            allowance.an_object()
            write_object(folder, pieces)

        def read(answer: requests.Response) -> None:
            with allowance.attempt():
                chunks = allowance.counted(answer.iter_content(CHUNK_BYTES))
                boundary = multipart.boundary_in(answer.headers["Content-Type"])
                if boundary is None:  # some servers send a single object as it is
                    take(0, chunks)
                else:
                    multipart.read_parts(chunks, boundary, take)

        self._web.stream(path, read, AS_STORED)

    def _holds_the_same(self, item: DicomObject, named: Named) -> bool:
        """Tell whether the archive lists an object and gives it back.

        Raises
        ------
        StoredDiffers
            If another object lies under its UID.
        PacsFailed
            If the archive answered with an error, or what it gave back could not be compared.
        """
        series = self._searches.series_with(StudyUid(named.study_uid), item.sop_instance_uid)
        if not series:
            return False
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = self._fetch_one(self._where_stored(named), item.sop_instance_uid, Path(folder))
                if file is None and series & {named.series_uid, ""}:
                    return False
                same = file is not None and came_back(item.content, file)
        except Refused:  # more than one lies under the UID
            same = False
        if not same:
            raise StoredDiffers(
                item.sop_instance_uid,
                f"The archive at {self._web.name} holds another object under {item.sop_instance_uid} than "
                "was sent: find out who stored or changed it, delete it there, and segment the study again.",
            )
        return True


def by_series(instances: Iterable[tuple[SeriesUid, str, str, SopUid]]) -> tuple[ArchivedSeries, ...]:
    """Return series from (series UID, its modality, SOP class UID, SOP Instance UID) of each instance."""
    members: dict[tuple[SeriesUid, str], set[SopUid]] = {}
    modalities: dict[SeriesUid, str] = {}
    for series_uid, modality, sop_class_uid, sop_instance_uid in instances:
        kind = kind_of(sop_class_uid, modality)
        members.setdefault((series_uid, kind), set()).add(sop_instance_uid)
        modalities[series_uid] = modality
    return tuple(
        ArchivedSeries(uid, kind, tuple(sorted(members[uid, kind])), modalities[uid])
        for uid, kind in sorted(members)
    )


def _named(item: DicomObject) -> Named:
    """Return what an object that is to be stored says it is."""
    try:
        named = named_in(item.content)
    except Exception as error:  # pydicom fails in many ways
        raise StorageFailed(f"{item.sop_instance_uid} is no DICOM object; nothing was sent.") from error
    if named.sop_instance_uid != item.sop_instance_uid:
        raise StorageFailed(f"{item.sop_instance_uid} names another object inside; nothing was sent.")
    return named
