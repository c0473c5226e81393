"""A SEG from anyone's viewer, as masks on the CT series it refers to.

Tolerant in: a viewer may drop codes, tracking, pixel measures and the list of referenced images. Never
guessing: a frame's place is that of the CT image it cites, or, if it cites none, of the CT slice at its
position in the same frame of reference; whatever contradicts this is refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import iter_pixels, pixel_array

from models.errors import Refused
from models.organs import Code
from services.dicom.seg_frames import CTSlices, Frame, ReferencedSeries, SegCode, unknown_image

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"

Mask = NDArray[np.bool_]

BROKEN_DATASET = (
    InvalidDicomError, BytesLengthException, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, EOFError, OSError, NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom and its decoders raise on damaged objects; elements are parsed only when touched."""


@dataclass(frozen=True, eq=False)
class ReadSegment:
    """One segment of a SEG.

    Parameters
    ----------
    number
        SegmentNumber.
    label
        SegmentLabel, empty if missing.
    type
        Segmented property type, None if missing.
    laterality
        Its modifier, None if missing.
    tracking_uid
        TrackingUID, None if missing.
    algorithm_type
        SegmentAlgorithmType, empty if missing.
    mask
        Axes (k, j, i) on the CT grid, bool.
    """

    number: int
    label: str
    type: Code | None
    laterality: Code | None
    tracking_uid: str | None
    algorithm_type: str
    mask: Mask

    @property
    def automatic(self) -> bool:
        """Whether an algorithm drew it alone, by what it says (PS3.3 C.8.20.4)."""
        return self.algorithm_type == "AUTOMATIC"


@dataclass(frozen=True, eq=False)
class SegObject:
    """A SEG, read.

    Parameters
    ----------
    sop_instance_uid, series_uid
        Its own identifiers.
    manufacturer
        Who wrote it, as far as it says; empty if missing.
    content_creator
        ContentCreatorName, empty if missing.
    segments
        In the order of SegmentSequence, without the background of a label map.
    """

    sop_instance_uid: str
    series_uid: str
    manufacturer: str
    content_creator: str
    segments: tuple[ReadSegment, ...]


def read_seg(path: Path, ct: ReferencedSeries) -> SegObject:
    """Read a SEG onto the grid of the CT series it refers to.

    BINARY (frames need not start at a byte), FRACTIONAL (a voxel belongs at half of the maximum and
    above) and LABELMAP; frames sparse, in any order, mirrored in plane; every transfer syntax that
    pydicom decodes.

    Parameters
    ----------
    path
        The file.
    ct
        The series it should refer to.

    Returns
    -------
    SegObject
        Masks of shape (len(ct.images), Rows, Columns).

    Raises
    ------
    Refused
        With a `SegCode`, if it is no SEG, is damaged, or is not of this patient, study, frame of
        reference, grid and these images.
    OSError
        If the file cannot be read from the disk.

    Notes
    -----
    Source: PS3.3 A.51, C.8.20.2 (segmentation image), C.7.6.16 (functional groups).
    """
    content = path.read_bytes()  # apart from parsing: there pydicom raises OSError for damage too
    try:
        seg = dcmread(BytesIO(content))
    except BROKEN_DATASET as error:
        raise Refused(
            SegCode.NOT_DICOM, f"the file cannot be read as DICOM ({type(error).__name__})"
        ) from error
    try:
        return _read(seg, ct)
    except BROKEN_DATASET as error:
        raise Refused(SegCode.MALFORMED, f"the SEG is damaged: {error}") from error


def _read(seg: Dataset, ct: ReferencedSeries) -> SegObject:
    if seg.get("SOPClassUID") not in (SEGMENTATION_STORAGE, LABEL_MAP_STORAGE):
        raise Refused(SegCode.NOT_A_SEG, "the object is not a segmentation")
    _require_same_patient_and_frame(seg, ct)
    _require_known_images(seg, ct)
    slices = CTSlices(ct.images)
    slices.require_grid(seg)
    items = {int(item.SegmentNumber): item for item in seg.get("SegmentSequence") or ()}
    shape = (len(ct.images), slices.rows, slices.columns)
    masks = {
        number: np.zeros(shape, dtype=bool) for number, item in items.items() if not _is_background(item)
    }
    frames = _frames(seg)
    if frames:
        _fill(masks, seg, frames, slices)
    return SegObject(
        sop_instance_uid=str(seg.SOPInstanceUID),
        series_uid=str(seg.SeriesInstanceUID),
        manufacturer=str(seg.get("Manufacturer") or ""),
        content_creator=str(seg.get("ContentCreatorName") or ""),
        segments=tuple(_segment(number, items[number], mask) for number, mask in masks.items()),
    )


def _require_same_patient_and_frame(seg: Dataset, ct: ReferencedSeries) -> None:
    ours, theirs = ct.images[0].get("PatientID"), seg.get("PatientID")
    if ours and theirs and ours != theirs:
        raise Refused(SegCode.OTHER_PATIENT, "the SEG is of another patient")
    if seg.get("StudyInstanceUID") != ct.study_uid:
        raise Refused(SegCode.OTHER_STUDY, "the SEG is of another study")
    frame = seg.get("FrameOfReferenceUID")
    if frame and frame != ct.frame_of_reference_uid:
        raise Refused(SegCode.OTHER_FRAME_OF_REFERENCE, "the SEG is in another frame of reference")


