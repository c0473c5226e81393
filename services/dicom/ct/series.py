"""From files to CT series: grouped, judged by their headers, and put in order."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from models.errors import Refused
from models.geometry import Geometry
from models.series.slice_facts import SliceFacts
from models.series.slice_spacing import Repair, Require, judge
from models.series.terms import MODALITIES, term
from models.series.verdict import Code, GeometryVerdict
from models.uids import SeriesUid, SopUid, StudyUid
from services.dicom.ct.headers import Known, facts_of, read_header
from services.dicom.ct.made_identifiers import make_identifiers
from services.dicom.foreign.bounded_file import TooLargeFile
from services.dicom.foreign.kept import Weight, weight_of
from services.dicom.foreign.limits import SOURCE_BYTES, SOURCE_OBJECTS
from services.dicom.foreign.listing import ListedFile, files_under, read_failures
from services.dicom.foreign.reader import ILLEGIBLE, as_written, opened
from services.dicom.foreign.rehearsal import rehearse_images

OBJECTS_LIMIT = 20_000
"""The most DICOM objects read from one source; their headers are held in memory together."""

_TOLD = {
    "broken": "DICOM file(s) of {} are broken",
    "too large": "DICOM file(s) of {} are larger than any CT image",
    "lost": "file(s) of {} are links that lead nowhere",
}
"""What every verdict says of files that belong to no series, by kind; the number of all files goes in."""

log = logging.getLogger(__name__)

_Member = tuple[ListedFile, Dataset, SliceFacts]
"""A file of a series, its header, and what that says."""


@dataclass(frozen=True)
class SetAside:
    """An object under the series UID that is no slice of the volume.

    Parameters
    ----------
    sop_instance_uid
        As it is written; it need be no UID.
    modality
        Term of the standard.
    code
        Why: `not-ct`, `localizer-excluded`, or `duplicate-positions` for the copy of a slice.
    copy_of
        SOP Instance UID of the slice that it is a copy of; else None.
    """

    sop_instance_uid: SopUid
    modality: str
    code: Code
    copy_of: SopUid | None = None


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
    files
        Files of the images, in the same order.
    facts
        What the verdict was made from, in the same order.
    set_aside
        What else lies under the series UID and is not used; the notes say why.
    """

    study_uid: StudyUid
    series_uid: SeriesUid
    verdict: GeometryVerdict
    geometry: Geometry | None
    images: tuple[Dataset, ...]
    files: tuple[ListedFile, ...]
    facts: tuple[SliceFacts, ...]
    set_aside: tuple[SetAside, ...] = ()

    @property
    def is_ct(self) -> bool:
        """Whether it is, or may be, of CT images."""
        return self.facts[0].may_be_ct

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the images lie, in the same order."""
        return tuple(file.path for file in self.files)


@read_failures()
def read_series(
    sources: Path | Iterable[Path | ListedFile],
    *,
    makes_identifiers: bool = False,
    require: Require | None = None,
) -> list[SeriesReading]:
    """Group DICOM files by series and judge each from its headers.

    Parameters
    ----------
    sources
        A folder, searched at any depth, or a file; or several that are named, and then each is read.
        DICOMDIRs and files that are not DICOM are passed
        over and counted in the log; files without preamble are tried. DICOM files that are broken, or
        larger than any CT image, are noted in every verdict, since they may have been any series' last
        slice.
    makes_identifiers
        Whether missing identifiers are made (`services.dicom.ct.made_identifiers`), which only a person
        may ask for; such a series is `repaired`, code `missing-uid`.
    require
        Of a series that is to be segmented, as `models.series.slice_spacing.judge`.

    Returns
    -------
    list of SeriesReading
        One per series, sorted by study and series UID; never empty.

    Raises
    ------
    Refused
        `not-dicom` if there is no DICOM object at all; `too-large` if all there is are files over the
        limit, or there are more than `OBJECTS_LIMIT` objects.
    ReadFailed
        If a file vanished, was changed or cannot be read: no series is shorter for that.
    """
    found: list[tuple[ListedFile, Dataset]] = []
    passed_over = dict.fromkeys(("files", "others", *_TOLD), 0)
    files = list(files_under(sources))
    too_large, held = _rehearsed(files), Weight()
    for file in files:
        passed_over["files"] += 1
        if file.state is None:
            passed_over["lost"] += 1
            continue
        if file.path in too_large:
            passed_over["too large"] += 1
            continue
        try:
            header = read_header(file.path, file.state)
        except TooLargeFile:
            passed_over["too large"] += 1
        except InvalidDicomError:
            passed_over["broken"] += 1
        else:
            if header is None:
                passed_over["others"] += 1
            else:
                found.append((file, header))
                held += weight_of(header)
        if held.exceeds(SOURCE_OBJECTS, SOURCE_BYTES):
            raise _too_much("The headers hold more than those of any study.")
        if len(found) > OBJECTS_LIMIT:
            limit = {"objects_limit": OBJECTS_LIMIT}
            raise Refused(Code.TOO_LARGE, f"There are over {OBJECTS_LIMIT} DICOM objects.", limit)
    if not found:
        raise _nothing(sources, passed_over)
    made = make_identifiers([(file.path, header) for file, header in found]) if makes_identifiers else {}
    groups: dict[str, list[_Member]] = defaultdict(list)
    known: Known = {}
    for file, header in found:
        facts = facts_of(header, known)
        groups[facts.series_uid].append((file, header, facts))
    notes = _notes_on(passed_over)
    readings = [_judged(members, notes, made.get(uid), require) for uid, members in groups.items()]
    return sorted(readings, key=lambda reading: (reading.study_uid, reading.series_uid))


def _rehearsed(files: Sequence[ListedFile]) -> frozenset[Path]:
    """Return the files that are too large, as a child found that read them; refuse what ended it."""
    try:
        return rehearse_images([file for file in files if file.state is not None])
    except TooLargeFile as error:
        raise _too_much(f"To read the headers takes more than those of any study: {error}.") from error


def _too_much(detail: str) -> Refused:
    return Refused(Code.TOO_LARGE, detail, {"limit_objects": SOURCE_OBJECTS, "limit_bytes": SOURCE_BYTES})


def usable_geometry(reading: SeriesReading) -> Geometry:
    """Return the grid of a series fit to be segmented; raise its `Refused` otherwise."""
    if reading.geometry is None:
        verdict = reading.verdict
        raise Refused(str(verdict.code), verdict.detail, verdict.measured)
    return reading.geometry


def _judged(
    members: Sequence[_Member], notes: tuple[str, ...], made: Repair | None, require: Require | None
) -> SeriesReading:
    """Judge a series by its CT images; what else bears its UID decides nothing where there are any."""
    others = [facts for _, _, facts in members if not facts.may_be_ct]
    if len(others) < len(members):
        members = [member for member in members if member[2].may_be_ct]
        notes = (*_note_on(others), *notes)
    else:
        others = []
    files, images, facts = zip(*members, strict=True)
    judgement = judge(facts, lambda n: _content(files[n]), (made,) if made else (), require)
    order = judgement.order or range(len(members))
    return SeriesReading(
        study_uid=facts[0].study_uid,
        series_uid=facts[0].series_uid,
        verdict=replace(judgement.verdict, notes=judgement.verdict.notes + notes),
        geometry=judgement.geometry,
        images=tuple(images[n] for n in order),
        files=tuple(files[n] for n in order),
        facts=tuple(facts[n] for n in order),
        set_aside=(*_left_out(facts, judgement.order), *(_set_aside(other, Code.NOT_CT) for other in others)),
    )


def _left_out(facts: Sequence[SliceFacts], order: Sequence[int]) -> Iterator[SetAside]:
    """Yield the images that are no slice of the volume, if there is one: localizers, and copies of slices."""
    if not order:
        return
    places = np.array([facts[n].position for n in order])
    for n in sorted(set(range(len(facts))) - set(order)):
        if facts[n].is_localizer:
            yield _set_aside(facts[n], Code.LOCALIZER_EXCLUDED)
            continue
        distances = np.linalg.norm(places - facts[n].position, axis=1)
        original = facts[order[int(distances.argmin())]].sop_instance_uid
        yield _set_aside(facts[n], Code.DUPLICATE_POSITIONS, original)


def _set_aside(facts: SliceFacts, code: Code, copy_of: SopUid | None = None) -> SetAside:
    return SetAside(facts.sop_instance_uid, term(facts.modality, MODALITIES), code, copy_of)


def _note_on(others: Sequence[SliceFacts]) -> tuple[str, ...]:
    """Return what is told of objects that are no CT images and bear the UID of a series of CT images."""
    if not others:
        return ()
    kinds = ", ".join(sorted({term(other.modality, MODALITIES) for other in others}))
    what = f"{len(others)} object(s) in the series are no CT images (modality: {kinds})"
    return (f"{what} and were set aside.",)


@as_written()
def _content(file: ListedFile) -> str:
    """Return a digest of the stored pixels and their rescale, as they are coded in the file."""
    try:
        dataset = opened(file.path, pixels=True, listed=file.state) or Dataset()
        parts = [dataset.get(name) for name in ("PixelData", "RescaleSlope", "RescaleIntercept")]
    except ILLEGIBLE:
        parts = [file.path.read_bytes()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _notes_on(passed_over: Mapping[str, int]) -> tuple[str, ...]:
    """Return what every verdict must say of files that belong to no series."""
    if passed_over["others"]:
        log.info(
            "%d of %d files are no DICOM objects and were passed over",
            passed_over["others"],
            passed_over["files"],
        )
    return tuple(
        f"{passed_over[kind]} {words.format(passed_over['files'])} and belong to no series."
        for kind, words in _TOLD.items()
        if passed_over[kind]
    )


def _nothing(sources: Path | Iterable[Path | ListedFile], passed_over: Mapping[str, int]) -> Refused:
    files = passed_over["files"]
    if isinstance(sources, Path) and not sources.exists():
        return Refused(Code.NOT_DICOM, "There is no such file or folder.")
    if not files:
        return Refused(Code.NOT_DICOM, "The folder is empty.", {"files": 0})
    what = "The file is" if files == 1 else f"All {files} files are"
    if passed_over["too large"] == files:
        return Refused(Code.TOO_LARGE, f"{what} larger than any CT image.", {"files": files})
    return Refused(Code.NOT_DICOM, f"{what} not DICOM.", {"files": files})
