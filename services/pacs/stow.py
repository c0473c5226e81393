"""What a STOW-RS server says of an object it was sent.

Source: PS3.18 section 10.5.3 and annex I; the meaning of the codes is PS3.7 annex C, PS3.4 table B.2-1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from models.uids import SopUid, StudyUid, is_uid
from services.pacs.http import BUSY, REFUSED_CREDENTIALS

ACCEPT = "application/dicom+json"

_REASONS = {
    0x0110: "processing failure",
    0x0111: "an object of that UID is there",
    0x0117: "invalid SOP instance",
    0x0119: "the UID is there for another SOP class",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0213: "resource limitation",
    0xC122: "transfer syntax not supported",
}
_RANGES = {0xA700: "out of resources", 0xA900: "data set does not match its SOP class"}
_WARNINGS = {
    0xB000: "changed values",
    0xB006: "left elements out",
    0xB007: "its data set does not match its SOP class",
}
_AGAIN = frozenset({0x0110, 0x0213, 0xA700})

_FAILED, _OTHERS, _STORED = "00081198", "0008119A", "00081199"
_FAILURE_REASON, _WARNING_REASON = "00081197", "00081196"
_UID, _ADDRESS = "00081155", "00081190"
_STUDY = re.compile(r"/studies/([0-9.]+)(?:/|$)")


@dataclass(frozen=True)
class Outcome:
    """What became of one object.

    Parameters
    ----------
    reason
        Why it was not stored, with the standard's code in hex; None if it was accepted.
    again
        Whether sending it again may help.
    warning
        What the archive did to it, where it says so.
    """

    reason: str | None
    again: bool = False
    warning: str | None = None


def outcome(status: int, content: bytes) -> Outcome | None:
    """Return what became of the only object of a request; None where the answer is about no object.

    Parameters
    ----------
    status
        HTTP status of the answer.
    content
        Its body; anything but DICOM JSON counts as nothing said.
    """
    if status in REFUSED_CREDENTIALS or status in BUSY:
        return None
    said = _read(content)
    for sequence in (_FAILED, _OTHERS):
        for item in _values(said, sequence):
            return _failure(_number(item, _FAILURE_REASON))
    if status >= 300:
        return Outcome(f"HTTP {status}, no reason given")
    warnings = [_number(item, _WARNING_REASON) for item in _values(said, _STORED)]
    codes = [code for code in warnings if code is not None]
    return Outcome(None, warning=_words(codes[0], _WARNINGS.get(codes[0])) if codes else None)


@dataclass(frozen=True)
class Stored:
    """An object that the archive took in.

    Parameters
    ----------
    sop_instance_uid
        SOP Instance UID.
    study_uid
        Its study, where the archive gave an address of it.
    """

    sop_instance_uid: SopUid
    study_uid: StudyUid | None


def stored(content: bytes) -> tuple[Stored, ...] | None:
    """Return what an archive took in of a request, by its answer.

    Parameters
    ----------
    content
        The answer's body, DICOM JSON or XML (PS3.18 annex F, PS3.19 annex A).

    Returns
    -------
    tuple of Stored, or None
        As the archive lists them; None where the body is no such answer.
    """
    said = _read(content)
    whole, named = (_text(said, _ADDRESS), _in_json(said)) if said else _in_xml(content)
    if named is None:
        return None
    found: list[Stored] = []
    for uid, address in named:
        if not is_uid(uid):
            return None
        study = _STUDY.search(address) or _STUDY.search(whole)
        known = study is not None and is_uid(study.group(1))
        found.append(Stored(SopUid(uid), StudyUid(study.group(1)) if study and known else None))
    return tuple(found)


_Named = list[tuple[str, str]] | None
"""SOP Instance UID and address of each object that was taken in; None where none are listed."""


def _in_json(said: Any) -> _Named:
    return [(_text(item, _UID), _text(item, _ADDRESS)) for item in _values(said, _STORED)]


def _in_xml(content: bytes) -> tuple[str, _Named]:
    """Return the address of all, and the objects, of DICOM XML; nothing of what declares entities."""
    if b"<!" in content:
        return "", None
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        return "", None
    if _bare(root) != "NativeDicomModel":
        return "", None
    # Orthanc puts an empty value behind the items of a sequence.
    items = [item for one in _elements(root, _STORED) for item in one if _bare(item) == "Item"]
    return _value(root, _ADDRESS), [(_value(item, _UID), _value(item, _ADDRESS)) for item in items]


def _elements(node: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    return (one for one in node if _bare(one) == "DicomAttribute" and one.get("tag") == tag)


def _value(node: ElementTree.Element, tag: str) -> str:
    texts = (one.text for element in _elements(node, tag) for one in element if _bare(one) == "Value")
    return next((text.strip() for text in texts if text), "")


def _bare(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def _text(item: Any, tag: str) -> str:
    values = _values(item, tag) if isinstance(item, dict) else []
    return str(values[0]).strip() if values and isinstance(values[0], str) else ""


def _failure(code: int | None) -> Outcome:
    if code is None:
        return Outcome("no reason given")
    words = _REASONS.get(code) or _RANGES.get(code & 0xFF00)
    if words is None and code & 0xF000 == 0xC000:
        words = "not understood"
    return Outcome(_words(code, words), again=code in _AGAIN or code & 0xFF00 in _AGAIN)


def _words(code: int, words: str | None) -> str:
    return f"{code:04X}H, {words}" if words else f"{code:04X}H"


def _read(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _values(said: dict[str, Any], tag: str) -> list[Any]:
    element = said.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _number(item: Any, tag: str) -> int | None:
    values = _values(item, tag) if isinstance(item, dict) else []
    return int(values[0]) if values and isinstance(values[0], int | float) else None
