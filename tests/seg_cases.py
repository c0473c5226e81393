"""CT headers and NRRD truth for the tests of SEGs."""

from __future__ import annotations

import gzip
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread


@dataclass(frozen=True)
class HeaderSeries:
    """What the SEG reader needs of a CT series: its headers in k order."""

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    images: list[Dataset] = field(repr=False)


def header_series(images: list[Dataset]) -> HeaderSeries:
    images = sorted(images, key=lambda image: float(image.ImagePositionPatient[2]))
    first = images[0]
    return HeaderSeries(
        first.StudyInstanceUID, first.SeriesInstanceUID, first.get("FrameOfReferenceUID", ""), images
    )


def read_headers(folder: Path) -> HeaderSeries:
    """Headers of all axial CT images in a folder."""
    return header_series([dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))])


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
