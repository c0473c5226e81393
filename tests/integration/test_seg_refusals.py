"""SEGs that say two things at once, that are not of this series, and that would fill the memory."""

from __future__ import annotations

import struct
import zlib
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset, config, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    RLELossless,
)

from models.errors import Refused
from services.dicom.seg import bounded
from services.dicom.seg import masks as seg_masks
from services.dicom.seg.files import cited_images, find_seg
from services.dicom.seg.frames import SegCode
from services.dicom.seg.pixels import stored_frames
from services.dicom.seg.reader import read_seg
from services.dicom.seg.saving import saving_of
from tests.support.result_cases import AFFINES, ct_series
from tests.support.seg_cases import item, plain_seg, read_headers

SHAPE = (4, 9, 11)


@pytest.fixture
def series():
    return ct_series(AFFINES["axial"], SHAPE)


@pytest.fixture
def plain(series):
    """A sound SEG of two organs, 99 pixels a frame: frames begin within a byte."""
    liver, stomach = np.zeros((2, *SHAPE), dtype=bool)
    liver[1:4, 2:5, 2:6] = True
    stomach[:3, 5:8, 4:9] = True
    return plain_seg(series, {"Liver": liver, "Stomach": stomach}, series.volume.geometry, cite=True)


def pixels(seg: Dataset, values: np.ndarray, bits: int = 8) -> None:
    """Put one stored value per pixel in, axes (frame, row, column)."""
    seg.BitsAllocated = seg.BitsStored = bits
    seg.HighBit = bits - 1
    content = values.astype(f"<u{bits // 8}").tobytes()
    seg.add_new("PixelData", "OB" if bits == 8 else "OW", content + b"\0" * (len(content) % 2))


def planes(seg: Dataset) -> np.ndarray:
    return seg.pixel_array.astype(np.uint8)


@pytest.fixture
def outcome(series, tmp_path):
    """Save a SEG and return the masks that are read, or the code it is refused with."""

    def of(seg: Dataset):
        seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
        try:
            return [segment.mask for segment in read_seg(tmp_path / "seg.dcm", series).segments]
        except Refused as refused:
            return refused.code

    return of


