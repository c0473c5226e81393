"""From a series that its headers found fit to Hounsfield units, judged by its pixels too."""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from models.errors import Refused
from models.series.ct_look import CtLook
from models.series.image_kinds import is_derived
from models.series.rescale_jump import RescaleJumps
from models.series.rules import refuse_no_body
from models.series.slice_contents import SliceContents
from models.series.slice_facts import UID_FORM, hu_type
from models.series.verdict import Code, GeometryVerdict
from models.uids import SeriesUid, SopUid, StudyUid
from models.volume import Volume
from services.dicom.ct.headers import illegible_of
from services.dicom.ct.pixels import PaddingTally, hounsfield
from services.dicom.ct.series import SeriesReading, SetAside, usable_geometry
from services.dicom.foreign.listing import read_failures
from services.dicom.foreign.reader import as_written
from services.dicom.identity import hashed_uid

T = TypeVar("T")

MOST_THREADS = 8
"""No more frames are decoded side by side: each takes memory of its own."""


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
    names_frame_of_reference
        Whether the images name one themselves.
    set_aside
        As of `SeriesReading`.
    """

    study_uid: StudyUid
    series_uid: SeriesUid
    frame_of_reference_uid: str
    volume: Volume
    images: tuple[Dataset, ...]
    verdict: GeometryVerdict
    names_frame_of_reference: bool = True
    set_aside: tuple[SetAside, ...] = ()

    @property
    def not_used(self) -> Mapping[SopUid, SopUid | None]:
        """What bears the series' UID and is no slice, each with the slice that it is a copy of, if it is."""
        return {one.sop_instance_uid: one.copy_of for one in self.set_aside}


@read_failures()
def load(reading: SeriesReading) -> CTSeries:
    """Read the pixels of a series whose headers were judged fit.

    Returns
    -------
    CTSeries
        HU as int16, exact, where all slopes and intercepts are whole numbers; float32 elsewhere.

    Raises
    ------
    Refused
        With the reading's own code if it was refused, or as `with_pixels`.
    ReadFailed
        As `with_pixels`.
    """
    geometry = usable_geometry(reading)
    hu: NDArray[Any] = np.empty(geometry.shape, dtype=hu_type(reading.facts))
    verdict = with_pixels(reading, hu)
    frame = reading.facts[0].frame_of_reference_uid
    images = reading.images
    named = UID_FORM.fullmatch(frame) is not None
    if not named:
        frame = hashed_uid("frame-of-reference", reading.series_uid)
        images = tuple(_in_frame(image, frame) for image in images)
    return CTSeries(
        reading.study_uid,
        reading.series_uid,
        frame,
        Volume(hu, geometry),
        images,
        verdict,
        names_frame_of_reference=named,
        set_aside=reading.set_aside,
    )


@read_failures()
@as_written()
def with_pixels(reading: SeriesReading, into: NDArray[Any] | None) -> GeometryVerdict:
    """Read every slice, into an array (k, row, column) if one is given; return the full verdict.

    Raises
    ------
    Refused
        `bad-pixel-data` or `too-large`, as `services.dicom.ct.pixels.hounsfield` and where undeclared padding
        is not one value all over the series; `bad-rescale`, as
        `models.series.rescale_jump`; `derived-image` if derived images do not look like a CT's
        (`models.series.ct_look`); `slice-out-of-place` or `multi-phase`, as
        `models.series.slice_contents`; `no-body` if nothing but air was scanned; `illegible-header` if
        results could not say whose they are.
    ReadFailed
        If a file vanished, was changed since its header was read, or cannot be read.
    """
    illegible = illegible_of(reading.images[0])
    if illegible:
        detail = f"The header of the first image is damaged: nobody can read {', '.join(illegible)}."
        raise Refused(Code.ILLEGIBLE_HEADER, detail, {"elements": len(illegible)})
    tally, jumps, contents = PaddingTally(), RescaleJumps(), SliceContents()
    look = CtLook() if any(map(is_derived, reading.facts)) else None
    highest = -np.inf
    for facts, (hu, met) in zip(reading.facts, _slices(reading, into), strict=True):
        tally.add(met)
        jumps.add(facts, hu)
        if look is not None:
            look.add(hu)
        contents.add(facts, hu)
        highest = max(highest, float(hu.max()))
    seen = () if look is None else (look.note(),)
    doubts = contents.judge()
    refuse_no_body(highest)
    notes = (*reading.verdict.notes, *tally.notes(), *seen, *doubts.notes)
    return replace(reading.verdict, notes=notes, doubted=doubts.slices)


def _slices(reading: SeriesReading, into: NDArray[Any] | None) -> Iterator[tuple[NDArray[Any], PaddingTally]]:
    """Yield each slice in order, read and decoded ahead by as many threads as there are processors."""

    def read(k: int) -> tuple[NDArray[Any], PaddingTally]:
        file, out = reading.files[k], None if into is None else into[k]
        hu, met = hounsfield(file.path, reading.images[k], reading.facts[k], out, file.state)
        if out is not None and hu is not out:
            out[...] = hu
        return hu, met

    threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    pool, ahead = ThreadPoolExecutor(threads), deque[Future[tuple[NDArray[Any], PaddingTally]]]()
    try:
        for k in range(len(reading.files)):
            ahead.append(_started(pool, read, k))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _started(pool: ThreadPoolExecutor, work: Callable[[int], T], k: int) -> Future[T]:
    try:
        return pool.submit(work, k)
    except RuntimeError as error:  # no thread can be started: there is no memory for it
        raise MemoryError from error


@as_written()
def _in_frame(image: Dataset, frame_of_reference_uid: str) -> Dataset:
    named = copy.deepcopy(image)  # a shallow copy shares its elements
    named.FrameOfReferenceUID = frame_of_reference_uid
    return named
