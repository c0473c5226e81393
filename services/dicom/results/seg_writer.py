"""A DICOM Segmentation of masks on the grid of a CT series.

highdicom builds the object; of BINARY ones the frames' bits are packed here. The reason is overlap:
highdicom takes overlapping segments as one array of all segments, which for nine organs on
300 x 512 x 512 voxels costs 700 MB and three seconds more. So it is given a token array, with one
voxel per frame wanted, and builds the same frames; the masks then go into the frames it made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as ConceptCode
from pydicom.uid import RLELossless, SegmentationStorage

from models.errors import Refused
from models.geometry import Geometry
from models.masks import BoxedMask
from models.organs import Code
from services.dicom.ct.loaded import CTSeries
from services.dicom.foreign.reader import legible
from services.dicom.results.heading import Heading, finish, to_bytes, without_patient
from services.dicom.seg.frames import LABEL_MAP_STORAGE


class Profile(StrEnum):
    """For which receiver an organ SEG is made.

    ``ohif``: BINARY, only frames that hold something: small, and what viewers expect.
    ``slicer``: BINARY, every slice of every segment: converters that stack frames (dcmqi, which
    3D Slicer uses) then give volumes on the CT's own grid, and absent organs stay.
    ``labelmap``: Label Map Segmentation, RLE: smallest, but organs must not overlap.
    """

    OHIF = "ohif"
    SLICER = "slicer"
    LABELMAP = "labelmap"


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment, ready to be written.

    Parameters
    ----------
    label
        SegmentLabel, at most 64 characters.
    description
        SegmentDescription, at most 1024 characters.
    category, type, laterality
        Segmented property; laterality modifies the type, None where the organ is single.
    site
        Where it lies, and on which side, where the type itself does not say so.
    cielab
        Display colour, CIELab.
    tracking_id, tracking_uid
        What is followed from object to object.
    mask
        On the CT grid.
    """

    label: str
    description: str
    category: Code
    type: Code
    laterality: Code | None
    site: tuple[Code, Code | None] | None
    cielab: tuple[float, float, float]
    tracking_id: str
    tracking_uid: str
    mask: BoxedMask


def write_segmentation(
    series: CTSeries, segments: Sequence[Segment], heading: Heading, dimension_uid: str, profile: Profile
) -> bytes:
    """Return the bytes of a Segmentation object, frame by frame on the images of a series.

    Parameters
    ----------
    series
        The CT series; ``images[k]`` is slice k.
    segments
        At least one; numbered from 1 in this order. An empty one is declared and has no frames; if
        all are empty the first has one empty frame on the middle slice, because an image without
        frames does not exist (PS3.3 C.7.6.6, NumberOfFrames is type 1).
    heading
        Identity and times.
    dimension_uid
        DimensionOrganizationUID.
    profile
        For which receiver.

    Raises
    ------
    Refused
        ``overlapping-segments``, when a label map is asked for and voxels belong to two segments.
    """
    geometry = series.volume.geometry
    if profile is Profile.LABELMAP:
        content = _construct(series, segments, heading, _labels(segments, geometry), profile)
    else:
        frames = _frames(segments, geometry.shape[0], sparse=profile is Profile.OHIF)
        tokens = _tokens(frames, len(segments), geometry.shape)
        content = _construct(series, segments, heading, tokens, profile)
        del tokens, content.PixelData  # they and what takes their place are as large as the result
        content.PixelData = _packed(content, series, segments)
        overlap = len(segments) > 1 and _overlap([segment.mask for segment in segments])
        content.SegmentsOverlap = "YES" if overlap else "NO"
    content.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimension_uid
    for index in content.DimensionIndexSequence:
        index.DimensionOrganizationUID = dimension_uid
    content.ContentCreatorName = ""  # type 2, and no person made it
    finish(content, series.images[0], heading)
    return to_bytes(content)


def sop_class_uid(profile: Profile) -> str:
    """Return the SOP class of a SEG made for a receiver."""
    return LABEL_MAP_STORAGE if profile is Profile.LABELMAP else str(SegmentationStorage)


def code(term: Code) -> ConceptCode:
    """Return a catalogue term as highdicom takes it."""
    return ConceptCode(term.value, term.scheme, term.meaning)


def modifier(term: Code) -> highdicom.sr.CodedConcept:
    """Return a catalogue term as an item of a modifier sequence."""
    return highdicom.sr.CodedConcept(*term)


def _thickness_mm(image: Dataset) -> float:
    """Return SliceThickness, millimetres; 0 where it is missing or no number."""
    try:
        thickness = float(legible(image, "SliceThickness") or 0)
    except (TypeError, ValueError):  # of several values, or a text: what it says is left unsaid
        return 0.0
    return thickness if math.isfinite(thickness) and thickness > 0 else 0.0


