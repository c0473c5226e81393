"""One slice in every compressed encoding, damaged anywhere: cut, frames dropped or added, its size denied.

Each damage is one that a reader has to see. What became of the slice is judged by reading it as a study is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, get_frame
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from scipy import ndimage

from models.errors import Refused
from models.geometry import Geometry
from models.phantom.case import PhantomCase
from models.volume import Volume
from services.dicom.ct.headers import facts_of, read_header
from services.dicom.ct.phantom_series import phantom_images
from services.dicom.ct.pixels import hounsfield
from services.dicom.foreign.head import META_START
from services.dicom.foreign.reader import as_written
from tests.support.ct_files import ACQUISITION
from tests.support.encodings import LOSSLESS, LOSSY, Encoder

Generator = np.random.Generator
SHAPE = (44, 56)
CONTENTS = ("tissue", "flat", "noise")

_END = b"\xff\xd9"

ENCODERS: dict[str, Encoder] = {
    f"{name} ({syntax[-3:].strip('.')})": encode
    for name, (syntax, encode) in (*LOSSLESS.items(), *LOSSY.items())
    if name not in ("implicit VR", "explicit VR", "big endian", "deflated")
}


@dataclass(frozen=True)
class Slice:
    """A whole slice: its file's bytes, its one frame without padding, and what is read of it."""

    content: bytes
    frame: bytes
    hu: NDArray[np.generic]
    syntax: str

    def dataset(self) -> Dataset:
        """Return it as a data set that may be changed."""
        return dcmread(BytesIO(self.content))


def picture(content: str, rng: Generator, shape: tuple[int, int] = SHAPE) -> NDArray[np.int16]:
    """Return HU in a round field of view: tissue with noise, one value, or noise alone."""
    inside = {
        "tissue": lambda: (
            ndimage.gaussian_filter(rng.normal(size=shape), 4) * 1500 + rng.normal(40, 12, shape)
        ),
        "flat": lambda: np.full(shape, -990.0),
        "noise": lambda: rng.uniform(-1000, 2000, shape),
    }[content]()
    row, column = np.mgrid[: shape[0], : shape[1]]
    seen = (row - shape[0] / 2) ** 2 + (column - shape[1] / 2) ** 2 < (0.45 * min(shape)) ** 2
    return np.where(seen, inside, -1024).clip(-1024, 2000).round().astype(np.int16)


def made(folder: Path, hu: NDArray[np.int16], encode: Encoder) -> Slice:
    """Return a slice of these HU, stored in 12 bits as scanners do, in an encoding."""
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 0.8], [0, 0.8, 0], [1.0, 0, 0]]
    geometry = Geometry((4, *hu.shape), affine)
    case = PhantomCase(Volume(np.stack([hu] * 4), geometry), {}, "A", 1, dict(ACQUISITION))
    image = next(iter(phantom_images(case)))
    image.PixelData = (hu + 1024).astype("<u2").tobytes()
    image.PixelRepresentation, image.BitsStored, image.HighBit = 0, 12, 11
    image.RescaleIntercept = "-1024"
    path = folder / "made.dcm"
    image.save_as(path, enforce_file_format=True)
    encode(path)
    dataset = dcmread(path)
    return Slice(path.read_bytes(), _frame_of(dataset), read(path), str(dataset.file_meta.TransferSyntaxUID))


def _frame_of(dataset: Dataset) -> bytes:
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return b""
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    return frame[:-1] if frame.endswith(_END + b"\0") else frame


@as_written()
def read(path: Path) -> NDArray[np.generic]:
    """Return the HU of a file, as a study's slices are read; raise what refuses it."""
    header = read_header(path)
    assert header is not None
    return hounsfield(path, header, facts_of(header))[0]


def refusal_of(path: Path) -> str | None:
    """Return why a slice is refused, code and words; None where it is read."""
    try:
        read(path)
    except Refused as refused:
        return f"{refused.code}: {refused.detail}"
    except InvalidDicomError:
        return "the file is broken"
    return None


def with_frames(dataset: Dataset, frames: list[bytes], path: Path, *, table: bool = True) -> Path:
    """Write a slice whose pixels are these frames, each an item, with an offset table or without."""
    dataset.PixelData = encapsulate(frames, has_bot=table)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path)
    return path


Damage = Callable[[Slice, Generator, Path], Path]
"""Writes a damaged slice into a folder."""


