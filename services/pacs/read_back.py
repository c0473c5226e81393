"""Whether an archive gives back what it was sent.

An archive may write the file meta information anew, encode the data set in another way, and say beside it
where the object is to be had. All else is as it was sent, or it is another object.
"""

from __future__ import annotations

from pathlib import Path

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from models.errors import PacsFailed, ReadFailed
from services.dicom.foreign.bounded_file import TooLargeFile
from services.dicom.foreign.listing import FileState
from services.dicom.foreign.objects import object_in
from services.dicom.foreign.rehearsal import rehearse_seg

TIMES, ADDED_BYTES = 2, 64 * 1024
"""So much larger may an object come back. Sequences of undefined length take 16 bytes more each, and 8 an
item; what is larger than this is another object, and nothing of it is parsed."""

_ADDED = frozenset({0x00080054, 0x00080056, 0x00081190, 0xFFFCFFFC})
"""Retrieve AE Title, Instance Availability, Retrieve URL; trailing padding (PS3.3 C.12.1, PS3.10 7.2)."""

_PLAIN = frozenset(map(str, (ImplicitVRLittleEndian, ExplicitVRLittleEndian)))
"""Transfer syntaxes in which the same values are written in two ways."""


def came_back(sent: bytes, file: Path) -> bool:
    """Tell whether a file that an archive gave back is the object that was sent.

    Parameters
    ----------
    sent
        The object as it was sent: a DICOM file.
    file
        What came back.

    Raises
    ------
    PacsFailed
        If nobody can tell, since comparing takes more than it may: that is no word about the object.
    ReadFailed
        If the file cannot be read from the disk.
    """
    try:
        if file.stat().st_size > TIMES * len(sent) + ADDED_BYTES:
            return False
        found = file.read_bytes()
        if found == sent:
            return True
        rehearse_seg(file, FileState.of(file.stat()))  # what it takes to parse is bounded there
        return _says_the_same(sent, found)
    except (TooLargeFile, MemoryError) as error:
        raise PacsFailed(
            "What the archive gave back is encoded in another way than what was sent, and could not be "
            f"compared with it: {str(error) or 'it takes more memory than there is'}. Try again; if it stays "
            "so, set the archive to keep objects as they were received."
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise ReadFailed(f"What the archive gave back cannot be read: {error.strerror}.") from error
        return False
    except ReadFailed:
        raise
    except Exception:  # bytes of others: pydicom fails in many ways, and none of them is our object
        return False


def _says_the_same(sent: bytes, found: bytes) -> bool:
    ours, theirs = object_in(sent), object_in(found)  # within bounds, and never inflated
    syntaxes = {str(one.file_meta.TransferSyntaxUID) for one in (ours, theirs)}
    if len(syntaxes) > 1 and not syntaxes <= _PLAIN:  # nor decoded
        return False
    return _same(ours, theirs)


def _same(ours: Dataset, theirs: Dataset) -> bool:
    """Compare tags first: an element that is not ours is not parsed."""
    tags = _tags(ours)
    return tags == _tags(theirs) and all(_same_element(ours[tag], theirs[tag]) for tag in tags)


def _tags(dataset: Dataset) -> list[int]:
    return [int(tag) for tag in sorted(dataset.keys()) if tag not in _ADDED and tag.element != 0]


def _same_element(ours: DataElement, theirs: DataElement) -> bool:
    """Compare values: implicit VR does not say whether bytes are written alone or in pairs (PS3.5 A.1)."""
    if isinstance(ours.value, Sequence) and isinstance(theirs.value, Sequence):
        return len(ours.value) == len(theirs.value) and all(map(_same, ours.value, theirs.value))
    if isinstance(ours.value, bytes) and isinstance(theirs.value, bytes):
        return ours.value == theirs.value
    return bool(ours == theirs)
