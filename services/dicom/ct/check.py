"""What the `check` verb says: the full verdict on every series, headers and pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.errors import Refused
from models.series.slice_spacing import Require
from models.series.verdict import Code, GeometryVerdict, Verdict
from models.uids import is_uid
from services.dicom.ct.loaded import with_pixels
from services.dicom.ct.series import SeriesReading, read_series


def checked(reading: SeriesReading) -> GeometryVerdict:
    """Return the full verdict on a series: the headers' and, where these are fit, the pixels'."""
    if reading.verdict.refused:
        return reading.verdict
    try:
        return with_pixels(reading, None)
    except Refused as refusal:
        return GeometryVerdict(
            Verdict.REFUSED, Code(refusal.code), refusal.detail, refusal.measured, reading.verdict.notes
        )


def check_folder(
    path: Path, *, makes_identifiers: bool = False, require: Require | None = None
) -> list[dict[str, Any]]:
    """Return the verdict on every series under a path, as plain values.

    Parameters
    ----------
    path
        Folder, searched at any depth, or file.
    makes_identifiers, require
        As `read_series`.

    Returns
    -------
    list of dict
        ``series_uid, verdict, code, detail, measured, notes, shape, spacing_mm``; a series UID that is
        none is empty; code, shape and
        spacing are None where there is none. Shape and spacing run along (k, j, i).

    Raises
    ------
    Refused
        As `read_series`.
    """
    report = []
    for reading in read_series(path, makes_identifiers=makes_identifiers, require=require):
        verdict = checked(reading)
        geometry = None if verdict.refused else reading.geometry
        report.append(
            {
                "series_uid": reading.series_uid if is_uid(reading.series_uid) else "",
                "verdict": str(verdict.verdict),
                "code": None if verdict.code is None else str(verdict.code),
                "detail": verdict.detail,
                "measured": dict(verdict.measured),
                "notes": list(verdict.notes),
                "shape": None if geometry is None else list(geometry.shape),
                "spacing_mm": None if geometry is None else [round(mm, 6) for mm in geometry.spacing_mm],
            }
        )
    return report
