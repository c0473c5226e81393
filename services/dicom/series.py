"""From files to CT series: grouped, judged, put in order, and read as Hounsfield units."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from models.errors import Refused, StorageFailed
from models.geometry import Geometry
from models.slice_facts import SliceFacts
from models.stack import judge
from models.verdict import Code, GeometryVerdict, Verdict
from models.volume import Volume
from services.dicom.headers import UNREADABLE, as_written, facts_of, files_under, read_header
from services.dicom.identity import hashed_uid
from services.dicom.pixels import PaddingTally, hounsfield

AXIAL_COSINE = 0.7
"""A slice normal closer to the body's axis than 45 degrees makes an axial series, tilted or not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SeriesReading:
    """One series as its headers show it; no pixels were read.

    Parameters
    ----------
    study_uid, series_uid
        Identifiers; empty where the images bear none.
    verdict
        The verdict from the headers; `load` may still refuse for the pixels.
    geometry
        Grid of the volume; None exactly when refused.
    images
        Headers without pixels: in k order, those that make the volume; all of them when refused.
    paths
        Files of the images, in the same order.
    facts
        What the verdict was made from, in the same order.
    """

    study_uid: str
    series_uid: str
    verdict: GeometryVerdict
    geometry: Geometry | None
    images: tuple[Dataset, ...]
    paths: tuple[Path, ...]
    facts: tuple[SliceFacts, ...]


