"""Opening a DICOM file that anyone may have sent: what would fill the memory is refused, not unpacked."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from models.errors import Refused
from services.dicom.seg_frames import SegCode

MAX_SEG_BYTES = 2**30
"""Largest SEG that is opened, inflated; nine fractional organs on 300 slices of 512 x 512 take 0.7 GB."""

BROKEN_DATASET = (
    InvalidDicomError, BytesLengthException, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, EOFError, OSError, NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom and its decoders raise on damaged objects; elements are parsed only when touched."""

_MAY_FOLLOW_PIXELS = (0xFFFAFFFA, 0xFFFCFFFC)
"""Digital signatures and trailing padding."""

_UNDEFINED = 0xFFFFFFFF
"""Length of pixel data that are encapsulated."""

_META_START = 128 + 4 + 12
"""Preamble, DICM, and the element FileMetaInformationGroupLength, after which that many bytes follow."""


def open_bounded(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    """Read a DICOM file of at most `MAX_SEG_BYTES`, also when it is deflated.

    Parameters
    ----------
    path
        The file.
    stop_before_pixels
        Whether the pixel data are left out.

    Returns
    -------
    Dataset
        With its file meta information; elements are parsed when they are touched, and may be broken.

    Raises
    ------
    Refused
        `too-large`; `not-dicom` if it cannot be read as DICOM; `malformed-seg` if something that has
        no place there follows the pixel data.
    OSError
        If the file cannot be read from the disk.

    Notes
    -----
    Source: PS3.10 7.1 (file meta information), PS3.5 A.5 (deflated).
    """
    if path.stat().st_size > MAX_SEG_BYTES:
        raise _too_large()
    content = path.read_bytes()  # apart from parsing: there pydicom raises OSError for damage too
    try:
        if _is_deflated(path):
            dataset, plain = _inflated(path, content)
        else:
            plain = content
            dataset = dcmread(BytesIO(content), stop_before_pixels=stop_before_pixels)
        if not stop_before_pixels:
            _require_pixels_at_the_end(dataset, plain)
    except BROKEN_DATASET as error:
        raise Refused(
            SegCode.NOT_DICOM, f"the file cannot be read as DICOM ({type(error).__name__})"
        ) from error
    return dataset


def _require_pixels_at_the_end(dataset: Dataset, plain: bytes) -> None:
    """Refuse what follows the pixel data: bytes too many before them shift all that is drawn.

    Notes
    -----
    Source: PS3.5 7.1 (elements ascend), PS3.10 7.2 (padding), PS3.3 C.12.1.1.3.1.1 (signatures).
    """
    pixels: object = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if not isinstance(pixels, RawDataElement) or pixels.length == _UNDEFINED or pixels.value is None:
        return
    if not plain.endswith(pixels.value) and not any(tag in dataset for tag in _MAY_FOLLOW_PIXELS):
        raise Refused(SegCode.MALFORMED, "something follows the pixel data")


def _is_deflated(path: Path) -> bool:
    return read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian


def _inflated(path: Path, content: bytes) -> tuple[Dataset, bytes]:
    """Return the dataset and its bytes, inflated up to the bound; pydicom knows none."""
    meta = read_file_meta_info(path)
    packed = content[_META_START + int(meta.FileMetaInformationGroupLength) :]
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(packed, MAX_SEG_BYTES)
    if inflater.unconsumed_tail:
        raise _too_large()
    if not inflater.eof:
        raise EOFError("the deflated dataset ends too early")
    dataset = read_dataset(BytesIO(plain), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = meta
    return dataset, plain


def _too_large() -> Refused:
    return Refused(SegCode.TOO_LARGE, "the SEG is larger than any can be", {"limit_bytes": MAX_SEG_BYTES})
