"""One slice in every encoding a PACS may hand out: bit-equal HU where it is lossless, told where not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import AllTransferSyntaxes

from models.errors import ReadFailed
from models.geometry import Geometry
from models.phantom.case import PhantomCase
from models.series.slice_contents import NOT_JUDGED
from models.series.verdict import Verdict
from services.dicom.compressed.codestream import COMPRESSED
from services.dicom.ct import loaded
from services.dicom.ct.check import check_folder
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.dicom.foreign.listing import SHORT_OF_MEMORY
from tests.support.ct_files import case
from tests.support.encodings import LOSSLESS, LOSSY
from tests.support.waiting import GUARD_SECONDS

SHAPE = (4, 40, 48)
"""JPEG 2000 encoders want more than a few pixels."""


def made(shape: tuple[int, int, int] = SHAPE) -> PhantomCase:
    """Random HU on a grid large enough to encode."""
    return case(Geometry(shape, case().volume.geometry.affine))


def written(folder: Path) -> tuple[Path, ...]:
    return write_phantom_series(made(), folder)


@pytest.mark.parametrize("bits", [16, 12], ids=["16 bits", "12 bits"])
@pytest.mark.parametrize("name", LOSSLESS)
def test_every_lossless_encoding_gives_the_same_hu(tmp_path: Path, name: str, bits: int) -> None:
    syntax, encode = LOSSLESS[name]
    for path in written(tmp_path):
        if bits == 12:
            unsigned_twelve_bits(path)
        encode(path)
        assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    (reading,) = read_series(tmp_path)
    series = load(reading)
    assert series.verdict.verdict is Verdict.OK, series.verdict
    assert series.verdict.notes == (NOT_JUDGED,)
    np.testing.assert_array_equal(series.volume.hu, made().volume.hu)


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_encoding_is_told(tmp_path: Path, name: str) -> None:
    syntax, encode = LOSSY[name]
    for path in written(tmp_path):
        unsigned_twelve_bits(path)
        encode(path)
        assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    (row,) = check_folder(tmp_path)
    assert row["verdict"] == "ok"
    assert "4 of 4 slices went through lossy compression." in row["notes"]
    (reading,) = read_series(tmp_path)
    off = np.abs(load(reading).volume.hu.astype(int) - made().volume.hu)
    assert 0 < off.max() <= 40


def test_every_lossless_syntax_that_can_be_decoded_here_is_tried() -> None:
    lossy = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
    may_lose = {"1.2.840.10008.1.2.4.91"}  # JPEG 2000, not lossless only: the same codestreams as .90
    plain = {
        syntax for syntax in AllTransferSyntaxes if syntax.is_transfer_syntax and not syntax.is_encapsulated
    }
    read = {str(syntax) for syntax in COMPRESSED | plain}
    assert read - lossy - may_lose == {syntax for syntax, _ in LOSSLESS.values()}


def unsigned_twelve_bits(path: Path) -> None:
    """Store the same HU as scanners do: 0 to 4095, intercept -1024."""
    dataset = dcmread(path)
    dataset.PixelData = (dataset.pixel_array + 1024).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
    dataset.RescaleIntercept = "-1024"
    dataset.save_as(path)


@pytest.mark.parametrize("representation", [0, 1], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", range(8, 17))
def test_eight_to_sixteen_bits_signed_or_not_give_exact_hu(
    tmp_path: Path, bits: int, representation: int
) -> None:
    rng = np.random.default_rng(bits)
    stored = rng.integers(0, 2**bits, SHAPE) - (2 ** (bits - 1) if representation else 0)
    slope, intercept = (1, -1000) if bits < 15 else (0.0625, 0)
    if representation:
        stored = np.maximum(stored, -400 if bits < 15 else -16000)
    for k, path in enumerate(written(tmp_path)):
        dataset = dcmread(path)
        dataset.BitsAllocated = 8 if bits == 8 else 16
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, representation
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
        kind = ("<i" if representation else "<u") + ("1" if bits == 8 else "2")
        dataset.PixelData = stored[k].astype(kind).tobytes()
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
        dataset.save_as(path)
    (reading,) = read_series(tmp_path)
    series = load(reading)
    assert series.volume.hu.dtype == (np.int16 if bits < 15 else np.float32)
    np.testing.assert_array_equal(series.volume.hu, stored * slope + intercept)


STARVED = """
import resource, sys
from pathlib import Path
from pydicom import dcmread
from services.dicom.compressed.damage import FrameShape
from services.dicom.compressed.decoding import decoded_frames
small, large = ([dcmread(path) for path in Path(folder).iterdir()] for folder in sys.argv[1:])
def decode(image):
    return list(decoded_frames(image, FrameShape(image.Rows, image.Columns, 16, 16, True), 1))
for image in small:
    decode(image)  # so that all that is imported is there
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
for kilobytes in (50, 300, 600, 900, 10**7):
    resource.setrlimit(resource.RLIMIT_AS, (used + 1024 * kilobytes, resource.RLIM_INFINITY))
    said = []
    for image in large:
        try:
            decode(image)
            said.append("decoded")
        except Exception as error:
            said.append(type(error).__name__)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    print(kilobytes, *said)
"""


def test_a_decoder_that_is_short_of_memory_says_nothing_of_a_sound_frame(tmp_path: Path) -> None:
    for n, name in enumerate(("JPEG 2000", "JPEG-LS", "JPEG lossless, first order", "JPEG-LS by CharLS")):
        for size in (48, 512):
            (path, *_) = write_phantom_series(made((1, size, size)), tmp_path / str(size) / str(n))
            LOSSLESS[name][1](path)
            path.rename(tmp_path / str(size) / f"{n}.dcm")
            path.parent.rmdir()
    command = [sys.executable, "-c", STARVED, str(tmp_path / "48"), str(tmp_path / "512")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD_SECONDS, check=True)
    said = [line.split()[1:] for line in done.stdout.splitlines()]
    assert {word for words in said for word in words} == {"decoded", "MemoryError"}
    assert "MemoryError" in said[0]
    assert said[-1] == ["decoded"] * 4


def test_where_memory_runs_out_nothing_is_said_of_a_ct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    (reading,) = read_series(tmp_path)

    def starved(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(loaded, "hounsfield", starved)
    with pytest.raises(ReadFailed) as failed:
        load(reading)
    assert str(failed.value) == SHORT_OF_MEMORY
