"""A SEG from anyone's viewer, as masks on the CT series it refers to.

Tolerant in: a viewer may drop codes, tracking, pixel measures and the list of referenced images. Never
guessing: a frame's place is that of the CT image it cites, or, if it cites none, of the CT slice at its
position in the same frame of reference; whatever contradicts this is refused. Where an object says one
thing twice, both must agree: that is how damage shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from models.errors import Refused
from models.masks import BoxedMask
from models.organs import Code
from models.uids import SeriesUid, SopUid, is_uid
from services.dicom.seg.bounded import OpenedSeg, as_opened, damage_refused
from services.dicom.seg.frames import (
    LABEL_MAP_STORAGE,
    SEG_CLASSES,
    CTSlices,
    Frame,
    ReferencedSeries,
    SegCode,
    unknown_image,
)
from services.dicom.seg.masks import Masks, fill
from services.dicom.seg.names import plain_label

DRAWN_BY_A_PERSON = frozenset({"MANUAL", "SEMIAUTOMATIC"})
"""SegmentAlgorithmTypes that say a person drew, or helped to draw, a segment (PS3.3 C.8.20.4)."""


@dataclass(frozen=True, eq=False)
class ReadSegment:
    """One segment of a SEG.

    Parameters
    ----------
    number
        SegmentNumber.
    label
        SegmentLabel without the mark of a flag (`plain_label`), empty if missing.
    type
        Segmented property type, None if missing.
    laterality
        Its modifier, None if missing.
    tracking_uid
        TrackingUID, None if missing.
    algorithm_type
        SegmentAlgorithmType, empty if missing.
    mask
        On the CT grid.
    tracking_id
        TrackingID, None if missing.
    """

    number: int
    label: str
    type: Code | None
    laterality: Code | None
    tracking_uid: str | None
    algorithm_type: str
    mask: BoxedMask
    tracking_id: str | None = None

    @property
    def automatic(self) -> bool:
        """Whether an algorithm drew it alone, by what it says (PS3.3 C.8.20.4)."""
        return self.algorithm_type == "AUTOMATIC"

    @property
    def by_a_person(self) -> bool:
        """Whether it says that a person had a hand in it; a viewer may drop or keep that word wrongly."""
        return self.algorithm_type in DRAWN_BY_A_PERSON


@dataclass(frozen=True, eq=False)
class SegObject:
    """A SEG, read.

    Parameters
    ----------
    sop_instance_uid, series_uid
        Its own identifiers.
    segments
        In the order of SegmentSequence, without the background of a label map.
    refers_to
        SOP Instance UIDs of what it lists as referenced, of any series, and of SEGs that its frames name
        as their source; a viewer may name the SEG it was made from.
    """

    sop_instance_uid: SopUid
    series_uid: SeriesUid
    segments: tuple[ReadSegment, ...]
    refers_to: frozenset[SopUid] = frozenset()


def read_seg(seg: Path | OpenedSeg, ct: ReferencedSeries) -> SegObject:
    """Read a SEG onto the grid of the CT series it refers to.

    BINARY (frames need not start at a byte), FRACTIONAL (a voxel belongs from `FRACTION_INSIDE` of the
    maximum on) and LABELMAP (several frames on a slice are layers, and united); frames sparse, in any order,
    mirrored in plane; every transfer syntax that pydicom decodes. A grid of its own is taken over where
    nothing is lost on the way (`OwnGrid`).

    Parameters
    ----------
    seg
        The file, or what was opened of it.
    ct
        The series it should refer to.

    Returns
    -------
    SegObject
        Masks of shape (len(ct.images), Rows, Columns).

    Raises
    ------
    Refused
        With a `SegCode`, if it is no SEG, is damaged or too large, or is not of this patient, study,
        series, frame of reference, grid and these images.
    OSError
        If the file cannot be read from the disk.

    Notes
    -----
    Source: PS3.3 A.51, C.8.20.2 (segmentation image), C.7.6.16 (functional groups).
    """
    return _read(as_opened(seg).whole(), ct)


@damage_refused()
def _read(seg: Dataset, ct: ReferencedSeries) -> SegObject:
    if seg.get("SOPClassUID") not in SEG_CLASSES:
        raise Refused(SegCode.NOT_A_SEG, "the object is not a segmentation")
    _require_uids(seg)
    _require_same_patient_and_frame(seg, ct)
    listed = _require_known_images(seg, ct)
    slices = CTSlices(ct)
    items = _segments(seg)
    background = frozenset(n for n, item in items.items() if _is_background(item))
    masks = Masks([n for n in items if n not in background], slices)
    frames = _frames(seg)
    if frames:
        kind = "LABELMAP" if seg.SOPClassUID == LABEL_MAP_STORAGE else _text(seg, "SegmentationType")
        fill(masks, seg, kind, frames, slices, background)
    else:
        slices.require_matrix(int(seg.Rows), int(seg.Columns))
    return SegObject(
        sop_instance_uid=SopUid(str(seg.SOPInstanceUID)),
        series_uid=SeriesUid(str(seg.SeriesInstanceUID)),
        segments=tuple(_segment(number, items[number], masks.take(number)) for number in masks.numbers),
        refers_to=listed.union(*(frame.cited_segs() for frame in frames)),
    )


def _require_uids(seg: Dataset) -> None:
    """Refuse a SEG that nothing can be known by: two of them would be taken for one."""
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        uid = str(seg.get(keyword) or "")
        if not is_uid(uid):
            raise Refused(SegCode.MALFORMED, f"{keyword} is no UID", {"characters": len(uid)})


def _require_same_patient_and_frame(seg: Dataset, ct: ReferencedSeries) -> None:
    ours, theirs = (str(one.get("PatientID") or "").strip() for one in (ct.images[0], seg))
    if ours and theirs and ours not in (theirs, text_in(theirs, seg)):
        raise Refused(SegCode.OTHER_PATIENT, "the SEG is of another patient")
    if seg.get("StudyInstanceUID") != ct.study_uid:
        raise Refused(SegCode.OTHER_STUDY, "the SEG is of another study")
    frame = seg.get("FrameOfReferenceUID")
    if frame and frame != ct.frame_of_reference_uid and ct.names_frame_of_reference:
        raise Refused(SegCode.OTHER_FRAME_OF_REFERENCE, "the SEG is in another frame of reference")


def text_in(value: object, seg: Dataset) -> str:
    """Return a text, empty if missing. Without a character set it is UTF-8, if it can be, as OHIF writes it.

    pydicom takes it for Latin-1, in which every byte is a character; the standard allows neither.

    Notes
    -----
    Source: PS3.5 6.1.2.1 (the default repertoire is ASCII).
    """
    text = str(value or "")
    if "SpecificCharacterSet" not in seg:
        with suppress(UnicodeError):
            return text.encode("latin-1").decode("utf-8")
    return text


def _require_known_images(seg: Dataset, ct: ReferencedSeries) -> frozenset[SopUid]:
    """Return the UIDs a SEG lists; refuse one that lists other series only, or images ours has not."""
    known = {image.SOPInstanceUID for image in ct.images}
    listed: dict[SeriesUid, set[SopUid]] = {}
    for series in seg.get("ReferencedSeriesSequence") or ():
        images = listed.setdefault(SeriesUid(str(series.get("SeriesInstanceUID"))), set())
        images |= {
            SopUid(str(item.get("ReferencedSOPInstanceUID")))
            for item in series.get("ReferencedInstanceSequence") or ()
        }
    if listed and ct.series_uid not in listed:
        raise Refused(SegCode.OTHER_SERIES, "the SEG lists other series than the one it should lie on")
    unknown = listed.get(ct.series_uid, set()) - known - ct.not_used.keys()
    if unknown:
        raise unknown_image(len(unknown))
    return frozenset().union(*listed.values())


def _segments(seg: Dataset) -> dict[int, Dataset]:
    """Return the items of SegmentSequence by SegmentNumber, in their order."""
    items: dict[int, Dataset] = {}
    for item in seg.get("SegmentSequence") or ():
        number = int(item.SegmentNumber)
        if number in items:
            raise Refused(SegCode.MALFORMED, "two segments have one number", {"segment": number})
        items[number] = item
    if not items:
        raise Refused(SegCode.MALFORMED, "the SEG declares no segment")
    return items


def _is_background(item: Dataset) -> bool:
    """Tell whether a segment is what lies in no other; OHIF keeps that one's label and not its code."""
    code = _code(item.get("SegmentedPropertyTypeCodeSequence"))
    coded = code is not None and (code.value, code.scheme) == ("125040", "DCM")
    return coded or str(item.get("SegmentLabel") or "").strip().casefold() == "background"