def _turned_as(first: Dataset, image: Dataset) -> Dataset:
    """Return an image's header with the orientation of the first one: a SEG has one for all its frames.

    How far they may differ is limited by the verdict (`models.series.limits.SAME_ORIENTATION`).
    """
    if image.ImageOrientationPatient == first.ImageOrientationPatient:
        return image
    turned = Dataset()
    turned.update(image)
    turned["ImageOrientationPatient"] = first["ImageOrientationPatient"]
    return turned


def _construct(
    series: CTSeries,
    segments: Sequence[Segment],
    heading: Heading,
    pixels: NDArray[Any],
    profile: Profile,
) -> highdicom.seg.Segmentation:
    step = series.volume.geometry.slice_step_mm
    first = without_patient(series.images[0])
    if not _thickness_mm(first):
        first.pop("SliceThickness", None)
        first.SliceThickness = f"{step:.10g}"  # what the voxels stand for, where the CT does not say
    others = [_turned_as(first, image) for image in series.images[1:]]
    labelmap = profile is Profile.LABELMAP
    arguments = heading.arguments()
    if labelmap:
        arguments["transfer_syntax_uid"] = RLELossless
    return highdicom.seg.Segmentation(
        source_images=[first, *others],
        pixel_array=pixels,
        segmentation_type="LABELMAP" if labelmap else "BINARY",
        segment_descriptions=[_describe(n, s, heading) for n, s in enumerate(segments, start=1)],
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=first.PixelSpacing,
            slice_thickness=first.SliceThickness,
            spacing_between_slices=step,
        ),
        content_label="ORGANS",
        **arguments,
    )


def _describe(number: int, segment: Segment, heading: Heading) -> highdicom.seg.SegmentDescription:
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=code(segment.category),
        segmented_property_type=code(segment.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=heading.algorithm(),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=[code(segment.site[0])] if segment.site else None,
        display_color=CIELabColor(*segment.cielab),
    )
    description.SegmentDescription = segment.description
    if segment.laterality:
        (item,) = description.SegmentedPropertyTypeCodeSequence
        item.SegmentedPropertyTypeModifierCodeSequence = [modifier(segment.laterality)]
    if segment.site and segment.site[1]:
        (item,) = description.AnatomicRegionSequence
        item.AnatomicRegionModifierSequence = [modifier(segment.site[1])]
    return description


def _frames(segments: Sequence[Segment], slices: int, sparse: bool) -> list[tuple[int, int]]:
    """Return the (segment number, k) of all frames to write."""
    frames = [
        (number, k)
        for number, segment in enumerate(segments, start=1)
        for k, voxels in enumerate(segment.mask.by_slice())
        if not sparse or voxels
    ]
    return frames or [(1, slices // 2)]


def _tokens(
    frames: Sequence[tuple[int, int]], segments: int, shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return an array in which each frame has one voxel: of labels, axes (k, j, i), n at voxel n of slice k.

    A slice of fewer voxels than segments has one plane for each of these instead: axes (k, j, i, segment).
    """
    slices, rows, columns = shape
    if rows * columns < segments:
        planes = np.zeros((*shape, segments), np.uint8)
        for number, k in frames:
            planes[k, 0, 0, number - 1] = 1
        return planes
    tokens = np.zeros(shape, np.min_scalar_type(segments))
    flat = tokens.reshape(slices, -1)
    for number, k in frames:
        flat[k, number - 1] = number
    return tokens


def _packed(content: Dataset, series: CTSeries, segments: Sequence[Segment]) -> bytes:
    """Return the pixel data of all frames, in the order of the object's functional groups.

    One bit per voxel, the first voxel in the lowest bit, frames without gaps (PS3.5 8.1.1 and D.1).
    """
    slice_of = {str(image.SOPInstanceUID): k for k, image in enumerate(series.images)}
    planes = []
    for frame in content.PerFrameFunctionalGroupsSequence:
        number = 1
        if len(segments) > 1:
            number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        planes.append((segments[number - 1].mask, slice_of[str(source.ReferencedSOPInstanceUID)]))
    packed = b"".join(
        # eight frames of whatever size are whole bytes
        np.packbits([mask.plane(k) for mask, k in planes[first : first + 8]], bitorder="little").tobytes()
        for first in range(0, len(planes), 8)
    )
    return packed + b"\0" * (len(packed) % 2)


def _labels(segments: Sequence[Segment], geometry: Geometry) -> NDArray[np.uint8]:
    if _overlap([segment.mask for segment in segments]):
        raise Refused("overlapping-segments", "Organs overlap, which a label map cannot hold.")
    labels = np.zeros(geometry.shape, np.uint8)
    for number, segment in enumerate(segments, start=1):
        np.copyto(labels[segment.mask.box], np.uint8(number), where=segment.mask.inside)
    return labels


def _overlap(masks: Sequence[BoxedMask]) -> bool:
    """Tell whether any voxel belongs to two masks."""
    taken = np.zeros(masks[0].shape, np.bool_)
    for mask in masks:
        there, inside = taken[mask.box], mask.inside
        if (there & inside).any():
            return True
        there |= inside
    return False
