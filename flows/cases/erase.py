"""A patient taken out of all that is learnt from and judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.acts import Act, require_name, require_same_act
from flows.corrections.outcome import Outcome, note
from flows.corrections.returned_seg import UID
from flows.lineage import learnt_from, tuned_from
from models.errors import Refused
from models.uids import SopUid, StudyUid
from services.cases.features import FeatureStore
from services.cases.store import CaseStore
from services.cases.training_runs import erase_runs
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.provenance import patient_of, patient_of_image
from services.dicom.ct.series import read_series
from services.dicom.foreign.listing import read_failures
from services.pacs.port import Archive, ArchivedStudy
from services.pacs.unsent import UnsentResults
from services.pictures.kept import StudyPictures
from services.records.entries.arrivals import ArrivalState
from services.records.entries.cases import Erasure, Purpose
from services.records.events.cases import LearntFromErased, PatientErased
from services.records.port import Records
from services.releases.gate_reports import GateReports
from services.releases.scores import ScoreStore
from services.wiring import Services
from services.work_folder import work_folder


@dataclass(frozen=True)
class Erased:
    """The document of the `cases erase` verb.

    Parameters
    ----------
    patient
        HMAC of the patient.
    cases, scores
        The cases taken out, and how many scores were deleted.
    sets
        By purpose the digest of the newest frozen version that held one, which must be frozen anew.
    releases, inherited
        Those that learnt from the patient or were calibrated on it, and those tuned from them.
    approver, reason
        Whose act it is, and why.
    """

    patient: str
    cases: tuple[str, ...]
    sets: Mapping[str, str]
    scores: int
    releases: tuple[int, ...]
    inherited: tuple[int, ...]
    approver: str
    reason: str


def erase(source: str, approver: str, reason: str, services: Services) -> Erased:
    r"""Take a patient out of all that is learnt from and judged by; refused for it from then on.

    The act goes on record before a file is deleted: killed in between, the same call completes it.
    Results that were made in silence go too, and pictures of organs. Other results, the archive, and the
    numbers of corrections on record stay.

    Parameters
    ----------
    source
        The patient: PatientID (``ISSUER\ID`` where an issuer is named), or one study of the patient: its
        folder, or its UID on record or in the archive, or that of a result or correction on
        record. Only the HMAC is kept and told.
    approver, reason
        Whose act it is, and why.
    services
        What to work with.

    Raises
    ------
    Refused
        `no-name` without a name or a reason, `unknown-patient` if a PatientID is given of which no case is
        kept. A patient named by a study is refused from then on, with or without a case. `patient-erased` if
        another act did it; what that left is deleted all the same.
    StorageFailed
        If a file cannot be deleted, or read; the same call goes on.
    """
    require_name(approver, reason, "to take something back")
    patient, typed = _patient(
        source, services.archive, services.cases, services.records, services.settings.work_folder
    )
    records = services.records
    if (
        typed
        and not records.erased(patient)
        and not any(case.patient == patient for purpose in Purpose for case in records.cases(purpose))
        and not records.listed_of_patient(patient)
    ):
        detail = (
            r"no case of that patient is kept; where headers name an issuer, write ISSUER\ID; a patient "
            "without a case is named by a folder of a study, or by its UID in the archive"
        )
        raise Refused("unknown-patient", detail)
    learnt = learnt_from(patient, records)
    inherited = tuned_from(learnt, services.releases)
    erasure = records.erase_patient(patient, who=approver, reason=reason)
    _note_erased(erasure, services.cases, records)
    FeatureStore(services.cases).erase(patient)
    UnsentResults(services.settings.unsent_store).erase(patient)
    StudyPictures(services.settings.pictures_folder).erase(patient)
    records.forget_reading(patient, who=approver)
    erase_runs(services.settings.home, [case.case_id for case in erasure.cases])
    scores = 0
    for case in erasure.cases:
        services.cases.erase(case.case_id)
        scores += ScoreStore(services.settings.score_store).erase(case.digest)
    GateReports(services.releases.folder).erase_pages([case.case_id for case in erasure.cases])
    event = LearntFromErased(
        patient=patient, releases=tuple(sorted(learnt)), inherited=tuple(inherited), scores=scores
    )
    records.record(event, who=approver, key=event.key(patient))
    act = records.last(PatientErased, patient=patient)
    if act is not None:
        told = Act(act.who, act.said.reason, act.at)
        require_same_act(told, approver, reason, "patient-erased", "the patient is taken out")
    return Erased(
        patient=patient,
        cases=tuple(case.case_id for case in erasure.cases),
        sets=erasure.thawed,
        scores=scores,
        releases=event.releases,
        inherited=event.inherited,
        approver=approver,
        reason=reason,
    )


def _note_erased(erasure: Erasure, cases: CaseStore, records: Records) -> None:
    """Say with each save that came of a patient that nothing is kept of it any more."""
    gone = {case.case_id for case in erasure.cases}
    outcome = Outcome(ArrivalState.INGESTED, "patient-erased", "The patient was taken out.")
    for one in records.corrections():
        if cases.pseudonym(one.name) in gone:
            note(one.sop_instance_uid, outcome, records)


def _patient(
    source: str, archive: Archive | None, cases: CaseStore, records: Records, work: Path
) -> tuple[str, bool]:
    """Return the HMAC of the patient that is named, or whose study is; and whether only an ID was given."""
    folder = Path(source)
    if folder.is_dir():
        return _named(patient_of(load(choose_series(read_series(folder)))), cases), False
    study_uid = _study_of(source, records)
    kept = {case.case_id: case.patient for purpose in Purpose for case in records.cases(purpose)}
    for correction in records.corrections():
        case_id = cases.pseudonym(correction.name)
        if correction.study_uid == study_uid and case_id in kept:
            return kept[case_id], False
    if UID.fullmatch(study_uid) and archive is not None:
        study = archive.study(study_uid)
        if study is not None:
            return _named(_archived_patient(study, archive, work), cases), False
    return cases.pseudonym(source), True


def _study_of(source: str, records: Records) -> StudyUid:
    """Return the study of a result or correction of that UID on record; else what was given."""
    if not UID.fullmatch(source):
        return StudyUid(source)
    result = records.find_result(SopUid(source))
    corrections = records.corrections(sop_instance_uid=SopUid(source))
    return result.study_uid if result else corrections[-1].study_uid if corrections else StudyUid(source)


def _archived_patient(study: ArchivedStudy, archive: Archive, work: Path) -> str | None:
    """Return the patient of one image of a study, or of what it holds in place of images.

    The archive's list does not name the issuer.
    """
    objects = [uid for series in study.ct_series() or study.series for uid in series.sop_instance_uids]
    if not objects:
        return None
    with work_folder(work) as into:
        path = archive.fetch_instance(objects[0], into)
        with read_failures():
            return None if path is None else patient_of_image(read_series([path])[0].images[0])


def _named(patient: str | None, cases: CaseStore) -> str:
    if patient is None:
        raise Refused("unknown-patient", "the study names no patient")
    return cases.pseudonym(patient)
