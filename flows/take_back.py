"""Acts that take something back: a correction withdrawn, a patient taken out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread

from flows.acts import newest, require_same_act
from flows.correction_outcome import Outcome, note
from flows.correction_sums import edited_by_reader
from flows.gate_trial import CANDIDATE_CALIBRATED, CANDIDATE_TRAINED, CANDIDATE_TUNED
from flows.returned_seg import UID
from models.errors import Refused
from models.uids import SopUid, StudyUid
from services.cases.features import FeatureStore
from services.cases.training_runs import erase_runs
from services.cases.words import UNCHANGED, ReadersDisagree, teaches, teaching_words, valid_words
from services.dicom.listing import read_failures
from services.dicom.provenance import patient_of, patient_of_image
from services.dicom.series import choose_series, load, read_series
from services.pacs.port import ArchivedStudy
from services.records.port import ArrivalState, Correction, Erasure, Purpose, Records
from services.releases.gate_reports import GateReports
from services.releases.scores import ScoreStore
from services.releases.store import ReleaseStore
from services.wiring import Services
from services.work_folder import work_folder

LEARNT_FROM = (CANDIDATE_TUNED, CANDIDATE_TRAINED, CANDIDATE_CALIBRATED)
"""Events that name a release and the patients it learnt from or was calibrated on."""

ERASED = "releases-learnt-from-erased"
"""Event: the releases that learnt from a patient who was taken out."""


def withdraw(
    sop_instance_uid: SopUid,
    reader: str,
    reason: str,
    records: Records,
    releases: ReleaseStore,
    policy: ReadersDisagree = ReadersDisagree.ASK,
) -> dict[str, Any]:
    """Take a correction out of all tuning to come; it stays on record, and so does who took it back.

    Returns
    -------
    dict
        The document of the `withdraw` verb: ``sop_instance_uid, study_uid, versions, organs, releases,
        inherited, instead, reader, reason``; organs are those that were edited, releases those that learnt
        from it already, inherited those tuned from them, and instead ``[{organ, correction}]`` whose word
        counts now of organs it spoke of: it counts as never said.

    Raises
    ------
    Refused
        `no-name` without a name or a reason, `unknown-correction` if there is none of that UID, `withdrawn`
        if another act took all of it back.
    """
    _require_act(reader, reason)
    taken = records.withdraw(sop_instance_uid, reader=reader, reason=reason)
    act = newest(records.events("correction-withdrawn"), sop_instance_uid=sop_instance_uid)
    if act is not None:
        require_same_act(act, reader, reason, "withdrawn", "the correction is withdrawn")
    note(sop_instance_uid, Outcome(ArrivalState.INGESTED, "withdrawn", "It was taken back."), records)
    edited = {entry.organ for one in taken for entry in edited_by_reader(one)}
    names = {one.name for one in taken}
    learnt = {number for number in releases.numbers() if names & set(releases.release(number).corrections)}
    return {
        "sop_instance_uid": sop_instance_uid,
        "study_uid": taken[-1].study_uid,
        "versions": [one.version for one in taken],
        "organs": sorted(edited),
        "releases": sorted(learnt),
        "inherited": _tuned_from(learnt, releases),
        "instead": _instead(taken, records, policy),
        "reader": reader,
        "reason": reason,
    }


def _instead(taken: Sequence[Correction], records: Records, policy: ReadersDisagree) -> list[dict[str, str]]:
    """Return whose word counts of the organs that a withdrawn correction names."""
    spoken = {
        entry.organ for one in taken for entry in one.organs if teaches(entry) or one.status == UNCHANGED
    }
    words = valid_words(records.corrections(series_uid=taken[-1].series_uid))
    counting, _ = teaching_words(words, records.agreements(), policy)
    return [
        {"organ": organ, "correction": word.correction.name}
        for (_, organ), word in counting.items()
        if organ in spoken and teaches(word.entry)
    ]


def erase(source: str, approver: str, reason: str, services: Services) -> dict[str, Any]:
    r"""Take a patient out of all that is learnt from and judged by; refused for it from then on.

    The act goes on record before a file is deleted: killed in between, the same call completes it.
    Results, the archive, and the numbers of corrections on record stay.

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

    Returns
    -------
    dict
        The document of the `cases erase` verb: ``patient``, the HMAC; ``cases`` taken out; ``sets``, by
        purpose the digest of the newest frozen version that held one, which must be frozen anew;
        ``scores`` deleted; ``releases`` that learnt from the patient or were calibrated on it, and
        ``inherited``, those tuned from them; ``approver, reason``.

    Raises
    ------
    Refused
        `no-name` without a name or a reason, `unknown-patient` if a PatientID is given of which no case is
        kept. A patient named by a study is refused from then on, with or without a case. `patient-erased` if
        another act did it; what that left is deleted all the same.
    StorageFailed
        If a file cannot be deleted, or read; the same call goes on.
    """
    _require_act(approver, reason)
    patient, typed = _patient(source, services)
    records = services.records
    if (
        typed
        and not records.erased(patient)
        and not any(case.patient == patient for purpose in Purpose for case in records.cases(purpose))
    ):
        detail = (
            r"no case of that patient is kept; where headers name an issuer, write ISSUER\ID; a patient "
            "without a case is named by a folder of a study, or by its UID in the archive"
        )
        raise Refused("unknown-patient", detail)
    learnt = _learnt_from(patient, records)
    inherited = _tuned_from(learnt, services.releases)
    erasure = records.erase_patient(patient, who=approver, reason=reason)
    _note_erased(erasure, services)
    FeatureStore(services.cases).erase(patient)
    erase_runs(services.settings.home, [case["case_id"] for case in erasure.cases])
    scores = 0
    for case in erasure.cases:
        services.cases.erase(case["case_id"])
        scores += ScoreStore(services.settings.score_store).erase(case["digest"])
    GateReports(services.releases.folder).erase_pages([case["case_id"] for case in erasure.cases])
    payload = {"patient": patient, "releases": sorted(learnt), "inherited": inherited, "scores": scores}
    records.event(ERASED, who=approver, payload=payload, key=f"{ERASED}:{patient}")
    act = newest(records.events("patient-erased"), patient=patient)
    if act is not None:
        require_same_act(act, approver, reason, "patient-erased", "the patient is taken out")
    return {
        "patient": patient,
        "cases": [case["case_id"] for case in erasure.cases],
        "sets": dict(erasure.thawed),
        "scores": scores,
        "releases": sorted(learnt),
        "inherited": inherited,
        "approver": approver,
        "reason": reason,
    }


def _note_erased(erasure: Erasure, services: Services) -> None:
    """Say with each save that came of a patient that nothing is kept of it any more."""
    gone = {case["case_id"] for case in erasure.cases}
    outcome = Outcome(ArrivalState.INGESTED, "patient-erased", "The patient was taken out.")
    for one in services.records.corrections():
        if services.cases.pseudonym(one.name) in gone:
            note(one.sop_instance_uid, outcome, services.records)


def _require_act(name: str, reason: str) -> None:
    if not name.strip() or not reason.strip():
        raise Refused("no-name", "to take something back is an act with a name and a reason")


def _patient(source: str, services: Services) -> tuple[str, bool]:
    """Return the HMAC of the patient that is named, or whose study is; and whether only an ID was given."""
    folder = Path(source)
    if folder.is_dir():
        return _named(patient_of(load(choose_series(read_series(folder)))), services), False
    study_uid = _study_of(source, services.records)
    kept = {case.case_id: case.patient for purpose in Purpose for case in services.records.cases(purpose)}
    for correction in services.records.corrections():
        case_id = services.cases.pseudonym(correction.name)
        if correction.study_uid == study_uid and case_id in kept:
            return kept[case_id], False
    if UID.fullmatch(study_uid) and services.archive is not None:
        study = services.archive.study(study_uid)
        if study is not None:
            return _named(_archived_patient(study, services), services), False
    return services.cases.pseudonym(source), True


def _study_of(source: str, records: Records) -> StudyUid:
    """Return the study of a result or correction of that UID on record; else what was given."""
    if not UID.fullmatch(source):
        return StudyUid(source)
    result = records.find_result(SopUid(source))
    corrections = records.corrections(sop_instance_uid=SopUid(source))
    return result.study_uid if result else corrections[-1].study_uid if corrections else StudyUid(source)


def _archived_patient(study: ArchivedStudy, services: Services) -> str | None:
    """Return the patient of one image of a study; the archive's list does not name the issuer."""
    images = [uid for series in study.series if series.modality == "CT" for uid in series.sop_instance_uids]
    if services.archive is None or not images:
        return None
    with work_folder(services.settings.work_folder) as into:
        path = services.archive.fetch_instance(images[0], into)
        with read_failures():
            return None if path is None else patient_of_image(dcmread(path, stop_before_pixels=True))


def _named(patient: str | None, services: Services) -> str:
    if patient is None:
        raise Refused("unknown-patient", "the study names no patient")
    return services.cases.pseudonym(patient)


def _learnt_from(patient: str, records: Records) -> set[int]:
    """Return the releases that learnt from a patient or were calibrated on it."""
    return {
        int(event.payload["release"])
        for kind in LEARNT_FROM
        for event in records.events(kind)
        if patient in event.payload["patients"]
    }


def _tuned_from(learnt: set[int], releases: ReleaseStore) -> list[int]:
    """Return the releases that come of these and did not learn the same themselves."""
    inherited: set[int] = set()
    for number in sorted(releases.numbers()):
        parent = releases.release(number).parent
        if number not in learnt and parent is not None and parent in learnt | inherited:
            inherited.add(number)
    return sorted(inherited)
