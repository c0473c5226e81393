"""Whose a CT series is and where it was scanned, as the case store wants it."""

from __future__ import annotations

from services.dicom.series import CTSeries


def patient_of(ct: CTSeries) -> str:
    """Return PatientID; a study whose patient is not named is a patient of its own."""
    return str(ct.images[0].get("PatientID") or ct.study_uid)


def site_of(ct: CTSeries) -> str:
    """Return InstitutionName (PS3.3 C.7.5.1), empty if the headers do not say."""
    return str(ct.images[0].get("InstitutionName") or "").strip()
