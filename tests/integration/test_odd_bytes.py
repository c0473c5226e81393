"""What the standard lets stand around a data set, or says that it means nothing, refuses no CT and no SEG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from models.errors import Refused
from services.dicom.ct.check import check_folder
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.series import read_series
from services.dicom.foreign.reader import as_written
from services.dicom.seg.reader import read_seg
from tests.support.ct_files import Change, edit, setting, written
from tests.support.encodings import plugin
from tests.support.seg_cases import read_headers

Bytes = Callable[[bytes], bytes]
PREAMBLES = {
    "TIFF, little endian": b"II*\0\x10\0\0\0",
    "TIFF, big endian": b"MM\0*\0\0\0\x10",
    "ZIP": b"PK\3\4",
    "PDF": b"%PDF-1.7",
    "JPEG": b"\xff\xd8\xff\xe0",
    "a data set": b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
    "DICM": b"DICM",
}
BEHIND: dict[str, bytes] = {f"{count} zeros": bytes(count) for count in (3, 8, 512)}


def preamble(magic: bytes) -> Bytes:
    return lambda content: magic + content[len(magic) :]


def behind(more: bytes) -> Bytes:
    return lambda content: content + more


ODD: dict[str, Bytes] = {f"preamble: {name}": preamble(magic) for name, magic in PREAMBLES.items()} | {
    f"behind: {name}": behind(more) for name, more in BEHIND.items()
}


def more_pixels(more: bytes) -> Change:
    def change(dataset: Dataset) -> None:
        dataset.PixelData += more

    return change


def trailing_padding(dataset: Dataset) -> None:
    dataset.add_new(0xFFFCFFFC, "OB", bytes(100))


def deflated(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def unnamed_in_meta(dataset: Dataset) -> None:
    del dataset.file_meta.MediaStorageSOPInstanceUID, dataset.file_meta.MediaStorageSOPClassUID


@as_written()
def changed(path: Path, change: Change) -> None:
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path, enforce_file_format=False)


def read_one(folder: Path) -> CTSeries:
    (reading,) = read_series(folder)
    return load(reading)


def require_same_ct(folder: Path, plain: CTSeries) -> None:
    series = read_one(folder)
    np.testing.assert_array_equal(series.volume.hu, plain.volume.hu)
    assert series.verdict == plain.verdict


@pytest.mark.parametrize(
    ("name", "encode"),
    [(name, None) for name in (*ODD, "behind: ones", "behind: text")]
    + [("behind: 512 zeros", plugin(RLELossless)), ("behind: ones", plugin(RLELossless))],
)
def test_a_ct_is_the_same_whatever_stands_before_or_behind_its_data_set(
    tmp_path: Path, name: str, encode: Callable[[Path], None] | None
) -> None:
    paths = written(tmp_path)
    plain = read_one(tmp_path)
    junk = {"behind: ones": behind(b"\xff" * 100), "behind: text": behind(b"END OF FILE. " * 10)}
    for path in paths:
        if encode is not None:
            encode(path)
        path.write_bytes((ODD | junk)[name](path.read_bytes()))
    require_same_ct(tmp_path, plain)


@pytest.mark.parametrize(
    "change",
    [
        more_pixels(bytes(2)), more_pixels(bytes(4096)), trailing_padding, unnamed_in_meta,
        setting(Modality="CT  ", ImageType=[" ORIGINAL ", " PRIMARY", "AXIAL "]),
        setting(PhotometricInterpretation=" MONOCHROME2 ", RescaleType=" HU "),
        setting(IrradiationEventUID="none", InstanceCreatorUID="", DeviceUID="a.b"),
    ],
    ids=["2 zeros", "4096 zeros", "trailing padding", "meta", "spaces", "more spaces", "UIDs nobody needs"],
)  # fmt: skip
def test_padding_spaces_and_uids_that_nothing_depends_on_change_no_ct(tmp_path: Path, change: Change) -> None:
    paths = written(tmp_path)
    plain = read_one(tmp_path)
    for path in paths:
        changed(path, change)
    require_same_ct(tmp_path, plain)


def test_spaces_around_the_patients_number_make_no_other_patient(tmp_path: Path) -> None:
    paths = written(tmp_path)
    edit(paths[0], setting(PatientID=f"  {dcmread(paths[0]).PatientID}   "))
    (row,) = check_folder(tmp_path)
    assert row["verdict"] == "ok"


def test_a_frame_of_reference_that_is_no_uid_counts_as_none(tmp_path: Path) -> None:
    for path in written(tmp_path):
        changed(path, setting(FrameOfReferenceUID="1.2.A"))
    (reading,) = read_series(tmp_path)
    series = load(reading)
    assert series.frame_of_reference_uid.startswith("2.25.")
    assert series.images[0].FrameOfReferenceUID == series.frame_of_reference_uid
    assert "no FrameOfReferenceUID" in series.verdict.notes[0]


def test_lossy_codes_around_the_padding_become_air_and_others_stay_not_ct(tmp_path: Path) -> None:
    def around(dataset: Dataset) -> None:
        stored = dataset.pixel_array.copy()
        stored[:2] = (
            np.arange(stored[:2].size).reshape(stored[:2].shape) % 9 - 2000 - int(dataset.RescaleIntercept)
        )
        dataset.PixelData = stored.astype("<i2").tobytes()

    paths = written(tmp_path)
    for path in paths:
        edit(path, around)
    (row,) = check_folder(tmp_path)
    assert row["code"] == "bad-pixel-data"
    for path in paths:
        edit(path, setting(LossyImageCompression="01"))
    (reading,) = read_series(tmp_path)
    series = load(reading)
    assert (series.volume.hu[:, :2] == -1024).all()
    assert any("padding that went through lossy compression" in note for note in series.verdict.notes)


@pytest.fixture
def saved(ohif: Path, tmp_path: Path) -> Path:
    path = tmp_path / "saved.dcm"
    path.write_bytes((ohif / "saved-by-ohif.dcm").read_bytes())
    return path


def require_same_seg(path: Path, ohif: Path) -> None:
    ct = read_headers(ohif / "ct")
    ours, theirs = (read_seg(one, ct) for one in (ohif / "saved-by-ohif.dcm", path))
    assert [one.label for one in theirs.segments] == [one.label for one in ours.segments]
    for one, other in zip(ours.segments, theirs.segments, strict=True):
        assert one.mask == other.mask, one.label


def test_a_seg_is_the_same_whatever_stands_before_its_data_set(ohif: Path, saved: Path) -> None:
    saved.write_bytes(ODD["preamble: TIFF, little endian"](saved.read_bytes()))
    require_same_seg(saved, ohif)


@pytest.mark.parametrize("more", [1, 4, 16])
def test_bytes_that_were_repeated_push_no_pixels_of_a_seg_out_unseen(
    ohif: Path, saved: Path, more: int
) -> None:
    """What is pushed out of the pixel data is zero, as padding is; all pixels before it lie elsewhere."""
    content = saved.read_bytes()
    pixels = content.index(dcmread(saved).PixelData)
    assert not any(content[-more:])
    saved.write_bytes(content[: pixels + more] + content[pixels:])
    with pytest.raises(Refused, match="something follows the pixel data") as refused:
        read_seg(saved, read_headers(ohif / "ct"))
    assert refused.value.code == "malformed-seg"


def spaced(seg: Dataset) -> None:
    seg.SegmentationType, seg.PatientID = f" {seg.SegmentationType} ", f"  {seg.PatientID} "
    for item in seg.SegmentSequence:
        item.SegmentLabel, item.SegmentAlgorithmType = f" {item.SegmentLabel} ", " MANUAL "


def backwards(seg: Dataset) -> None:
    """Positions are counted from the other end than they run."""
    for n, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
        content = frame.FrameContentSequence[0]
        content.DimensionIndexValues = [*content.DimensionIndexValues[:1], 1000 - n]


def counted(seg: Dataset) -> None:
    """The first index counts frames, though it should tell segments."""
    for n, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence[0].DimensionIndexValues = [n + 1, n + 1]


def too_few(seg: Dataset) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        frame.FrameContentSequence[0].DimensionIndexValues = [1]


@pytest.mark.parametrize(
    "change",
    [more_pixels(bytes(4096)), trailing_padding, spaced, backwards, counted, too_few],
    ids=["4096 zeros", "trailing padding", "spaces", "backwards", "counted", "too few"],
)
def test_padding_spaces_and_hints_for_display_change_no_seg(ohif: Path, saved: Path, change: Change) -> None:
    changed(saved, change)
    require_same_seg(saved, ohif)


def test_a_deflated_seg_may_have_padding_too(ohif: Path, saved: Path) -> None:
    changed(saved, more_pixels(bytes(100)))
    changed(saved, deflated)
    require_same_seg(saved, ohif)


def without_rows(content: bytes) -> bytes:
    """Rows is a text that is no number."""
    at = content.index(b"\x28\0\x10\0US\x02\0")
    return content[: at + 4] + b"CS\x02\0XX" + content[at + 10 :]


@pytest.mark.parametrize(
    ("change", "odd", "code"),
    [
        (more_pixels(b"\1" * 64), bytes, "bad-pixel-data"),
        (more_pixels(bytes(64) + b"\1\0"), bytes, "bad-pixel-data"),
        (setting(), behind(bytes(64) + b"\1"), "malformed-seg"),
        (setting(), behind(b"\x01\x02\x03\x04" * 8), "malformed-seg"),
        (setting(), without_rows, "malformed-seg"),
    ],
    ids=["ones in the pixels", "a one at their end", "a one behind", "text behind", "rows are no number"],
)
def test_what_is_no_padding_stays_refused_and_no_word_of_ours_is_an_exceptions_name(
    ohif: Path, saved: Path, change: Change, odd: Bytes, code: str
) -> None:
    changed(saved, change)
    saved.write_bytes(odd(saved.read_bytes()))
    with pytest.raises(Refused) as refused:
        read_seg(saved, read_headers(ohif / "ct"))
    assert refused.value.code == code
    assert "Error" not in str(refused.value)