def _segment(number: int, item: Dataset, mask: BoxedMask) -> ReadSegment:
    kinds = item.get("SegmentedPropertyTypeCodeSequence") or ()
    tracking = item.get("TrackingUID")
    return ReadSegment(
        number=number,
        label=plain_label(_text(item, "SegmentLabel")),
        type=_code(kinds),
        laterality=_code(kinds[0].get("SegmentedPropertyTypeModifierCodeSequence")) if kinds else None,
        tracking_uid=str(tracking) if tracking else None,
        algorithm_type=_text(item, "SegmentAlgorithmType"),
        mask=mask,
        tracking_id=_text(item, "TrackingID") or None,
    )


def _code(items: Sequence[Dataset] | None) -> Code | None:
    if not items or not _text(items[0], "CodeValue"):
        return None
    return Code(*(_text(items[0], name) for name in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")))


def _text(dataset: Dataset, keyword: str) -> str:
    """Return a text without the spaces around it, which say nothing (PS3.5 6.2); empty if missing."""
    return str(dataset.get(keyword) or "").strip()


def _frames(seg: Dataset) -> list[Frame]:
    if "PixelData" not in seg:
        if seg.get("NumberOfFrames") or seg.get("PerFrameFunctionalGroupsSequence"):
            raise Refused(SegCode.MALFORMED, "the SEG declares frames and has no pixel data")
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