def same(one, other) -> bool:
    return all(a == b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("top", [1, 255])
def test_a_binary_seg_may_take_a_byte_or_two_a_pixel_but_only_one_value(top, plain, outcome):
    expected = outcome(deepcopy(plain))
    for bits in (8, 16):
        wide = deepcopy(plain)
        pixels(wide, planes(plain) * top, bits)
        assert same(outcome(wide), expected)
    mixed = deepcopy(plain)
    values = planes(plain) * top
    values[3, 5, 5] = 2
    pixels(mixed, values)
    assert outcome(mixed) == SegCode.MALFORMED


@pytest.mark.parametrize(("maximum", "least"), [(255, 128), (128, 64), (1, 1), (200, 100)])
@pytest.mark.parametrize("kind", ["OCCUPANCY", "PROBABILITY"])
def test_a_fractional_voxel_belongs_from_half_of_the_maximum_on(maximum, least, kind, plain, outcome):
    values = np.zeros((6, 9, 11))
    values[:, 2, :3] = (least - 1, least, maximum)
    plain.SegmentationType, plain.SegmentationFractionalType = "FRACTIONAL", kind
    plain.MaximumFractionalValue = maximum
    pixels(plain, values)
    for mask in outcome(plain):
        assert mask.dense()[:, 2, :3].any(axis=0).tolist() == [False, True, True]
        assert mask.voxels == 6


@pytest.mark.parametrize("maximum", [0, 199, None])
def test_fractions_above_their_maximum_or_of_none_are_refused(maximum, plain, outcome):
    plain.SegmentationType, plain.MaximumFractionalValue = "FRACTIONAL", maximum
    pixels(plain, planes(plain) * 200)
    assert outcome(plain) == SegCode.MALFORMED


def test_frames_in_any_order_and_twice_the_same_hold_the_same_voxels(plain, outcome):
    expected = outcome(deepcopy(plain))
    order = [5, 0, 3, 3, 1, 4, 2]
    groups = plain.PerFrameFunctionalGroupsSequence
    values = planes(plain)[order]
    plain.PerFrameFunctionalGroupsSequence = [deepcopy(groups[n]) for n in order]
    plain.NumberOfFrames = len(order)
    plain.PixelData = np.packbits(values.ravel(), bitorder="little").tobytes()
    assert same(outcome(plain), expected)


@pytest.mark.parametrize("change", [-2, 2, 8])
def test_pixel_data_of_another_length_are_refused(change, plain, outcome):
    """Also where each frame was padded to whole bytes, as some writers do: 78 bytes for 75."""
    plain.PixelData = plain.PixelData[: len(plain.PixelData) + min(change, 0)] + b"\0" * max(change, 0)
    assert outcome(plain) == SegCode.BAD_PIXEL_DATA


def test_a_byte_a_pixel_in_rle_holds_the_same_voxels(plain, outcome):
    expected = outcome(deepcopy(plain))
    compressed = deepcopy(plain)
    pixels(compressed, planes(plain))
    compressed.compress(RLELossless, generate_instance_uid=False)
    assert same(outcome(compressed), expected)


def test_bits_in_big_endian_hold_the_same_voxels_in_bytes_and_in_words(plain, outcome):
    expected = outcome(deepcopy(plain))
    plain.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert same(outcome(deepcopy(plain)), expected)
    swapped = np.frombuffer(plain.PixelData, dtype=">u2").astype("<u2").tobytes()
    plain.add_new("PixelData", "OW", swapped)
    assert same(outcome(plain), expected)


def same_number(seg: Dataset) -> None:
    seg.SegmentSequence[1].SegmentNumber = 1


def other_index(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 2


def other_series(seg: Dataset) -> None:
    seg.ReferencedSeriesSequence = [item(SeriesInstanceUID="1.2.9")]


def only_another_series(seg: Dataset) -> None:
    """Drawn on another phase, whose slices lie where ours do: the positions alone would fit."""
    other_series(seg)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence


def test_the_seg_that_a_frame_was_made_from_is_no_unknown_image(plain, series, outcome, tmp_path):
    expected = outcome(deepcopy(plain))
    ours = item(ReferencedSOPClassUID=plain.SOPClassUID, ReferencedSOPInstanceUID="1.9.9")
    for frame in plain.PerFrameFunctionalGroupsSequence:
        frame.DerivationImageSequence[0].SourceImageSequence.append(ours)
    assert same(outcome(plain), expected)
    assert read_seg(tmp_path / "seg.dcm", series).refers_to == {"1.9.9"}
    assert "1.9.9" not in cited_images(tmp_path / "seg.dcm")


def many_frames(seg: Dataset) -> None:
    count = 40
    groups = [seg.PerFrameFunctionalGroupsSequence[0]] * count
    first = seg.pixel_array[:1]
    seg.PerFrameFunctionalGroupsSequence, seg.NumberOfFrames = groups, count
    seg.PixelData = np.packbits(np.repeat(first, count, axis=0).ravel()).tobytes() + b"\0"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (same_number, SegCode.MALFORMED),
        (other_index, SegCode.MALFORMED),
        (other_series, SegCode.OTHER_SERIES),
        (only_another_series, SegCode.OTHER_SERIES),
        (many_frames, SegCode.MALFORMED),
        (lambda seg: setattr(seg, "PixelRepresentation", 1), SegCode.BAD_PIXEL_DATA),
        (lambda seg: setattr(seg, "BitsAllocated", 32), SegCode.BAD_PIXEL_DATA),
    ],
)
def test_an_object_that_contradicts_itself_or_us_is_refused(change, code, plain, outcome):
    change(plain)
    assert outcome(plain) == code


def test_a_label_map_whose_background_is_also_an_organ_is_refused(plain, outcome):
    plain.SOPClassUID, plain.SegmentationType = "1.2.840.10008.5.1.4.1.1.66.7", "LABELMAP"
    plain.PerFrameFunctionalGroupsSequence = plain.PerFrameFunctionalGroupsSequence[:3]
    plain.NumberOfFrames = 3
    values = np.zeros((3, 9, 11))
    values[:, 1:3], values[:, 4:6] = 1, 2
    pixels(plain, values)
    assert [mask.voxels for mask in outcome(deepcopy(plain))] == [66, 66]
    named = deepcopy(plain)  # OHIF keeps the label of a background and not its code
    named.SegmentSequence[0].SegmentLabel = "Background"
    assert [mask.voxels for mask in outcome(named)] == [66]
    plain.PixelPaddingValue = 2
    assert outcome(plain) == SegCode.MALFORMED


def test_two_rows_and_columns_fewer_than_the_ct_are_refused(ohif, tmp_path):
    """As of 510 by 510 voxels on 512 by 512, which somebody's tools write."""
    seg = dcmread(ohif / "sent.dcm")
    values = seg.pixel_array[:, :-2, :-2]
    seg.Rows, seg.Columns = values.shape[1:]
    packed = np.packbits(values.ravel(), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    seg.save_as(tmp_path / "seg.dcm")
    with pytest.raises(Refused) as refused:
        read_seg(tmp_path / "seg.dcm", read_headers(ohif / "ct"))
    assert (refused.value.code, refused.value.measured) == (SegCode.GRID_MISMATCH, {"uncovered": 2})


def test_a_deflated_bomb_is_refused_by_every_way_in(plain, series, tmp_path, monkeypatch):
    plain.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    plain.add_new("ImageComments", "LT", "sound")
    path = tmp_path / "seg.dcm"
    plain.save_as(path, enforce_file_format=True)
    sound = path.read_bytes()
    assert len(read_seg(path, series).segments) == 2
    assert len(cited_images(path)) == 4
    monkeypatch.setattr(bounded, "SEG", replace(bounded.SEG, file_bytes=2**20, inflated_bytes=2**20))
    start = sound.index(plain.file_meta.TransferSyntaxUID.encode()) + len(plain.file_meta.TransferSyntaxUID)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(2**20)) for _ in range(64)) + deflater.flush()
    meta_end = 144 + int(dcmread(path).file_meta.FileMetaInformationGroupLength)
    assert meta_end >= start
    path.write_bytes(sound[:meta_end] + bomb)
    assert len(bomb) < 2**17
    assert find_seg(tmp_path) == path, "finding it inflates nothing"
    for way_in in (lambda: read_seg(path, series), lambda: cited_images(path)):
        with pytest.raises(Refused) as refused:
            way_in()
        assert refused.value.code == SegCode.TOO_LARGE
    path.write_bytes(sound + bytes(2**20))
    with pytest.raises(Refused) as refused:
        read_seg(path, series)
    assert refused.value.code == SegCode.TOO_LARGE


