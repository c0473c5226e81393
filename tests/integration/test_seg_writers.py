"""SEGs as dcmqi, highdicom and dcmtk write them of a phantom: voxel by voxel what they were told to write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import highdicom
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import JPEG2000Lossless, RLELossless, generate_uid

from services.dicom.seg.reader import ReadSegment, read_seg
from tests.browser.voxels import masks_of
from tests.support.dcmqi import labels_of, write_seg
from tests.support.encodings import dcmtk
from tests.support.seg_cases import HeaderSeries, cited_headers, grid_of, read_headers, read_nrrd

Mask = NDArray[np.bool_]
LIVER = {"CodeValue": "T-62000", "CodingSchemeDesignator": "SRT", "CodeMeaning": "Liver"}


@dataclass(frozen=True)
class Phantom:
    """The CT that SEGs are written of, and organs on it by label, axes (k, j, i)."""

    ct: Path
    series: HeaderSeries
    organs: dict[str, Mask]

    def read(self, path: Path) -> tuple[ReadSegment, ...]:
        return read_seg(path, self.series).segments

    def by_dcmqi(self, folder: Path, groups: list[dict[str, Mask]], *words: str, **said: object) -> Path:
        """Write segments with itkimage2segimage; segments of two groups may overlap."""
        drawn, attributes = [], []
        for masks in groups:
            drawn.append(labels_of(masks))
            attributes.append([_attributes(n, label) | said for n, label in enumerate(masks, start=1)])
        meta = {"SeriesDescription": "Drawn", "SeriesNumber": "300", "segmentAttributes": attributes}
        return write_seg(drawn, meta, self.ct, grid_of(self.series), folder / "dcmqi.dcm", *words)

    def by_highdicom(self, path: Path, pixels: NDArray, kind: str, images: int | None = None, **more) -> Path:
        """Write (k, j, i) pixels, or (k, j, i, segment), with highdicom on the first images."""
        files = [dcmread(one) for one in sorted(self.ct.iterdir())][:images]
        segments = [
            highdicom.seg.SegmentDescription(
                n, f"Part {n}", codes.SCT.Organ, codes.SCT.Liver,
                highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
            )
            for n in range(1, 1 + (pixels.shape[3] if pixels.ndim == 4 else 1))
        ]  # fmt: skip
        seg = highdicom.seg.Segmentation(
            files, pixels, kind, segments, generate_uid(), 7, generate_uid(), 1, "Maker", "Model", "1", "2",
            **more,
        )  # fmt: skip
        seg.save_as(path)
        return path


@pytest.fixture(scope="module")
def phantom(ohif) -> Phantom:
    series = read_headers(ohif / "ct")
    images = [str(image.SOPInstanceUID) for image in series.images]
    return Phantom(ohif / "ct", series, masks_of((ohif / "sent.dcm").read_bytes(), images))


def _attributes(number: int, label: str) -> dict[str, object]:
    structure = ("123037004", "SCT", "Anatomical Structure")
    category = dict(zip(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), structure, strict=True))
    return {
        "labelID": number,
        "SegmentLabel": label,
        "SegmentDescription": label,
        "SegmentAlgorithmType": "MANUAL",
        "SegmentedPropertyCategoryCodeSequence": category,
        "SegmentedPropertyTypeCodeSequence": LIVER,
    }


def test_a_seg_by_dcmqi_is_what_was_drawn(phantom, tmp_path):
    liver = phantom.organs["Liver"]
    (read,) = phantom.read(phantom.by_dcmqi(tmp_path, [{"Liver": liver}]))
    assert np.array_equal(read.mask.dense(), liver)
    assert (read.label, read.type.value, read.type.scheme) == ("Liver", "T-62000", "SRT")


def test_overlapping_segments_of_dcmqi_are_what_was_drawn(phantom, tmp_path):
    around = np.zeros_like(phantom.organs["Liver"])
    around[3:9, 20:40, 10:50] = True
    groups = [{key: phantom.organs[key] for key in ("Liver", "Spleen")}, {"Around": around}]
    drawn = groups[0] | groups[1]
    assert np.count_nonzero(around & phantom.organs["Liver"]) > 100
    read = phantom.read(phantom.by_dcmqi(tmp_path, groups))
    assert [(one.number, one.label) for one in read] == list(enumerate(drawn, start=1))
    for one in read:
        assert np.array_equal(one.mask.dense(), drawn[one.label]), one.label


@pytest.mark.parametrize("rle", [False, True], ids=["plain", "RLE"])
def test_a_sparse_label_map_of_dcmqi_is_what_was_drawn_without_its_background(rle, phantom, tmp_path):
    organs = {key: phantom.organs[key] for key in ("Left kidney", "Right kidney")}
    tracking = {"TrackingIdentifier": "one", "TrackingUniqueIdentifier": "1.2.3"}
    path = phantom.by_dcmqi(tmp_path, [organs], "--segmentationType", "labelmap", **tracking)
    seg = dcmread(path)
    assert seg.SegmentationType == "LABELMAP"
    assert int(seg.NumberOfFrames) < len(phantom.series.images), "empty planes are left out"
    if rle:
        seg.compress(RLELossless, generate_instance_uid=False)
        seg.save_as(path)
    read = phantom.read(path)
    assert [one.label for one in read] == list(organs)
    for one in read:
        assert np.array_equal(one.mask.dense(), organs[one.label]), one.label
        assert one.tracking_uid == "1.2.3"


def jpeg_2000(path: Path) -> None:
    """Encode each frame of bits as one codestream of one bit."""
    seg = dcmread(path)
    frames = [
        imagecodecs.jpeg2k_encode(
            plane.astype(np.uint8), level=0, reversible=True, bitspersample=1, codecformat="j2k"
        )
        for plane in seg.pixel_array
    ]
    seg.PixelData = encapsulate(frames)
    seg["PixelData"].VR = "OB"
    seg.file_meta.TransferSyntaxUID = JPEG2000Lossless
    seg.save_as(path)


@pytest.mark.parametrize(
    ("encode", "syntax"),
    [
        (jpeg_2000, "1.2.840.10008.1.2.4.90"),
        (dcmtk("dcmconv", "+tb"), "1.2.840.10008.1.2.2"),
        (dcmtk("dcmconv", "+td"), "1.2.840.10008.1.2.1.99"),
        (dcmtk("dcmconv", "+ti"), "1.2.840.10008.1.2"),
    ],
    ids=["JPEG 2000", "big endian", "deflated", "implicit VR"],
)
def test_other_transfer_syntaxes_hold_the_same_voxels(encode, syntax, phantom, tmp_path):
    organs = {key: phantom.organs[key] for key in ("Liver", "Right kidney")}
    path = phantom.by_dcmqi(tmp_path, [organs])
    encode(path)
    assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    for one in phantom.read(path):
        assert np.array_equal(one.mask.dense(), organs[one.label]), one.label


def test_segs_by_highdicom_are_what_was_drawn(phantom, tmp_path):
    liver, spleen = (phantom.organs[key].astype(np.uint8) for key in ("Liver", "Spleen"))
    shifted = np.roll(liver, 4, axis=2)
    assert np.count_nonzero(liver & shifted) > 1000
    fractions = np.where(liver > 0, 0.75, 0.0) + np.where(spleen > 0, 0.25, 0.0)
    cases = {  # pixels, kind, more words, and the masks that they mean
        "binary": (liver, "BINARY", {}, [liver]),
        "overlap": (np.stack([liver, shifted], axis=3), "BINARY", {}, [liver, shifted]),
        "zero or all": (liver.astype(float), "FRACTIONAL", {}, [liver]),
        "fractions of 255": (fractions, "FRACTIONAL", {"max_fractional_value": 255}, [liver]),
        "fractions of 128": (fractions, "FRACTIONAL", {"max_fractional_value": 128}, [liver]),
    }
    for name, (pixels, kind, more, masks) in cases.items():
        read = phantom.read(phantom.by_highdicom(tmp_path / "seg.dcm", pixels, kind, **more))
        assert len(read) == len(masks), name
        for one, mask in zip(read, masks, strict=True):
            assert np.array_equal(one.mask.dense(), mask.astype(bool)), (name, one.label)
    only = phantom.by_highdicom(tmp_path / "seg.dcm", liver[:1], "BINARY", images=1)
    assert int(dcmread(only).NumberOfFrames) == 1
    (one,) = phantom.read(only)
    assert np.array_equal(one.mask.plane(0), liver[0].astype(bool))
    assert np.flatnonzero(one.mask.by_slice()).tolist() == [0]


def test_a_fractional_voxel_belongs_from_half_of_the_maximum_on(phantom, tmp_path):
    steps = np.zeros(phantom.organs["Liver"].shape)
    steps[4, :3, :43] = np.arange(129).reshape(3, 43) / 128
    path = phantom.by_highdicom(tmp_path / "seg.dcm", steps, "FRACTIONAL", max_fractional_value=128)
    (one,) = phantom.read(path)
    assert np.array_equal(np.flatnonzero(one.mask.plane(4)[:3, :43]), np.arange(64, 129))


def test_real_segs_of_dcmqi_are_their_nrrd_truth(test_data):
    """Two codes for one organ, one kept in JPEG 2000 and in big endian; five that overlap; a label map."""
    of_dcmqi = test_data("seg-dcmqi", "SEGs of 512 x 512 by earlier versions of dcmqi") / "data/segmentations"
    encoded = test_data("ct-odd-encodings", "a SEG of dcmqi that others encoded again")
    slices = read_headers(of_dcmqi / "ct-3slice")
    truth = read_nrrd(of_dcmqi / "liver_seg.nrrd") == 1
    for path in (of_dcmqi / "liver.dcm", encoded / "liver_j2k.dcm", encoded / "liver_expb.dcm"):
        (liver,) = read_seg(path, slices).segments
        assert np.array_equal(liver.mask.dense(), truth), path.name
    assert np.count_nonzero(truth) == 107_098
    assert (liver.label, liver.type.value, liver.type.scheme) == ("Liver", "T-62000", "SRT")
    overlapping = read_seg(of_dcmqi / "partial_overlaps.dcm", slices).segments
    drawn = {}
    for number in (1, 2, 3):
        labels = read_nrrd(of_dcmqi / f"partial_overlaps-{number}.nrrd")
        drawn |= {int(value): labels == value for value in np.unique(labels) if value}
    assert [one.number for one in overlapping] == sorted(drawn) == [1, 2, 3, 4, 5]
    for one in overlapping:
        assert np.array_equal(one.mask.dense(), drawn[one.number]), one.label
    images = read_headers(of_dcmqi / "24x38x3" / "image")
    (liver,) = read_seg(of_dcmqi / "sparse-labelmap-noppv.dcm", images).segments
    assert np.array_equal(liver.mask.dense(), read_nrrd(of_dcmqi / "sparse_labelmap_noppv_seg.nrrd") == 1)
    assert (liver.tracking_uid, liver.mask.voxels) == ("1.2.3", 630)


def test_real_segs_of_highdicom_hold_what_pydicom_decodes(test_data):
    folder = test_data("seg-highdicom", "SEGs by earlier versions of highdicom, without the CT they cite")
    voxels = {
        "binary": [638], "binary_overlap": [64, 16], "binary_single_frame": [1832],
        "binary_fractional": [638], "true_fractional": [638],
    }  # fmt: skip
    for name, expected in voxels.items():
        path = folder / f"seg_image_ct_{name}.dcm"
        read = read_seg(path, cited_headers(path)).segments
        assert [one.mask.voxels for one in read] == expected, name
        assert sum(expected) == _decoded(dcmread(path)), name


def _decoded(seg: Dataset) -> int:
    least = seg.MaximumFractionalValue / 2 if seg.SegmentationType == "FRACTIONAL" else 1
    return int(np.count_nonzero(seg.pixel_array >= least))
