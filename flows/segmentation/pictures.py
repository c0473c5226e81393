"""Pictures of a result for its readers, made while the CT is in memory."""

from __future__ import annotations

from models.findings import StudyFindings
from services.cases.store import CaseStore
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.provenance import patient_of
from services.pictures.kept import StudyPictures
from services.pictures.organ_views import organ_views
from services.records.port import Cases


def keep_pictures(
    key: str,
    series: CTSeries,
    findings: StudyFindings,
    pictures: StudyPictures,
    cases: CaseStore,
    known: Cases,
) -> None:
    """Make the pictures of a result and keep them; none of a patient who was taken out.

    Parameters
    ----------
    key
        Of the result.
    series, findings
        What is shown.
    pictures
        Where to.
    cases, known
        The site's key makes the pseudonym; who was taken out.

    Raises
    ------
    StorageFailed
        If they cannot be kept.
    """
    patient = cases.pseudonym(patient_of(series) or "")
    if known.erased(patient):
        return
    pictures.keep(patient, key, organ_views(series, findings))
    if known.erased(patient):  # while they were made
        pictures.erase(patient)
