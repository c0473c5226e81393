"""Which object a file is, by its first bytes: enough to name it, and nothing behind is read or inflated."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from services.dicom.foreign.head import META_START, PREFIX, PREFIX_OFFSET, beyond_file_meta
from services.dicom.foreign.limits import HEAD_BYTES
from services.dicom.foreign.listing import FileState, unchanged

_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_UID, _SERIES_UID = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_MEDIA_SOP_CLASS_UID = 0x00020002


@dataclass(frozen=True)
class Named:
    """What an object says it is, each empty where its first bytes do not say; no text need be a UID.

    Parameters
    ----------
    sop_class_uid
        By the file meta information, else by the data set.
    sop_instance_uid, study_uid, series_uid
        By the data set.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""


def named_in(source: Path | bytes, listed: FileState | None = None, *, force: bool = False) -> Named:
    """Return what a DICOM file is, by its first `HEAD_BYTES`, or as much inflated.

    Parameters
    ----------
    source
        The file, or its bytes.
    listed
        The file as it was when it was listed; None: as it is when it is opened.
    force
        Whether to try what lacks the prefix of a DICOM file.

    Raises
    ------
    ReadFailed
        If the file is not as it was listed.
    OSError
        If it cannot be opened or read.
    Exception
        What pydicom raises on bytes that are not DICOM.
    """
    if isinstance(source, bytes):
        head = source[:HEAD_BYTES]
    else:
        with source.open("rb") as file, unchanged(file, listed):
            head = file.read(HEAD_BYTES)
    if head[PREFIX_OFFSET:META_START] != PREFIX and not force:
        raise InvalidDicomError
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's words may quote the header
        meta, found = _read(head)
    return Named(
        _text(meta, _MEDIA_SOP_CLASS_UID) or _text(found, _SOP_CLASS_UID),
        _text(found, _SOP_INSTANCE_UID),
        _text(found, _STUDY_UID),
        _text(found, _SERIES_UID),
    )


def _read(head: bytes) -> tuple[Dataset, Dataset]:
    """Return file meta information and data set, as far as the first bytes go."""
    memory = BytesIO(head)
    if head[PREFIX_OFFSET:META_START] == PREFIX:
        memory.seek(META_START)
        meta = read_dataset(memory, is_implicit_VR=False, is_little_endian=True, stop_when=beyond_file_meta)
        if _text(meta, 0x00020010) == DeflatedExplicitVRLittleEndian:
            plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(memory.read(), HEAD_BYTES)
            return meta, read_dataset(BytesIO(plain), False, True, stop_when=_behind_series)
    memory.seek(0)
    found = read_partial(memory, _behind_series, force=True)
    return found.file_meta, found


def _behind_series(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag > _SERIES_UID


def _text(dataset: Dataset, tag: int) -> str:
    """Return a value as its bytes; pydicom warns of a UID that is none."""
    element: object = dataset.get_item(tag, keep_deferred=True) if tag in dataset else None
    if isinstance(element, RawDataElement):
        value = element.value or b""
        return str(value, "ascii", "replace").rstrip("\0 ") if len(value) == element.length else ""
    return str(getattr(element, "value", None) or "")
