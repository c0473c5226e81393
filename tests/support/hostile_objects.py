"""Small files meant to fill a reader's memory and time, built here and never kept as files."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.support.ct_files import written

ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
"""An empty item."""
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

SEQUENCES = {
    "LanguageCodeSequence": 0x00080006,
    "ReferencedStudySequence": 0x00081110,
    "OtherPatientIDsSequence": 0x00101002,
    "a private one": 0x00211010,
    "one of a SEG": 0x00620021,
    "SharedFunctionalGroupsSequence": 0x52009229,
}


def of_items(tag: int, count: int, *, defined: bool = False, inside: bytes = ITEM) -> bytes:
    """Return a sequence, explicit VR little endian, that repeats an item."""
    head = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"SQ", 0)
    if defined:
        return head + struct.pack("<I", count * len(inside)) + inside * count
    return head + b"\xff\xff\xff\xff" + inside * count + END


def deflated(path: Path, *elements: bytes) -> None:
    """Write a file anew, deflated, with elements put in their places, top level, ascending."""
    meta, body = _parts(path)
    for element in elements:
        at = _place(body, element[:4])
        body = body[:at] + element + body[at:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(meta + packer.compress(body) + packer.flush())


def plain(path: Path, *elements: bytes) -> None:
    """Put elements into a file as it is."""
    content = path.read_bytes()
    start = _data_set_at(content)
    body = content[start:]
    for element in elements:
        at = _place(body, element[:4])
        body = body[:at] + element + body[at:]
    path.write_bytes(content[:start] + body)


def ct_files(folder: Path, count: int = 12, items: int = 55_000) -> list[Path]:
    """Twelve CT images of two kilobytes each that are some hundred megabytes each as objects."""
    paths = list(written(folder))
    for n in range(len(paths), count):
        paths.append(folder / f"CT-{n + 1:04d}.dcm")
        image = dcmread(paths[0])
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{n}"
        image.save_as(paths[-1])
    for path in paths:
        image = dcmread(path)
        image.PixelData = bytes(len(image.PixelData))  # noise cannot be deflated
        image.save_as(path)
        deflated(path, of_items(SEQUENCES["a private one"], items))
    return paths


def seg_file(path: Path, seg: Dataset, items: int = 8_000_000) -> None:
    """A SEG of 94 kB that would take 5.6 GB: a sequence of empty items."""
    seg.save_as(path, enforce_file_format=True)
    deflated(path, of_items(SEQUENCES["one of a SEG"], items))


def archive_answer(path: Path, mebibytes: int = 1000) -> bytes:
    """An object of 1.6 MB that inflates to a thousandfold of items before it says which one it is."""
    meta, body = _parts(path)
    at = _place(body, struct.pack("<HH", 0x0008, 0x0006))
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces = [body[:at] + of_items(SEQUENCES["LanguageCodeSequence"], 0)[:12]]
    pieces += [ITEM * 131_072] * mebibytes
    return meta + b"".join(map(packer.compress, pieces)) + packer.flush()


def _parts(path: Path) -> tuple[bytes, bytes]:
    """Return meta information that says deflated, and the data set in explicit VR."""
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    at = _data_set_at(content)
    return content[:at], zlib.decompress(content[at:], -zlib.MAX_WBITS)


def _data_set_at(content: bytes) -> int:
    (length,) = struct.unpack_from("<I", content, 140)
    return 144 + int(length)


def _place(body: bytes, tag: bytes) -> int:
    """Return where an element of a tag belongs; walks explicit VR at the top level."""
    at = 0
    wanted = struct.unpack("<HH", tag)
    while at < len(body):
        group, element, vr, short = struct.unpack_from("<HH2sH", body, at)
        if (group, element) >= wanted:
            return at
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OL", b"OD", b"UC", b"UR"):
            (length,) = struct.unpack_from("<I", body, at + 8)
            if length == 0xFFFFFFFF:
                return at
            at += 12 + length
        else:
            at += 8 + short
    return at


def nested(tag: int, deep: int, *, defined: bool = False) -> bytes:
    """Return a sequence in whose one item lies such a sequence, and so on."""
    inside = b""
    for _ in range(deep):
        inside = struct.pack("<HHI", 0xFFFE, 0xE000, len(inside)) + inside
        head = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"SQ", 0)
        if defined:
            inside = head + struct.pack("<I", len(inside)) + inside
        else:
            inside = head + b"\xff\xff\xff\xff" + inside + END
    return inside
