"""The cheap way of reading gives what the careful one gives, and leaves to it all that is odd."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from models.errors import ReadFailed
from services.dicom.ct.check import check_folder
from services.dicom.ct.headers import Known, facts_of, read_header
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.dicom.foreign import reader
from services.dicom.foreign.head import HEAD_BYTES, Header, NativePixels
from tests.support.ct_files import edit, setting, written


def header_of(path: Path) -> Dataset:
    header = read_header(path)
    assert header is not None
    return header


def native_of(path: Path) -> NativePixels | None:
    header = header_of(path)
    return header.native if isinstance(header, Header) else None


def loaded(folder: Path) -> np.ndarray:
    (reading,) = read_series(folder)
    return load(reading).volume.hu


def carefully(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "header_in_head", lambda *_: None)


def signed_12_bits(dataset: Dataset) -> None:
    stored = np.clip(dataset.pixel_array.astype(int), -2000, 2000).astype(np.int16)
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 12, 11
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelData = (stored & 0x0FFF).tobytes()  # the sign is in bit 11 alone


def odd_bytes(dataset: Dataset) -> None:
    dataset.Rows, dataset.Columns = 11, 9
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -300
    dataset.PixelData = np.arange(99, dtype=np.uint8).tobytes() + b"\0"
    dataset["PixelData"].VR = "OB"


def broken_slope(dataset: Dataset) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-100.25"


def padded(dataset: Dataset) -> None:
    stored = dataset.pixel_array.copy()
    stored[:3] = -2000 if dataset.PixelRepresentation else 0
    kind = "SS" if dataset.PixelRepresentation else "US"
    dataset.add_new("PixelPaddingValue", kind, int(stored[0, 0]))
    dataset.RescaleIntercept = -1024 if not dataset.PixelRepresentation else dataset.RescaleIntercept
    dataset.PixelData = stored.tobytes()


def unchanged(dataset: Dataset) -> None:
    """Leave it."""


@pytest.mark.parametrize("change", [unchanged, signed_12_bits, odd_bytes, broken_slope, padded])
def test_header_facts_and_hu_are_those_of_the_careful_way(
    change: Callable[[Dataset], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = written(tmp_path)
    for path in paths:
        edit(path, change)
        assert native_of(path) is not None
    headers, hu, verdict = [header_of(path) for path in paths], loaded(tmp_path), check_folder(tmp_path)
    carefully(monkeypatch)
    again = [header_of(path) for path in paths]
    assert [native_of(path) for path in paths] == [None] * len(paths)
    assert [header.to_json() for header in headers] == [header.to_json() for header in again]
    assert [header.file_meta for header in headers] == [header.file_meta for header in again]
    for name in ("original_encoding", "original_character_set"):
        assert [getattr(header, name) for header in headers] == [getattr(header, name) for header in again]
    carefully_loaded = loaded(tmp_path)
    assert hu.dtype == carefully_loaded.dtype
    np.testing.assert_array_equal(hu, carefully_loaded)
    assert verdict == check_folder(tmp_path)


def test_implicit_vr_is_read_the_cheap_way_too(tmp_path: Path) -> None:
    paths = written(tmp_path)
    hu = loaded(tmp_path)
    for path in paths:
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)
        assert native_of(path) is not None
    np.testing.assert_array_equal(loaded(tmp_path), hu)


def trailing(path: Path) -> None:
    edit(path, setting(DataSetTrailingPadding=b"\0\0"))


def second_pixels(path: Path) -> None:
    path.write_bytes(path.read_bytes() + path.read_bytes()[-252:])  # its last element once more


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def big_endian(path: Path) -> None:
    dataset = dcmread(path)
    dataset.PixelData = dataset.pixel_array.byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset["PixelData"].VR = "OW"
    dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)


def long_header(path: Path) -> None:
    def lengthen(dataset: Dataset) -> None:
        dataset.private_block(0x0029, "TEST", create=True).add_new(1, "OB", bytes(HEAD_BYTES))

    edit(path, lengthen)


@pytest.mark.parametrize("oddity", [trailing, second_pixels, cut, big_endian, long_header])
def test_what_is_odd_is_read_the_careful_way(
    oddity: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = written(tmp_path)
    oddity(paths[2])
    assert native_of(paths[2]) is None
    said = check_folder(tmp_path)
    carefully(monkeypatch)
    assert said == check_folder(tmp_path)
    assert (said[0]["code"] == "bad-pixel-data") == (oddity is cut)


def test_one_images_header_never_gets_the_pixels_that_its_file_came_to_hold_later(tmp_path: Path) -> None:
    paths = written(tmp_path)
    (reading,) = read_series(tmp_path)
    edit(paths[3], setting(PixelData=dcmread(paths[2]).PixelData))
    os.utime(paths[3], ns=(0, 0))
    with pytest.raises(ReadFailed, match="was changed"):
        load(reading)
    paths[3].write_bytes(paths[3].read_bytes()[:-2])
    with pytest.raises(ReadFailed, match="was changed"):
        load(reading)


def test_the_same_bytes_in_another_character_set_are_other_words(tmp_path: Path) -> None:
    paths = written(tmp_path)
    for path, name in zip(paths[:2], ("ISO_IR 100", "ISO_IR 144"), strict=True):
        edit(path, setting(SpecificCharacterSet="ISO_IR 100", SeriesDescription="\xbf\xd5"))
        content = path.read_bytes()
        path.write_bytes(content.replace(b"ISO_IR 100", name.encode()))
    known: Known = {}
    said = [facts_of(header_of(path), known).description for path in paths[:2]]
    assert said == ["\xbf\xd5", "\u041f\u0435"]  # Latin 1, and Cyrillic
    assert said == [facts_of(header_of(path)).description for path in paths[:2]]
