"""One study of the archive: which version of it is there, fetched whole, and what came of it on record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from models.errors import OrganloopError, PacsFailed, ReadFailed, Refused
from models.series.verdict import Code
from models.uids import SopUid, StudyUid
from services.cases.store import CaseStore
from services.dicom.ct.series import SeriesReading
from services.dicom.foreign.listing import ListedFile
from services.files import storage_errors
from services.pacs.incoming import is_uid
from services.pacs.kinds import CT
from services.pacs.port import Archive, ArchivedStudy
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.events.arrivals import SiteKeyChanged, StudyRefused, StudyRenewed
from services.records.port import Arrivals, Log, Records

INCOMPLETE = "incomplete"
GONE = "study-gone"
SEVERAL_PATIENTS = "several-patients"
PATIENT_CHANGED = "patient-changed"

_KEY_DIGITS = 13
"""Of the 64 places of a pseudonym on record, the last: a point, and 12 digits that tell the key."""


def is_archived(source: str | Path) -> bool:
    """Return whether a source is the UID of a study in the archive; what is there as a path is a path."""
    return isinstance(source, str) and is_uid(source) and not Path(source).exists()


def required(archive: Archive | None) -> Archive:
    """Return the archive.

    Raises
    ------
    PacsFailed
        If no address of one is known.
    """
    if archive is None:
        raise PacsFailed(
            "no archive is known: start the local stack with `organloop up`, or set ORGANLOOP_ORTHANC_URL "
            "or ORGANLOOP_DICOMWEB_URL"
        )
    return archive


def version_of(study: ArchivedStudy) -> str:
    """Return the digest of the SOP Instance UIDs of a study's CT images; empty where there is none.

    It tells a study sent twice from one that an image came to. What else came, results too, says nothing.
    """
    images = ct_images(study)
    return sha256("\n".join(images).encode()).hexdigest() if images else ""


def by_this_program(arrival: Arrival, study: ArchivedStudy) -> Arrival:
    """Return an arrival as this program would have put it on record.

    An earlier one took for CT images whatever lay in a series that the archive calls CT, a page of dose too.
    Its version of the same objects is no sign that an image came.
    """
    listed = (one for one in study.series if (one.listed_as or one.modality) == CT)
    objects = sorted(uid for one in listed for uid in one.sop_instance_uids)
    earlier = sha256("\n".join(objects).encode()).hexdigest()
    return replace(arrival, version=version_of(study)) if arrival.version == earlier else arrival


def ct_images(study: ArchivedStudy) -> list[SopUid]:
    """Return the SOP Instance UIDs of a study's CT images, sorted."""
    return sorted(uid for one in study.ct_series() for uid in one.sop_instance_uids)


def patient_fault(
    study: ArchivedStudy, arrival: Arrival | None, cases: CaseStore, log: Log
) -> Refused | None:
    """Return why results must not be stored for the patient under whom the archive holds a study now.

    Results of the same images have the same UIDs, whoever the patient is: sent again after a merge, they
    would be two objects under one UID.

    Parameters
    ----------
    study
        As the archive lists it.
    arrival
        What is on record of it.
    cases
        The site's key makes the pseudonym.
    log
        Is told where another key made the one on record.
    """
    if len(study.patients) > 1:
        detail = (
            f"The archive holds the study under {len(study.patients)} patients; one is to be merged away."
        )
        return Refused(SEVERAL_PATIENTS, detail, {"patients": len(study.patients)})
    if arrival is None or not arrival.patient:
        return None
    known, now = arrival.patient, pseudonym(study, cases)
    if _key_of(known) not in ("", _key_of(now)):
        event = SiteKeyChanged(before=_key_of(known), now=_key_of(now))
        log.record(event, who="arrivals", key=event.key(event.before, event.now))
        return None  # nobody can say any more who it was
    if known[: len(now) - _KEY_DIGITS] != now[: len(now) - _KEY_DIGITS]:
        detail = "Results were stored under another PatientID; they are not sent again under the new one."
        return Refused(PATIENT_CHANGED, detail)
    return None


def pseudonym(study: ArchivedStudy, cases: CaseStore) -> str:
    """Return the HMAC of the one PatientID under which the archive holds a study, then which key made it."""
    (patient,) = study.patients
    which = cases.pseudonym(SiteKeyChanged.what)[: _KEY_DIGITS - 1]
    return f"{cases.pseudonym(patient)[: 64 - _KEY_DIGITS]}.{which}"


def _key_of(patient: str) -> str:
    """Return which key made a pseudonym; empty for those made before it was kept."""
    return patient.partition(".")[2]


def fetch(
    study_uid: StudyUid, into: Path, archive: Archive, cases: CaseStore, records: Records
) -> tuple[ArchivedStudy, list[ListedFile]]:
    """Fetch a study, and make sure that it is one thing: whole, of one patient, and nothing came meanwhile.

    Returns
    -------
    tuple
        The study as the archive lists it, and the files of its CT images, as they came. What else is in it,
        our own results too, must not change what is said of the images: a repeated step would make other
        objects.

    Raises
    ------
    Refused
        `study-gone`, `several-patients`, `patient-changed`, `not-ct`; `incomplete` if less came than is
        listed or an image arrived meanwhile; `missing-uid` if a SOP Instance UID is none, which holds for
        this version and is put on record, as does `too-large`.
    PacsFailed
        If the archive answered with an error, or not at all.
    StorageFailed
        If the files cannot be written.
    """
    before = _listed(study_uid, archive, cases, records)
    try:
        folder = archive.fetch_study(study_uid, into)
    except Refused as refused:
        if refused.code in (Code.MISSING_UID, Code.TOO_LARGE):
            note_refused(before, refused, records)
        raise
    after = _listed(study_uid, archive, cases, records)
    images = ct_images(after)
    if not images:
        raise Refused(Code.NOT_CT, "The study holds no CT image.")
    with storage_errors("What came from the archive"):
        came = [ListedFile.of(path) for path in (folder / f"{uid}.dcm" for uid in images) if path.exists()]
    if len(came) < len(images) or version_of(before) != version_of(after):
        measured = {"listed": len(images), "listed_before": len(ct_images(before)), "came": len(came)}
        raise Refused(INCOMPLETE, "CT images arrived, or went, while the study was fetched.", measured)
    return after, came


