"""What is kept of a CT image's header: what a rule asks for, and what results copy; never more than a little.

A study's headers are in memory together until its results are written. Private elements, and whatever else no
rule and no result knows, would be most of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from services.dicom.foreign.bounded_file import TooLargeFile
from services.dicom.foreign.limits import DEEPEST, KEPT_BYTES, KEPT_OBJECTS

_COPIED = frozenset((0x0008, 0x0010, 0x0012, 0x0020, 0x0032, 0x0038, 0x0040))
"""Groups with attributes of patient, study, trial and equipment, which results copy (PS3.6)."""

_MEASURED = frozenset((0x0018, 0x0028))
"""Groups of acquisition and image: rules ask for some values, and for one sequence."""

_LONGEST_MEASURED_BYTES = 1024
"""Longer are tables of a palette, which no CT image has."""

_LISTS = frozenset((0x00081115, 0x00081140, 0x00082112))
"""Images that an image names: the more of them the longer, and none is asked for."""

_ITEM_BYTES = 8
"""The least that an item takes (PS3.5 7.5): so many of the bytes of a sequence may become one object."""

_MODALITY_LUT = 0x00283000
"""Asked for is only whether it is there."""

_ENERGIES = 0x00189364
"""MultienergyCTCharacteristicsSequence: asked for is whether it names a photon energy."""


@dataclass(frozen=True)
class Weight:
    """What is held of a header, or of several.

    Parameters
    ----------
    objects
        Elements and items, at any depth.
    held_bytes
        Bytes of values as they were read.
    """

    objects: int = 0
    held_bytes: int = 0

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.objects + other.objects, self.held_bytes + other.held_bytes)

    def exceeds(self, objects: int, held_bytes: int) -> bool:
        """Tell whether it is over either limit."""
        return self.objects > objects or self.held_bytes > held_bytes


def keep_what_is_needed(header: Dataset) -> None:
    """Take out of a header what neither rules nor results need.

    Raises
    ------
    TooLargeFile
        If what is left is larger than of any CT image.
    """
    for tag in list(header.keys()):
        element = header.get_item(tag, keep_deferred=True)
        bulk = tag in _LISTS or (tag.group in _MEASURED and tag != _ENERGIES and _is_bulk(element))
        if bulk or not _known(int(tag)):
            del header[tag]
            if tag == _MODALITY_LUT:
                header.add_new(tag, "SQ", [])
    if _bytes_as_read(header) > KEPT_BYTES or weight_of(header).exceeds(KEPT_OBJECTS, KEPT_BYTES):
        raise TooLargeFile("more is kept of its header than of any CT image's")


def weight_of(header: Dataset, depth: int = 0) -> Weight:
    """Return what a header weighs, however it is written: a sequence that lies there as bytes is parsed.

    What is longer than a header may be, or damaged, weighs what it may become.

    Raises
    ------
    TooLargeFile
        If sequences lie deeper in each other than in any object.
    """
    if depth > DEEPEST:
        raise TooLargeFile("its sequences lie deeper in each other than in any object")
    objects, held = 0, 0
    below = Weight()
    for tag in header.keys():  # noqa: SIM118  # iterating a Dataset parses its elements
        element: object = header.get_item(tag, keep_deferred=True)
        if isinstance(element, RawDataElement) and _is_sequence(element):
            element = _parsed(header, tag, element)
        objects += 1
        if isinstance(element, RawDataElement):
            held += len(element.value or b"")
            if _is_sequence(element):
                objects += len(element.value or b"") // _ITEM_BYTES
        elif isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value or ():
                below += Weight(1) + weight_of(item, depth + 1)
    return below + Weight(objects, held)


def _parsed(header: Dataset, tag: BaseTag, element: RawDataElement) -> object:
    if len(element.value or b"") <= KEPT_BYTES:
        try:
            return header[tag]
        except MemoryError:
            raise
        except Exception:  # bytes of others: pydicom fails in many ways
            return element
    return element


def _bytes_as_read(header: Dataset) -> int:
    elements: list[object] = [header.get_item(tag, keep_deferred=True) for tag in header.keys()]  # noqa: SIM118
    return sum(len(one.value or b"") for one in elements if isinstance(one, RawDataElement))


@cache
def _known(tag: int) -> bool:
    """Tell whether a tag is of the standard's, in a group that anything is needed of."""
    group = tag >> 16
    return (group in _COPIED or group in _MEASURED) and dictionary_has_tag(tag)


def _is_sequence(element: RawDataElement) -> bool:
    """Tell whether an element becomes a sequence when it is touched."""
    if element.VR in (None, "UN"):
        return dictionary_has_tag(element.tag) and dictionary_VR(element.tag) == "SQ"
    return element.VR == "SQ"


def _is_bulk(element: object) -> bool:
    """Tell whether an element is a sequence, or longer than any value that is asked for."""
    if isinstance(element, RawDataElement):
        return _is_sequence(element) or len(element.value or b"") > _LONGEST_MEASURED_BYTES
    return isinstance(element, DataElement) and element.VR == "SQ"
