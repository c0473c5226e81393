"""Proof of a SEG: codes, labels and flags of its segments, and every voxel where it is in the patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels

from models.errors import ProofFailed
from models.findings import StudyFindings
from models.geometry import Geometry
from models.masks import BoxedMask, MaskByPlanes
from models.organs import CATALOGUE, Code
from models.series.limits import off_corner_mm, off_grid_mm
from models.uids import SopUid
from services.dicom.ct.loaded import CTSeries
from services.dicom.identity import tracking_uid
from services.dicom.results.heading import Heading, parameters_in
from services.dicom.results.organ_seg import organ_label
from services.dicom.results.proof import read_back, same
from services.dicom.results.review_seg import SELECTED_REGION, SPATIAL_CONCEPT, region_tracking_id
from services.dicom.results.wording import repair_notice
from services.dicom.seg.frames import LABEL_MAP_STORAGE

LOST_IN_STRINGS_MM = 0.001
"""What a position may lose where it is written as a decimal string."""

_ALGORITHM = ("AUTOMATIC", "Organloop")


class Meant(NamedTuple):
    """What one segment was meant to say; the description must hold every one of its words."""

    label: str
    property: tuple[Code, Code, Code | None]
    region: tuple[Code, Code | None] | None
    cielab: tuple[float, float, float]
    words: tuple[str, ...]
    mask: BoxedMask
    tracking_id: str
    tracking_uid: str | None


def prove_organ_seg(
    content: bytes,
    series: CTSeries,
    findings: StudyFindings,
    heading: Heading,
    *,
    flags_in_labels: bool = False,
) -> None:
    """Compare an organ SEG, read back, with the findings and the catalogue.

    Raises
    ------
    ProofFailed
        On the first difference.
    """
    said = {finding.organ: finding for finding in findings.organs}
    meant = [
        Meant(
            label=organ_label(entry, said[entry.key], flags_in_labels=flags_in_labels),
            property=(entry.category, entry.type, entry.laterality),
            region=entry.site if entry.region else None,
            cielab=entry.cielab,
            words=(
                str(said[entry.key].flag).upper(),
                *said[entry.key].reasons,
                f"release {findings.release}",
                repair_notice(series.verdict),
            ),
            mask=findings.masks[entry.key],
            tracking_id=entry.key,
            tracking_uid=tracking_uid(entry.key, (SopUid(str(i.SOPInstanceUID)) for i in series.images)),
        )
        for entry in (*CATALOGUE, *findings.further)
        if entry.key in findings.masks
    ]
    _prove(content, series, meant, heading)


def prove_review_seg(content: bytes, series: CTSeries, findings: StudyFindings, heading: Heading) -> None:
    """Compare a review SEG, read back, with the regions of the findings.

    Raises
    ------
    ProofFailed
        On the first difference.
    """
    regions = {region.rank: region for region in findings.regions}
    same("number of ranks", len(regions), len(findings.regions))
    meant = []
    for rank, region in sorted(regions.items()):
        entry = findings.entry(region.organ)
        meant.append(
            Meant(
                label=f"Check: {entry.label}",
                property=(SPATIAL_CONCEPT, SELECTED_REGION, None),
                region=entry.site,
                cielab=entry.cielab,
                words=(f"expected error {region.expected_error_ml:.1f} ml", f"rank {rank}"),
                mask=region.mask,
                tracking_id=region_tracking_id(region),
                tracking_uid=None,  # the region's own, not followed from result to result
            )
        )
    _prove(content, series, meant, heading)


def _prove(content: bytes, series: CTSeries, meant: Sequence[Meant], heading: Heading) -> None:
    dataset = read_back(content, series.images[0], heading)
    same("FrameOfReferenceUID", str(dataset.FrameOfReferenceUID), series.frame_of_reference_uid)
    (referenced,) = dataset.ReferencedSeriesSequence
    same("referenced series", str(referenced.SeriesInstanceUID), series.series_uid)
    label_map = dataset.SOPClassUID == LABEL_MAP_STORAGE
    same("SegmentationType", dataset.SegmentationType, "LABELMAP" if label_map else "BINARY")
    segments = [item for item in dataset.SegmentSequence if item.SegmentNumber > 0]
    same("number of segments", len(segments), len(meant))
    for number, (item, segment) in enumerate(zip(segments, meant, strict=True), start=1):
        _prove_segment(item, number, segment, heading)
    same("matrix", (int(dataset.Rows), int(dataset.Columns)), series.volume.geometry.shape[1:])
    masks = [segment.mask for segment in meant]
    (_prove_label_map if label_map else _prove_binary)(dataset, series, masks)


def _prove_segment(item: Dataset, number: int, meant: Meant, heading: Heading) -> None:
    name = f"segment {number} ({meant.label})"
    same(f"{name}: number", item.SegmentNumber, number)
    same(f"{name}: label", item.SegmentLabel, meant.label)
    same(f"{name}: TrackingID", item.TrackingID, meant.tracking_id)
    if meant.tracking_uid is not None:
        same(f"{name}: TrackingUID", str(item.TrackingUID), meant.tracking_uid)
    (category,) = item.SegmentedPropertyCategoryCodeSequence
    (kind,) = item.SegmentedPropertyTypeCodeSequence
    laterality = kind.get("SegmentedPropertyTypeModifierCodeSequence")
    same(f"{name}: property", (_term(category), _term(kind), _only(laterality)), meant.property)
    same(f"{name}: has a region", "AnatomicRegionSequence" in item, meant.region is not None)
    if meant.region:
        (region,) = item.AnatomicRegionSequence
        modifier = _only(region.get("AnatomicRegionModifierSequence"))
        same(f"{name}: anatomic region", (_term(region), modifier), meant.region)
    same(f"{name}: algorithm", (item.SegmentAlgorithmType, item.SegmentAlgorithmName), _ALGORITHM)
    (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
    same(f"{name}: version", algorithm.AlgorithmVersion, f"release {heading.release}")
    same(f"{name}: parameters", parameters_in(algorithm.AlgorithmParameters), heading.parameters())
    colour = np.array(item.RecommendedDisplayCIELabValue) / 65535 * (100, 255, 255) - (0, 128, 128)
    if np.abs(colour - meant.cielab).max() > 0.01:
        raise ProofFailed(f"{name}: colour was read back as {colour} and meant as {meant.cielab}")
    for word in meant.words:
        if word not in item.SegmentDescription:
            raise ProofFailed(f"{name}: {word!r} is not in the description {item.SegmentDescription!r}")


def _prove_binary(dataset: Dataset, series: CTSeries, masks: Sequence[BoxedMask]) -> None:
    """Compare every voxel of BINARY frames; a slice without a frame must be empty in the mask."""
    slice_of = _slices_in_patient(dataset, series)
    bits = memoryview(dataset.PixelData)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    size = rows * columns
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    same("NumberOfFrames", int(dataset.NumberOfFrames), len(frames))
    same("length of PixelData", len(bits), (len(frames) * size + 15) // 16 * 2)
    read = [MaskByPlanes(series.volume.geometry.shape) for _ in masks]
    written: set[tuple[int, int]] = set()
    for n, frame in enumerate(frames):
        number, k = _segment_number(dataset, frame), slice_of[_source(frame)]
        if not 1 <= number <= len(masks) or (number, k) in written:
            raise ProofFailed(f"frame {n + 1} is a second one, or one of no segment: {number}, slice {k}")
        written.add((number, k))
        start, stop = n * size, (n + 1) * size
        chunk = np.frombuffer(bits[start // 8 : (stop + 7) // 8], np.uint8)
        voxels = np.unpackbits(chunk, bitorder="little")[start % 8 : start % 8 + size]
        read[number - 1].lay(k, BoxedMask.of(voxels.reshape(1, rows, columns).view(np.bool_)))
    _compare(read, masks)


def _prove_label_map(dataset: Dataset, series: CTSeries, masks: Sequence[BoxedMask]) -> None:
    """Compare every voxel of a label map."""
    slice_of = _slices_in_patient(dataset, series)
    frames = dataset.PerFrameFunctionalGroupsSequence
    same("NumberOfFrames", int(dataset.NumberOfFrames), len(frames))
    read = [MaskByPlanes(series.volume.geometry.shape) for _ in masks]
    for frame, labels in zip(frames, _label_frames(dataset), strict=True):
        same("highest label", int(labels.max()) <= len(masks), True)
        for number, mask in enumerate(read, start=1):
            plane = BoxedMask.of((labels == number)[None])
            same("one frame on a slice", mask.lay(slice_of[_source(frame)], plane), True)
    _compare(read, masks)


def _compare(read: Sequence[MaskByPlanes], masks: Sequence[BoxedMask]) -> None:
    for number, (found, meant) in enumerate(zip(read, masks, strict=True), start=1):
        back = found.whole()
        if back != meant:
            slices = np.flatnonzero(back.changed_by_slice(meant)).tolist()
            raise ProofFailed(f"voxels of segment {number} differ on slices {slices}")


def _label_frames(dataset: Dataset) -> Iterator[NDArray[np.uint8]]:
    return iter_pixels(dataset, raw=True)


def _slices_in_patient(dataset: Dataset, series: CTSeries) -> dict[str, int]:
    """Return k of each image a frame names, after comparing the frame's place with image and volume."""
    geometry = series.volume.geometry
    images = {str(image.SOPInstanceUID): image for image in series.images}
    (shared,) = dataset.SharedFunctionalGroupsSequence
    slice_of: dict[str, int] = {}
    placed: dict[str, tuple[float, ...]] = {}
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        uid = _source(frame)
        position = tuple(frame.PlanePositionSequence[0].ImagePositionPatient)
        if uid in placed:
            same(f"position of two frames on image {uid}", position, placed[uid])
            continue
        placed[uid] = position
        if uid not in images:
            raise ProofFailed(f"a frame names the image {uid}, which is not in the series")
        image = images[uid]
        own = _corners(
            dataset,
            position,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
        )
        named = _corners(image, image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing)
        slice_of[uid] = _slice_at(named, geometry, uid)
        if _slice_at(own, geometry, uid) != slice_of[uid]:
            raise ProofFailed(f"a frame that names the image {uid} lies on another slice")
    return slice_of