def require_all_read(
    study: ArchivedStudy, readings: Sequence[SeriesReading], used: SeriesReading | None = None
) -> None:
    """Make sure that every image the archive lists of a series was read: used, or set aside by a rule.

    Parameters
    ----------
    study
        As it was listed when it was fetched.
    readings
        All series, as they were read.
    used
        The one that is segmented; None: any of which an image was read.

    Raises
    ------
    ReadFailed
        If an image is broken, or its file no image: here it is known to which series it belongs.
    """
    aside = {each.sop_instance_uid for one in readings for each in one.set_aside}
    read = aside.union(*map(_uids, readings))
    wanted = read if used is None else _uids(used)
    for series in study.ct_series():
        listed = set(series.sop_instance_uids)
        if listed & wanted and listed - read:
            raise ReadFailed(
                f"{len(listed - read)} of the {len(listed)} images that the archive lists of series "
                f"{series.series_uid} came and cannot be read: look at them in the archive."
            )


def _uids(reading: SeriesReading) -> set[str]:
    return {facts.sop_instance_uid for facts in reading.facts}


def _listed(study_uid: StudyUid, archive: Archive, cases: CaseStore, records: Records) -> ArchivedStudy:
    study = archive.study(study_uid)
    if study is None:
        raise Refused(GONE, "The archive holds no such study.")
    fault = patient_fault(study, records.arrival(study_uid), cases, records)
    if fault is not None:
        raise fault
    return study


def renewed(arrival: Arrival, version: str) -> bool:
    """Return whether these are other images than those an earlier version's results were made from."""
    return bool(arrival.patient and version and arrival.version not in ("", version))


def renewal_key(study_uid: StudyUid, version: str) -> str:
    """Return the key under which a version's event `study-renewed` is on record, once."""
    return StudyRenewed.key(study_uid, version)


def what_changed(study: ArchivedStudy, records: Records) -> tuple[str, ...]:
    """Return what the reader is told where the images changed after results were stored; empty elsewhere.

    It is put on record when it is first seen, so that a repeated step says the same.
    """
    uid, version = study.study_uid, version_of(study)
    known = records.arrival(uid)
    if known is not None and renewed(by_this_program(known, study), version):
        event = StudyRenewed(uid=uid, study_uid=uid, version=version)
        records.record(event, who="segment_study", key=renewal_key(uid, version))
    return tuple(
        f"The CT images of the study changed: results from before {one.at:%Y-%m-%d %H:%M} know other images."
        for one in records.all(StudyRenewed, uid=uid, version=version)
    )


def note_segmented(study: ArchivedStudy, cases: CaseStore, arrivals: Arrivals) -> None:
    """Put on record that results of this version are in the archive, and under which patient."""
    patient = pseudonym(study, cases)
    _settle(study, arrivals, patient=patient, state=ArrivalState.SEGMENTED, code="", detail="")


def note_made(study: ArchivedStudy, code: str, detail: str, arrivals: Arrivals) -> None:
    """Put on record that results of this version were made and are kept here, unless they are archived."""
    _settle(study, arrivals, state=ArrivalState.MADE, code=code, detail=detail)


def note_refused(study: ArchivedStudy, refused: Refused, arrivals: Arrivals) -> None:
    """Put on record that this version was refused, and why."""
    _settle(study, arrivals, refused, state=ArrivalState.REFUSED, code=refused.code, detail=refused.detail)


def note_failed(uid: StudyUid | SopUid, error: OrganloopError, arrivals: Arrivals) -> None:
    """Put on record why the run of what was submitted ended; a study, or a SEG, is tried again."""
    before = arrivals.arrival(uid)
    if before is None or before.state is not ArrivalState.SUBMITTED:
        return
    named = error.code if isinstance(error, Refused) else type(error).__name__
    code = re.sub(r"(?<=.)(?=[A-Z])", "-", named).lower()
    arrivals.change_arrival(before, replace(before, code=code, detail=str(error)))


def _settle(study: ArchivedStudy, arrivals: Arrivals, refused: Refused | None = None, **settled: Any) -> None:
    """Write what came of a version; where another version is on record, its state is left alone."""
    uid, version = study.study_uid, version_of(study)
    while True:
        before = arrivals.arrival(uid)
        after = by_this_program(before or Arrival(uid, uid), study)
        sent = after.state is ArrivalState.SEGMENTED and after.version == version
        if sent and settled["state"] is ArrivalState.MADE:
            return
        if after.version in ("", version):
            after = replace(after, **settled, version=version)
        else:
            after = replace(after, patient=settled.get("patient", after.patient))
        event, key = None, None
        if refused is not None:
            event = StudyRefused(
                uid=uid, study_uid=uid, code=after.code, detail=refused.detail, measured=refused.measured
            )
            key = event.key(uid, version)
        if arrivals.change_arrival(before, after, event=event, key=key):
            return  # else the watcher changed it meanwhile
