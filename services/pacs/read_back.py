"""Whether an archive gives back what it was sent.

An archive may write the file meta information anew, encode the data set in another way, and say beside it
where the object is to be had. All else is as it was sent, or it is another object.
"""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from services.dicom.foreign.objects import object_in

ADDED_BYTES = 64 * 1024
"""So much larger may an object come back; what is larger is another one, and nothing of it is parsed."""

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
    """
    if file.stat().st_size > len(sent) + ADDED_BYTES:
        return False
    found = file.read_bytes()
    if found == sent:
        return True
    try:
        return _says_the_same(sent, found)
    except Exception:  # bytes of others: pydicom fails in many ways, and none of them is our object
        return False


def _says_the_same(sent: bytes, found: bytes) -> bool:
    ours, theirs = object_in(sent), object_in(found)  # within bounds, and never inflated
    syntaxes = {str(one.file_meta.TransferSyntaxUID) for one in (ours, theirs)}
    if len(syntaxes) > 1 and not syntaxes <= _PLAIN:  # nor decoded
        return False
    return _said(ours) == _said(theirs)


def _said(dataset: Dataset) -> Dataset:
    said = Dataset()
    for element in dataset:
        if element.tag not in _ADDED and element.tag.element != 0:  # group lengths are retired
            said.add(element)
    return said