def cut(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Leave out the end of the frame, from anywhere in it on."""
    shorter = whole.frame[: int(rng.integers(1, _needed(whole)))]
    return with_frames(whole.dataset(), [shorter], folder / "damaged.dcm", table=bool(rng.integers(2)))


def cut_and_ended(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Leave out the end of the frame, and put an end marker there, as a hasty repair does."""
    shorter = whole.frame[: int(rng.integers(1, _needed(whole) - 2))] + _END
    return with_frames(whole.dataset(), [shorter], folder / "damaged.dcm")


def file_cut(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Leave out the end of the file, from anywhere in the pixels on."""
    path = folder / "damaged.dcm"
    start = whole.content.rfind(whole.frame[:16])
    path.write_bytes(whole.content[: int(rng.integers(start, start + _needed(whole)))])
    return path


def frame_dropped(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Leave the items without the frame."""
    dataset = whole.dataset()
    dataset.PixelData = b"\xfe\xff\x00\xe0" + struct.pack("<I", 0)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(folder / "damaged.dcm")
    return folder / "damaged.dcm"


def frame_added(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Put the frame there twice."""
    frames = [whole.frame, whole.frame]
    return with_frames(whole.dataset(), frames, folder / "damaged.dcm", table=bool(rng.integers(2)))


def table_wrong(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Let the basic or the extended offset table lead elsewhere than to the frame."""
    dataset = whole.dataset()
    off = int(rng.integers(1, 2**31))
    if rng.integers(2):
        packed = bytearray(encapsulate([whole.frame]))
        struct.pack_into("<I", packed, 8, off)
        dataset.PixelData = bytes(packed)
    else:
        packed, offsets, lengths = encapsulate_extended([whole.frame])
        dataset.PixelData, kept = packed, bool(rng.integers(2))
        dataset.ExtendedOffsetTable = offsets if kept else struct.pack("<Q", off)
        dataset.ExtendedOffsetTableLengths = (
            struct.pack("<Q", len(whole.frame) + 1 + off) if kept else lengths
        )
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(folder / "damaged.dcm")
    return folder / "damaged.dcm"


def size_denied(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Let the header say another number of rows, columns, or bits than the frame."""
    dataset = whole.dataset()
    kind = int(rng.integers(3))
    if kind < 2:
        keyword = ("Rows", "Columns")[kind]
        dataset[keyword].value = max(1, dataset[keyword].value + int(rng.choice([-9, -1, 1, 7, 100])))
    else:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        if dataset.file_meta.TransferSyntaxUID != RLELossless and b"\xff\xc0\x00\x0b\x08" in whole.frame:
            dataset.Rows += 1  # the frame is of eight bits
    return with_frames(dataset, [whole.frame], folder / "damaged.dcm")


DAMAGES: tuple[Damage, ...] = (
    cut, cut_and_ended, file_cut, frame_dropped, frame_added, table_wrong, size_denied,
)  # fmt: skip


def _needed(whole: Slice) -> int:
    """Return how many bytes of the frame are needed: those at the end of RLE may be padding."""
    return len(whole.frame.rstrip(b"\0")) if whole.syntax == RLELossless else len(whole.frame)


def padded(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Put padding behind the frame: zeros, or a few bytes of any kind where there is an end marker."""
    zeros = whole.syntax == RLELossless or rng.integers(2)
    behind = (
        bytes(int(rng.integers(1, 200))) if zeros else rng.integers(0, 216, 15).astype(np.uint8).tobytes()
    )
    return with_frames(whole.dataset(), [whole.frame + behind], folder / "padded.dcm")


def in_fragments(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Spread the frame over several items."""
    dataset = whole.dataset()
    dataset.PixelData = encapsulate([whole.frame], fragments_per_frame=3, has_bot=bool(rng.integers(2)))
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(folder / "fragments.dcm")
    return folder / "fragments.dcm"


def with_extended_table(whole: Slice, rng: Generator, folder: Path) -> Path:
    """Give the frame an extended offset table."""
    dataset = whole.dataset()
    packed, offsets, lengths = encapsulate_extended([whole.frame])
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = (
        packed,
        offsets,
        lengths,
    )
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(folder / "extended.dcm")
    return folder / "extended.dcm"


HARMLESS: tuple[Damage, ...] = (padded, in_fragments, with_extended_table)
"""What a writer may do to a frame that is whole."""


def deflated_cut(hu: NDArray[np.int16], rng: Generator, folder: Path) -> Path:
    """Write a deflated slice that ends anywhere in what is deflated."""
    dataset = made(folder, hu, lambda path: None).dataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = folder / "deflated.dcm"
    dataset.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    start = META_START + 12 + dataset.file_meta.FileMetaInformationGroupLength
    path.write_bytes(whole[: int(rng.integers(start, len(whole.rstrip(b"\0"))))])
    return path