def _corners(
    grid: Dataset, position: Sequence[float], orientation: Sequence[float], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Return LPS mm, shape (3, 3), of voxels (0, 0), (last row, 0) and (0, last column) of a plane.

    Source: PS3.3 C.7.6.2.1.1; the first three cosines run along a row, the first spacing is between rows.
    """
    origin, cosines = np.array(position, np.float64), np.array(orientation, np.float64)
    down = cosines[3:] * float(spacing[0]) * (int(grid.Rows) - 1)
    along = cosines[:3] * float(spacing[1]) * (int(grid.Columns) - 1)
    return np.stack([origin, origin + down, origin + along])


def _slice_at(corners: NDArray[np.float64], geometry: Geometry, uid: str) -> int:
    """Return the k at which a plane lies, with rows and columns along the volume's own.

    It may lie off by what the verdict lets pass (`models.series.limits`).
    """
    k = round(float(geometry.to_index(corners[0])[0]))
    (_, rows, columns), (_, row_mm, column_mm) = geometry.shape, geometry.spacing_mm
    meant = geometry.to_lps([(k, 0, 0), (k, rows - 1, 0), (k, 0, columns - 1)])
    turned = np.array([0.0, off_corner_mm(rows, row_mm), off_corner_mm(columns, column_mm)])
    off = np.abs(corners - meant).max(axis=1)
    allowed = off_grid_mm(geometry.slice_step_mm) + LOST_IN_STRINGS_MM + turned
    if not 0 <= k < geometry.shape[0] or (off > allowed).any():
        raise ProofFailed(f"the plane of image {uid} is {off.max():.3f} mm off slice {k} of the volume")
    return k


def _source(frame: Dataset) -> str:
    (derivation,) = frame.DerivationImageSequence
    (source,) = derivation.SourceImageSequence
    return str(source.ReferencedSOPInstanceUID)


def _segment_number(dataset: Dataset, frame: Dataset) -> int:
    groups = frame if "SegmentIdentificationSequence" in frame else dataset.SharedFunctionalGroupsSequence[0]
    return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _term(item: Dataset) -> Code:
    return Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)


def _only(items: Sequence[Dataset] | None) -> Code | None:
    if not items:
        return None
    (item,) = items
    return _term(item)