@dataclass(frozen=True, eq=False)
class CTSeries:
    """A CT series fit to be segmented.

    Parameters
    ----------
    study_uid, series_uid, frame_of_reference_uid
        Identifiers. Where the images name no frame of reference, one is made from the series UID,
        and the headers in `images` bear it.
    volume
        Hounsfield units with their geometry.
    images
        Headers without pixels, one per slice, in k order.
    verdict
        `ok` or `repaired`, with all notes.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    volume: Volume
    images: tuple[Dataset, ...]
    verdict: GeometryVerdict


def read_series(sources: Path | Iterable[Path]) -> list[SeriesReading]:
    """Group DICOM files by series and judge each from its headers.

    Parameters
    ----------
    sources
        Folders, searched at any depth, and files. DICOMDIRs and files that are not DICOM are passed
        over and counted in the log; files without preamble are tried. DICOM files that are broken
        are noted in every verdict, since they may have been any series' last slice.

    Returns
    -------
    list of SeriesReading
        One per series, sorted by study and series UID; never empty.

    Raises
    ------
    Refused
        `not-dicom` if there is no DICOM object at all.
    StorageFailed
        If a file cannot be read.
    """
    groups: dict[str, list[tuple[Path, Dataset, SliceFacts]]] = defaultdict(list)
    files = others = broken = 0
    for path in files_under(sources):
        files += 1
        try:
            header = read_header(path)
        except InvalidDicomError:
            broken += 1
            continue
        except OSError as error:
            raise StorageFailed(f"A file cannot be read: {error.strerror}.") from error
        if header is None:
            others += 1
            continue
        facts = facts_of(header)
        groups[facts.series_uid].append((path, header, facts))
    if not groups:
        raise _nothing(sources, files)
    if others:
        log.info("%d of %d files are no DICOM objects and were passed over", others, files)
    notes = (f"{broken} DICOM file(s) of {files} are broken and belong to no series.",) if broken else ()
    readings = [_judged(members, notes) for members in groups.values()]
    return sorted(readings, key=lambda reading: (reading.study_uid, reading.series_uid))


def load(reading: SeriesReading) -> CTSeries:
    """Read the pixels of a series whose headers were judged fit.

    Returns
    -------
    CTSeries
        HU as int16, exact, where all slopes and intercepts are whole numbers; float32 elsewhere.

    Raises
    ------
    Refused
        With the reading's own code if it was refused, or `bad-pixel-data`.
    """
    geometry = usable_geometry(reading)
    hu: NDArray[Any] = np.empty(geometry.shape, dtype=_hu_type(reading.facts))
    verdict = _with_pixels(reading, hu)
    frame = reading.facts[0].frame_of_reference_uid
    images = reading.images
    if not frame:
        frame = hashed_uid("frame-of-reference", reading.series_uid)
        images = tuple(_in_frame(image, frame) for image in images)
    return CTSeries(reading.study_uid, reading.series_uid, frame, Volume(hu, geometry), images, verdict)


def checked(reading: SeriesReading) -> GeometryVerdict:
    """Return the full verdict on a series: the headers' and, where these are fit, the pixels'."""
    if reading.verdict.refused:
        return reading.verdict
    try:
        return _with_pixels(reading, None)
    except Refused as refusal:
        return GeometryVerdict(
            Verdict.REFUSED, Code(refusal.code), refusal.detail, refusal.measured, reading.verdict.notes
        )


def check_folder(path: Path) -> list[dict[str, Any]]:
    """Return the verdict on every series under a path, as plain values (the `check` verb).

    Returns
    -------
    list of dict
        ``series_uid, verdict, code, detail, measured, notes, shape, spacing_mm``; code, shape and
        spacing are None where there is none. Shape and spacing run along (k, j, i).

    Raises
    ------
    Refused
        `not-dicom` if there is no DICOM object at all.
    """
    report = []
    for reading in read_series(path):
        verdict = checked(reading)
        geometry = None if verdict.refused else reading.geometry
        report.append(
            {
                "series_uid": reading.series_uid,
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


def choose_series(readings: Sequence[SeriesReading]) -> SeriesReading:
    """Return the series of a study to segment, with the reason among its notes.

    Axial goes before other orientations, original before re-encoded images, then most slices, then
    the smallest step; the series UID settles what is left, so the choice never depends on the order
    of files.

    Raises
    ------
    Refused
        If none is fit: with the code of the series that came furthest in the order of precedence
        (of these, the largest). `several-studies` if the readings are not of one study.
    """
    usable = [reading for reading in readings if not reading.verdict.refused]
    if not usable:
        precedence = list(Code)
        usable_geometry(
            max(readings, key=lambda r: (precedence.index(r.verdict.code or precedence[0]), len(r.paths)))
        )
    studies = len({reading.study_uid for reading in readings})
    if studies > 1:
        raise Refused("several-studies", f"There are {studies} studies; name one.", {"studies": studies})
    chosen = min(usable, key=_preference)
    if len(readings) == 1:
        return chosen
    why = (
        f"Chosen of {len(readings)} series, {len(usable)} of them fit: axial, original, most slices "
        f"({len(chosen.paths)}), then thinnest."
    )
    return replace(chosen, verdict=replace(chosen.verdict, notes=(*chosen.verdict.notes, why)))


def usable_geometry(reading: SeriesReading) -> Geometry:
    """Return the grid of a series fit to be segmented; raise its `Refused` otherwise."""
    if reading.geometry is None:
        verdict = reading.verdict
        raise Refused(str(verdict.code), verdict.detail, verdict.measured)
    return reading.geometry


def _preference(reading: SeriesReading) -> tuple[bool, bool, int, float, str]:
    """Return what `choose_series` sorts by, the preferred first."""
    geometry, image_type = usable_geometry(reading), reading.facts[0].image_type
    normal = np.cross(geometry.affine[:3, 2], geometry.affine[:3, 1])
    axial = abs(normal[2]) > AXIAL_COSINE * float(np.linalg.norm(normal))
    original = image_type[0].upper() == "ORIGINAL"
    return (not axial, not original, -len(reading.paths), geometry.spacing_mm[0], reading.series_uid)


def _judged(members: Sequence[tuple[Path, Dataset, SliceFacts]], notes: tuple[str, ...]) -> SeriesReading:
    paths, images, facts = zip(*members, strict=True)
    judgement = judge(facts, lambda n: _content(paths[n]))
    order = judgement.order or range(len(members))
    return SeriesReading(
        study_uid=facts[0].study_uid,
        series_uid=facts[0].series_uid,
        verdict=replace(judgement.verdict, notes=judgement.verdict.notes + notes),
        geometry=judgement.geometry,
        images=tuple(images[n] for n in order),
        paths=tuple(paths[n] for n in order),
        facts=tuple(facts[n] for n in order),
    )


@as_written()
def _content(path: Path) -> str:
    """Return a digest of the stored pixels and their rescale, as they are coded in the file."""
    try:
        dataset = dcmread(path, force=True)
        parts = [dataset.get(name) for name in ("PixelData", "RescaleSlope", "RescaleIntercept")]
    except UNREADABLE:
        parts = [path.read_bytes()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _hu_type(facts: Sequence[SliceFacts]) -> type[np.int16] | type[np.float32]:
    whole = all((s.slope or 0.0).is_integer() and (s.intercept or 0.0).is_integer() for s in facts)
    return np.int16 if whole else np.float32


def _with_pixels(reading: SeriesReading, into: NDArray[Any] | None) -> GeometryVerdict:
    """Read every slice, into an array (k, row, column) if one is given; return the full verdict."""
    tally = PaddingTally()
    for k, (path, facts) in enumerate(zip(reading.paths, reading.facts, strict=True)):
        hu = hounsfield(path, facts, tally)
        if into is not None:
            into[k] = hu
    return replace(reading.verdict, notes=reading.verdict.notes + tally.notes())


def _in_frame(image: Dataset, frame_of_reference_uid: str) -> Dataset:
    named = copy.deepcopy(image)  # a shallow copy shares its elements
    named.FrameOfReferenceUID = frame_of_reference_uid
    return named


def _nothing(sources: Path | Iterable[Path], files: int) -> Refused:
    if isinstance(sources, Path) and not sources.exists():
        return Refused(Code.NOT_DICOM, "There is no such file or folder.")
    if not files:
        return Refused(Code.NOT_DICOM, "The folder is empty.", {"files": 0})
    what = "The file is" if files == 1 else f"All {files} files are"
    return Refused(Code.NOT_DICOM, f"{what} not DICOM.", {"files": files})
