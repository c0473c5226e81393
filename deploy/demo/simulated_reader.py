"""A simulated reader: corrects our SEG and saves it the way the OHIF viewer does.

What OHIF 3.12 makes of a SEG was measured on a file it saved: of a segment only number, order and label
survive; codes, algorithm, tracking and description do not, and colours come back slightly off. Pixel
measures are one empty item. The frame of reference stays, and each frame names its source image. Text is
in UTF-8, and no character set is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from services.dicom.ct.loaded import CTSeries
from services.dicom.foreign.objects import object_in
from services.dicom.identity import hashed_uid
from services.dicom.seg.names import plain_label

_COPIED = (
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID",
    "StudyID", "FrameOfReferenceUID", "PositionReferenceIndicator",
)  # fmt: skip


def save_like_ohif(
    sent: bytes, series: CTSeries, painted: Mapping[str, NDArray[np.bool_]], *, written_at: datetime
) -> bytes:
    """Return our SEG as OHIF would save it after a reader painted on it.

    Parameters
    ----------
    sent
        The BINARY SEG that was sent, as a DICOM file.
    series
        The CT series it refers to.
    painted
        By SegmentLabel without the mark of a flag, the mask the reader left, axes (k, j, i). As with OHIF's
        brush, voxels added to a painted segment are taken from every segment that is not painted.
    written_at
        Date and time of saving, local.

    Returns
    -------
    bytes
        The corrected SEG as a DICOM file; the same arguments give the same bytes.

    Raises
    ------
    ValueError
        If a painted label is not that of exactly one segment sent.
    """
    seg = object_in(sent)
    masks = _painted(seg, _masks(seg, series), painted)
    saved = _header(seg, series, written_at)
    saved.SegmentSequence = [_segment(item) for item in seg.SegmentSequence]
    _put_frames(saved, masks, series)
    buffer = BytesIO()
    saved.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _masks(seg: Dataset, series: CTSeries) -> list[NDArray[np.bool_]]:
    """Return the mask of each segment, axes (k, j, i)."""
    shape = series.volume.geometry.shape
    masks = [np.zeros(shape, np.bool_) for _ in seg.SegmentSequence]
    slice_of = {str(image.SOPInstanceUID): k for k, image in enumerate(series.images)}
    size = shape[1] * shape[2]
    packed = np.frombuffer(seg.PixelData, np.uint8)
    for n, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
        number = 1
        if len(masks) > 1:
            number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        start, stop = n * size, (n + 1) * size
        bits = np.unpackbits(packed[start // 8 : (stop + 7) // 8], bitorder="little")
        k = slice_of[str(source.ReferencedSOPInstanceUID)]
        masks[number - 1][k] = bits[start % 8 : start % 8 + size].reshape(shape[1:])
    return masks


def _painted(
    seg: Dataset, masks: list[NDArray[np.bool_]], painted: Mapping[str, NDArray[np.bool_]]
) -> list[NDArray[np.bool_]]:
    labels = [plain_label(str(item.SegmentLabel)) for item in seg.SegmentSequence]
    for label in painted:
        if labels.count(label) != 1:
            raise ValueError(f"{label!r} is not the label of exactly one of {labels}")
    taken = np.zeros(masks[0].shape, np.bool_)
    for label, mask in zip(labels, masks, strict=True):
        if label in painted:
            taken |= painted[label] & ~mask
    return [
        painted[label] if label in painted else mask & ~taken
        for label, mask in zip(labels, masks, strict=True)
    ]


def _header(seg: Dataset, series: CTSeries, written_at: datetime) -> Dataset:
    image = series.images[0]
    saved = Dataset()
    saved.file_meta = FileMetaDataset()
    saved.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    saved.file_meta.ImplementationVersionName = "OHIF-3.11.0"
    saved.SOPClassUID = SegmentationStorage
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        setattr(saved, name, hashed_uid("simulated-reader", name, str(seg.SOPInstanceUID), str(written_at)))
    for keyword in _COPIED:
        if keyword in image:
            setattr(saved, keyword, str(image[keyword].value).encode().decode("latin-1"))
    saved.PatientAge = image.get("PatientAge", "")
    saved.ImageType = ["DERIVED", "PRIMARY"]
    saved.SeriesDate = saved.ContentDate = f"{written_at:%Y%m%d}"
    saved.SeriesTime = saved.ContentTime = f"{written_at:%H%M%S}"
    saved.Modality, saved.SeriesNumber, saved.InstanceNumber = "SEG", 99, 1
    saved.Manufacturer = saved.ManufacturerModelName = "Unspecified"
    saved.SeriesDescription = "Research Derived series"
    saved.DeviceSerialNumber, saved.SoftwareVersions, saved.ContentQualification = "1", "0", "RESEARCH"
    saved.ImageComments = "NOT FOR CLINICAL USE"
    saved.ContentLabel, saved.ContentDescription, saved.ContentCreatorName = "SEGMENTATION", "", ""
    saved.SegmentationType, saved.LossyImageCompression = "BINARY", "00"
    saved.SamplesPerPixel, saved.PhotometricInterpretation = 1, "MONOCHROME2"
    saved.Rows, saved.Columns = image.Rows, image.Columns
    saved.BitsAllocated, saved.BitsStored, saved.HighBit, saved.PixelRepresentation = 1, 1, 0, 0
    return saved


def _segment(sent: Dataset) -> Dataset:
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = sent.SegmentNumber, sent.SegmentLabel
    segment.SegmentedPropertyCategoryCodeSequence = [_code("T-D0050", "SRT", "Tissue")]
    segment.SegmentedPropertyTypeCodeSequence = [_code("T-D0050", "SRT", "Tissue")]
    segment.SegmentAlgorithmType = "MANUAL"
    segment.RecommendedDisplayCIELabValue = [value ^ 1 for value in sent.RecommendedDisplayCIELabValue]
    return segment


def _put_frames(saved: Dataset, masks: list[NDArray[np.bool_]], series: CTSeries) -> None:
    first = series.images[0]
    normal = np.cross(first.ImageOrientationPatient[:3], first.ImageOrientationPatient[3:])
    heights = [float(np.dot(normal, image.ImagePositionPatient)) for image in series.images]
    order = [int(k) for k in np.argsort(heights)[::-1]]
    organization = hashed_uid("simulated-reader", "dimensions", str(saved.SOPInstanceUID))
    saved.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    saved.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=group,
            DimensionDescriptionLabel=label,
        )
        for pointer, group, label in (
            (0x0062000B, 0x0062000A, "ReferencedSegmentNumber"),
            (0x00200032, 0x00209113, "ImagePositionPatient"),
        )
    ]
    saved.ReferencedSeriesSequence = [
        _item(
            SeriesInstanceUID=series.series_uid,
            ReferencedInstanceSequence=[_reference(series.images[k]) for k in order],
        )
    ]
    orientation = _item(ImageOrientationPatient=first.ImageOrientationPatient)
    saved.SharedFunctionalGroupsSequence = [
        _item(PlaneOrientationSequence=[orientation], PixelMeasuresSequence=[Dataset()])
    ]
    frames = [
        (number, index, k)
        for number, mask in enumerate(masks, start=1)
        for index, k in enumerate(order, start=1)
        if mask[k].any()
    ]
    saved.PerFrameFunctionalGroupsSequence = [
        _frame(number, index, series.images[k]) for number, index, k in frames
    ]
    saved.NumberOfFrames = len(frames)
    voxels = [masks[number - 1][k].ravel() for number, _, k in frames]
    packed = np.packbits(np.concatenate(voxels), bitorder="little").tobytes()
    saved.add_new("PixelData", "OW", packed + b"\0" * (len(packed) % 2))


def _frame(number: int, index: int, image: Dataset) -> Dataset:
    source = _reference(image)
    source.PurposeOfReferenceCodeSequence = [
        _code("121322", "DCM", "Source image for image processing operation")
    ]
    derivation = _item(
        SourceImageSequence=[source], DerivationCodeSequence=[_code("113076", "DCM", "Segmentation")]
    )
    return _item(
        DerivationImageSequence=[derivation],
        FrameContentSequence=[_item(DimensionIndexValues=[number, index])],
        PlanePositionSequence=[_item(ImagePositionPatient=image.ImagePositionPatient)],
        SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=number)],
    )


def _reference(image: Dataset) -> Dataset:
    return _item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