def test_a_compressed_frame_that_would_unpack_to_more_than_its_plane_is_refused(tmp_path):
    series = ct_series(AFFINES["axial"], (4, 64, 64))  # the encoder wants no less
    liver = np.zeros((4, 64, 64), dtype=bool)
    liver[1:3, 20:40, 20:50] = True
    plain = plain_seg(series, {"Liver": liver}, series.volume.geometry)

    def outcome(seg: Dataset):
        seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
        try:
            return int(read_seg(tmp_path / "seg.dcm", series).segments[0].mask.voxels)
        except Refused as refused:
            return refused.code

    pixels(plain, planes(plain))
    plain.compress(JPEG2000Lossless, generate_instance_uid=False)
    assert outcome(deepcopy(plain)) == 1200
    stream = bytearray(plain.PixelData)
    at = stream.index(b"\xff\x4f\xff\x51") + 8
    stream[at : at + 8] = (60000).to_bytes(4, "big") * 2
    huge = deepcopy(plain)
    huge.PixelData = bytes(stream)
    assert outcome(huge) == SegCode.BAD_PIXEL_DATA
    fewer = deepcopy(plain)
    fewer.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    assert outcome(fewer) == SegCode.BAD_PIXEL_DATA


def test_segments_by_the_thousand_take_no_memory_unless_drawn_and_then_are_refused(
    plain, outcome, monkeypatch
):
    empty = [item(SegmentNumber=n, SegmentLabel=f"s{n}") for n in range(3, 3000)]
    plain.SegmentSequence.extend(empty)
    masks = outcome(deepcopy(plain))
    assert len({id(mask) for mask in masks}) == 3, "two are drawn, and all others are one"
    monkeypatch.setattr(seg_masks, "MAX_MASK_BYTES", int(np.prod(SHAPE)))
    assert outcome(plain) == SegCode.TOO_LARGE


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "A.1", "1..2", "1." * 40 + "1"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of the value
def test_what_has_no_uid_is_refused(plain, series, tmp_path, keyword, value):
    path = tmp_path / "seg.dcm"
    plain.save_as(path, enforce_file_format=True)
    seg = dcmread(path)
    if value is None:
        delattr(seg, keyword)
    else:
        seg[keyword] = DataElement(keyword, "UI", value, validation_mode=config.IGNORE)
    seg.save_as(path)
    with pytest.raises(Refused, match=keyword) as refused:
        read_seg(path, series)
    assert refused.value.code == SegCode.MALFORMED


@pytest.mark.parametrize(
    ("tag", "read"), [("ReferencedSeriesSequence", cited_images), ("Manufacturer", saving_of)]
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of the value
def test_a_refusal_repeats_nothing_that_the_file_holds(plain, tmp_path, tag, read):
    """A text where numbers are said to be: pydicom's own words repeat its bytes."""
    number = tag_for_keyword(tag)
    plain.pop(number, None)
    plain.add_new(number, "LO", "DOE^JANES1")  # no multiple of four bytes
    path = tmp_path / "seg.dcm"
    plain.save_as(path, enforce_file_format=True)
    spot = struct.pack("<HH", number >> 16, number & 0xFFFF)
    content = path.read_bytes()
    assert content.count(spot + b"LO") == 1
    path.write_bytes(content.replace(spot + b"LO", spot + b"UL"))
    with pytest.raises(Refused) as refused:
        read(path)
    assert refused.value.code == SegCode.MALFORMED
    assert "DOE" not in str(refused.value)


def test_a_refusal_of_pixels_repeats_nothing_that_the_file_holds(plain):
    pixels(plain, planes(plain))
    what = "PhotometricInterpretation"
    plain[what] = DataElement(what, "CS", "DOE^JANE", validation_mode=config.IGNORE)
    with pytest.raises(Refused) as refused:
        list(stored_frames(plain, int(plain.NumberOfFrames)))
    assert refused.value.code == SegCode.BAD_PIXEL_DATA
    assert "DOE" not in str(refused.value)
