"""CT headers and NRRD truth for the tests of SEGs."""

from __future__ import annotations

import gzip
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from models.geometry import Geometry


@dataclass(frozen=True)
class HeaderSeries:
    """What the SEG reader needs of a CT series: its headers in k order."""

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    images: list[Dataset] = field(repr=False)
    names_frame_of_reference: bool = True
    not_used: dict[str, str | None] = field(default_factory=dict)


def header_series(images: list[Dataset]) -> HeaderSeries:
    images = sorted(images, key=lambda image: float(image.ImagePositionPatient[2]))
    first = images[0]
    return HeaderSeries(
        first.StudyInstanceUID, first.SeriesInstanceUID, first.get("FrameOfReferenceUID", ""), images
    )


def read_headers(folder: Path) -> HeaderSeries:
    """Headers of all axial CT images in a folder."""
    return header_series([dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))])


def grid_of(series: HeaderSeries) -> Geometry:
    """Return the grid of an axial series whose slices are evenly apart, columns to the left, rows down."""
    first, second = series.images[:2]
    row_mm, column_mm = map(float, first.PixelSpacing)
    step = float(second.ImagePositionPatient[2]) - float(first.ImagePositionPatient[2])
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = step, row_mm, column_mm
    affine[:, 3] = (*map(float, first.ImagePositionPatient), 1.0)
    return Geometry((len(series.images), int(first.Rows), int(first.Columns)), affine)


def cited_headers(seg_path: Path) -> HeaderSeries:
    """Headers of the CT images a SEG cites, made from what it says about them."""
    seg = dcmread(seg_path)
    images = {}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        image = Dataset()
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        image.SOPInstanceUID = source.ReferencedSOPInstanceUID
        image.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
        shared = seg.SharedFunctionalGroupsSequence[0]
        image.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        image.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        image.Rows, image.Columns = seg.Rows, seg.Columns
        image.StudyInstanceUID, image.PatientID = seg.StudyInstanceUID, seg.PatientID
        image.FrameOfReferenceUID = seg.FrameOfReferenceUID
        images[image.SOPInstanceUID] = image
    (listed,) = seg.ReferencedSeriesSequence
    for item in listed.ReferencedInstanceSequence:
        if item.ReferencedSOPInstanceUID not in images:  # without a frame: where, the SEG does not say
            below = deepcopy(min(images.values(), key=lambda one: one.ImagePositionPatient[2]))
            below.ImagePositionPatient[2] -= 1.25
            below.SOPInstanceUID = item.ReferencedSOPInstanceUID
            images[below.SOPInstanceUID] = below
    for image in images.values():
        image.SeriesInstanceUID = listed.SeriesInstanceUID
    return header_series(list(images.values()))


def read_nrrd(path: Path) -> np.ndarray:
    """Return the (k, j, i) labels of a gzipped NRRD of shorts whose slices ascend to the head."""
    header, packed = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    if (fields["type"], fields["endian"], fields["encoding"]) != ("short", "little", "gzip"):
        raise ValueError(f"{path.name} is another kind of NRRD")
    shape = tuple(reversed([int(side) for side in fields["sizes"].split()]))
    return np.frombuffer(gzip.decompress(packed), dtype="<i2").reshape(shape)


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def plain_seg(series, masks: dict[str, np.ndarray], grid: Geometry, *, cite: bool = False) -> Dataset:
    """A BINARY SEG that states its own grid in full, by hand, with a frame for every drawn plane.

    `masks` by label, axes (k, j, i) on `grid`, whose axes stand upright on each other; with `cite` each
    frame cites the CT image that is nearest.
    """
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seg.SOPClassUID, seg.SOPInstanceUID, seg.SeriesInstanceUID = SegmentationStorage, "1.2.3.4", "1.2.3"
    seg.PatientID, seg.StudyInstanceUID = series.images[0].PatientID, series.study_uid
    seg.FrameOfReferenceUID = series.frame_of_reference_uid
    seg.Manufacturer, seg.SegmentationType, seg.BitsAllocated = "Test", "BINARY", 1
    seg.BitsStored, seg.HighBit, seg.SamplesPerPixel, seg.PixelRepresentation = 1, 0, 1, 0
    seg.PhotometricInterpretation = "MONOCHROME2"
    seg.Rows, seg.Columns = grid.shape[1:]
    seg.SegmentSequence = [
        item(SegmentNumber=n, SegmentLabel=label, SegmentAlgorithmType="MANUAL")
        for n, label in enumerate(masks, start=1)
    ]
    k_mm, j_mm, i_mm = grid.spacing_mm
    cosines = [*(grid.affine[:3, 2] / i_mm), *(grid.affine[:3, 1] / j_mm)]
    seg.DimensionIndexSequence = [item(DimensionIndexPointer=pointer) for pointer in (0x0062000B, 0x00200032)]
    measures = item(PixelSpacing=[f"{j_mm:.10g}", f"{i_mm:.10g}"], SpacingBetweenSlices=f"{k_mm:.10g}")
    orientation = item(ImageOrientationPatient=[f"{c:.10g}" for c in cosines])
    seg.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    ]
    at = np.array([image.ImagePositionPatient for image in series.images], dtype=float)
    planes, groups = [], []
    for n, mask in enumerate(masks.values(), start=1):
        for k in np.flatnonzero(mask.any(axis=(1, 2))):
            position = grid.to_lps((k, 0, 0))
            group = item(
                FrameContentSequence=[item(DimensionIndexValues=[n, int(k) + 1])],
                SegmentIdentificationSequence=[item(ReferencedSegmentNumber=n)],
                PlanePositionSequence=[item(ImagePositionPatient=[f"{mm:.10g}" for mm in position])],
            )
            if cite:
                image = series.images[int(np.linalg.norm(at - position, axis=1).argmin())]
                source = item(ReferencedSOPInstanceUID=image.SOPInstanceUID)
                group.DerivationImageSequence = [item(SourceImageSequence=[source])]
            groups.append(group)
            planes.append(mask[k].ravel())
    seg.PerFrameFunctionalGroupsSequence, seg.NumberOfFrames = groups, len(groups)
    packed = np.packbits(np.concatenate(planes), bitorder="little").tobytes()
    seg.add_new("PixelData", "OB", packed + b"\0" * (len(packed) % 2))
    return seg