def _require_known_images(seg: Dataset, ct: ReferencedSeries) -> None:
    """Refuse a SEG that lists, under our series, an image which is not there."""
    known = {image.SOPInstanceUID for image in ct.images}
    for series in seg.get("ReferencedSeriesSequence") or ():
        if series.get("SeriesInstanceUID") == ct.series_uid:
            listed = {
                item.get("ReferencedSOPInstanceUID")
                for item in series.get("ReferencedInstanceSequence") or ()
            }
            if listed - known:
                raise unknown_image(len(listed - known))


def _is_background(item: Dataset) -> bool:
    code = _code(item.get("SegmentedPropertyTypeCodeSequence"))
    return code is not None and (code.value, code.scheme) == ("125040", "DCM")


def _segment(number: int, item: Dataset, mask: Mask) -> ReadSegment:
    kinds = item.get("SegmentedPropertyTypeCodeSequence") or ()
    tracking = item.get("TrackingUID")
    return ReadSegment(
        number=number,
        label=str(item.get("SegmentLabel") or ""),
        type=_code(kinds),
        laterality=_code(kinds[0].get("SegmentedPropertyTypeModifierCodeSequence")) if kinds else None,
        tracking_uid=str(tracking) if tracking else None,
        algorithm_type=str(item.get("SegmentAlgorithmType") or ""),
        mask=mask,
    )


def _code(items: Sequence[Dataset] | None) -> Code | None:
    if not items or not items[0].get("CodeValue"):
        return None
    first = items[0]
    scheme = str(first.get("CodingSchemeDesignator") or "")
    return Code(str(first.CodeValue), scheme, str(first.get("CodeMeaning") or ""))


def _frames(seg: Dataset) -> list[Frame]:
    if "PixelData" not in seg:
        return []
    shared = (seg.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    frames = [Frame(own, shared) for own in seg.get("PerFrameFunctionalGroupsSequence") or [Dataset()]]
    declared = int(seg.get("NumberOfFrames") or 1)
    if declared != len(frames):
        raise Refused(
            SegCode.MALFORMED,
            "frames and their descriptions differ in number",
            {"frames": declared, "described": len(frames)},
        )
    return frames


def _fill(masks: dict[int, Mask], seg: Dataset, frames: list[Frame], slices: CTSlices) -> None:
    """Lay every frame's pixels into the masks of its segments."""
    kind = "LABELMAP" if seg.SOPClassUID == LABEL_MAP_STORAGE else seg.get("SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise Refused(SegCode.MALFORMED, "the SEG does not say how its pixels are to be read")
    least = float(seg.MaximumFractionalValue) / 2 if kind == "FRACTIONAL" else 1
    background = _background_numbers(seg)
    same_frame_of_reference = bool(seg.get("FrameOfReferenceUID"))
    # Every frame has its place before the first is decoded: refusing is cheap.
    places = [slices.place(frame, same_frame_of_reference) for frame in frames]
    written: set[tuple[int, int]] = set()
    for frame, (k, (step_j, step_i)), stored in zip(frames, places, _pixels(seg, slices), strict=True):
        pixels = stored[::step_j, ::step_i]
        if kind == "LABELMAP":
            planes = _label_planes(pixels, masks.keys(), background)
        else:
            planes = {_segment_number(frame, masks.keys()): pixels >= least}
        for number, plane in planes.items():
            if (number, k) in written and not np.array_equal(masks[number][k], plane):
                raise Refused(SegCode.MALFORMED, "two frames of one segment on one slice differ")
            written.add((number, k))
            masks[number][k] = plane


def _pixels(seg: Dataset, slices: CTSlices) -> Iterator[NDArray]:
    """Yield the stored pixels of each frame, axes (row, column), unsigned integers."""
    packed = seg.BitsAllocated == 1 and not seg.file_meta.TransferSyntaxUID.is_encapsulated
    try:
        if packed and slices.rows * slices.columns % 8:
            # Frames begin within a byte; pydicom 3.0 gets these right only when it decodes all at once.
            whole = pixel_array(seg, raw=True)
            frames = iter(whole.reshape(-1, *whole.shape[-2:]))
        else:
            frames = iter_pixels(seg, raw=True)
        for stored in frames:
            if stored.shape != (slices.rows, slices.columns):
                raise Refused(SegCode.BAD_PIXEL_DATA, "the pixel data are not one plane per frame")
            yield stored
    except BROKEN_DATASET as error:
        raise Refused(SegCode.BAD_PIXEL_DATA, f"the pixel data cannot be decoded: {error}") from error


def _label_planes(pixels: NDArray, numbers: Set[int], background: Set[int]) -> dict[int, Mask]:
    """Return the mask of each segment in one frame of a label map, by segment number."""
    present = {int(number) for number in np.unique(pixels)}
    if not present <= numbers | background:
        raise Refused(SegCode.MALFORMED, "a pixel belongs to no declared segment")
    return {number: pixels == number for number in sorted(present & numbers)}


def _segment_number(frame: Frame, numbers: Set[int]) -> int:
    number = frame.value("SegmentIdentificationSequence", "ReferencedSegmentNumber")
    if number is None and len(numbers) == 1:
        return next(iter(numbers))
    if not isinstance(number, int) or number not in numbers:
        raise Refused(SegCode.MALFORMED, "a frame belongs to no declared segment")
    return number


def _background_numbers(seg: Dataset) -> Set[int]:
    """Return the label map's values that stand for no segment."""
    declared = {int(item.SegmentNumber) for item in seg.get("SegmentSequence") or () if _is_background(item)}
    padding = seg.get("PixelPaddingValue")
    return declared | {0} | ({int(padding)} if padding is not None else set())
