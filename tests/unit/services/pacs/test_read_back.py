"""An archive may encode an object anew: the same values are the same object, and one voxel is another one."""

from __future__ import annotations

from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from models.errors import PacsFailed
from services.dicom.foreign import rehearsal
from services.dicom.foreign.limits import MIB
from services.pacs.read_back import ADDED_BYTES, TIMES, came_back
from tests.support.result_cases import AFFINES, ct_series
from tests.support.seg_cases import item, plain_seg

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def written(dataset: Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture(scope="module")
def sent() -> bytes:
    """A SEG whose sequences, with defined lengths, are most of it: as of hundreds of frames."""
    series = ct_series(AFFINES["axial"], (4, 16, 16))
    liver = np.zeros((4, 16, 16), dtype=bool)
    liver[1:3, 3:9, 3:9] = True
    seg = plain_seg(series, {"Liver": liver}, series.volume.geometry)
    seg.ReferencedInstanceSequence = [item(PurposeOfReferenceCodeSequence=[item()]) for _ in range(6_000)]
    return encoded(written(seg), ExplicitVRLittleEndian, defined=True)


def encoded(content: bytes, syntax: UID, *, defined: bool) -> bytes:
    """Return an object written in another way."""
    dataset = dcmread(BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = syntax

    def measure(inside: Dataset) -> None:
        for element in inside:
            if element.VR == "SQ":
                element.is_undefined_length = not defined
                for one in element.value:
                    one.is_undefined_length_sequence_item = not defined
                    measure(one)

    measure(dataset)
    return written(dataset)


def changed(content: bytes) -> bytes:
    """Return an object of which one voxel is another."""
    dataset = dcmread(BytesIO(content))
    pixels = bytearray(dataset.PixelData)
    pixels[len(pixels) // 2] ^= 1
    dataset.PixelData = bytes(pixels)
    return written(dataset)


@pytest.mark.parametrize(("syntax", "defined"), product(SYNTAXES, (True, False)))
def test_an_object_that_is_encoded_anew_came_back_and_with_another_voxel_did_not(
    sent: bytes, syntax: UID, defined: bool, tmp_path: Path
) -> None:
    file = tmp_path / "found.dcm"
    file.write_bytes(anew := encoded(sent, syntax, defined=defined))
    assert defined or len(anew) > len(sent) + ADDED_BYTES
    assert came_back(sent, file)
    file.write_bytes(encoded(changed(sent), syntax, defined=defined))
    assert not came_back(sent, file)


def test_what_is_twice_as_large_is_another_object(sent: bytes, tmp_path: Path) -> None:
    file = tmp_path / "found.dcm"
    file.write_bytes(sent + bytes(TIMES * len(sent)))
    assert not came_back(sent, file)


def test_what_cannot_be_compared_is_not_called_another_object(
    sent: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "found.dcm"
    file.write_bytes(encoded(sent, ExplicitVRLittleEndian, defined=False))
    monkeypatch.setattr(rehearsal, "SEG_BYTES", MIB)
    with pytest.raises(PacsFailed, match="could not be compared"):
        came_back(sent, file)
