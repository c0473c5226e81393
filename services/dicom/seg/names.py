"""Which organ the texts and codes of a segment name, if any. They only propose: voxels decide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydicom.sr.coding import Code as Term

from models.findings import Flag
from models.organs import CATALOGUE, Code, Organ
from models.organs import organ as organ_entry

PRECOORDINATED = {
    "right_kidney": (Term("9846003", "SCT", "Right kidney"), Term("T-71010", "SRT", "Right kidney")),
    "left_kidney": (Term("18639004", "SCT", "Left kidney"), Term("T-71020", "SRT", "Left kidney")),
}
"""Terms that hold organ and side in one, where the catalogue keeps them apart."""

OTHER_NAMES = {
    "kidney right": "right_kidney",
    "kidney left": "left_kidney",
    "ivc": "postcava",
    "vena cava": "postcava",
    "vena cava inferior": "postcava",
    "milz": "spleen",
    "rechte niere": "right_kidney",
    "niere rechts": "right_kidney",
    "linke niere": "left_kidney",
    "niere links": "left_kidney",
    "pankreas": "pancreas",
    "leber": "liver",
    "magen": "stomach",
    "gallenblase": "gallbladder",
}
"""What readers also call the organs, besides the catalogue's keys and labels."""

NAME_NOTHING = (
    Term("85756007", "SCT", "Tissue"),
    Term("91723000", "SCT", "Anatomical structure"),
    Term("123037004", "SCT", "Anatomical structure"),
    Term("113343008", "SCT", "Organ"),
)
"""Terms that viewers write where they have no better one; they say nothing of which organ it is.

Their retired SRT codes count as these.
"""

_NAMES = {
    **OTHER_NAMES,
    **{organ.key.replace("_", " "): organ.key for organ in CATALOGUE},
    **{organ.label.casefold(): organ.key for organ in CATALOGUE},
}


_OF_ONE_CODE = tuple(entry for entry in CATALOGUE if entry.region is None)
"""What type and side name; tumours and mixed vessels need the label."""

REVIEW_PREFIX = "Check: "
"""Before an organ's label: a region of it to look at, in our review SEG."""

FLAG_MARKS: Mapping[Flag | None, str] = {Flag.REVIEW: "(check)", Flag.REJECT: "(STOP)"}
"""Behind an organ's label in our SEG, where the receiver is told flags there too."""

LABEL_LENGTH = 64
"""SegmentLabel is LO (PS3.5 6.2)."""

_MARKED = re.compile(rf"(?P<label>.*?)\s*({'|'.join(map(re.escape, FLAG_MARKS.values()))})", re.DOTALL)

SELECTED_REGION = ("111099", "DCM")
"""Type of such a region, value and scheme."""


def organ_by_code(type_: Code | None, laterality: Code | None) -> str | None:
    """Return the organ a segment's type and modifier name; SRT codes count as their SNOMED CT ones.

    A tumour's type, or that of mixed vessels, names no one structure: several share it.

    Notes
    -----
    Source: PS3.16 annex O, retired SRT codes and their replacements, as pydicom tabulates them.
    """
    if type_ is None:
        return None
    for organ, terms in PRECOORDINATED.items():
        if Term(*type_) in terms:
            return organ
    for entry in _OF_ONE_CODE:
        if _same(type_, entry.type) and (entry.laterality is None or _same(laterality, entry.laterality)):
            return entry.key
    return None


def names_another_structure(type_: Code | None) -> bool:
    """Tell whether a type is that of something else than the catalogue's organs, e.g. a lesion in one."""
    if type_ is None or Term(*type_) in NAME_NOTHING:
        return False
    precoordinated = any(Term(*type_) in terms for terms in PRECOORDINATED.values())
    return not precoordinated and not any(_same(type_, entry.type) for entry in _OF_ONE_CODE)


def type_may_be(organ: str, type_: Code | None, laterality: Code | None) -> bool:
    """Tell whether a segment of this type and modifier may be an organ; what names nothing may be any."""
    if names_another_structure(type_):
        return _same(type_, organ_entry(organ).type)
    coded = organ_by_code(type_, laterality)
    if coded is not None or type_ is None or Term(*type_) in NAME_NOTHING:
        return coded in (None, organ)
    return _same(type_, organ_entry(organ).type)  # the side is missing


def organ_by_label(label: str) -> str | None:
    """Return the organ a label names, whatever its case, brackets and punctuation."""
    words = re.sub(r"\(.*?\)|\[.*?\]", " ", label.casefold())
    return _NAMES.get(" ".join(re.findall(r"[^\W\d_]+", words)))


def marked_label(label: str, flag: Flag | None) -> str:
    """Return a segment's label with the mark of its flag behind it: ``Stomach (check)``.

    Parameters
    ----------
    label
        The organ's own, which bears no mark; at most 57 characters, as a site's file may have.
    flag
        What the reader is told of it; one that asks for nothing has no mark.
    """
    mark = FLAG_MARKS.get(flag)
    if mark is None:
        return label
    spaced = f"{label} {mark}"
    return spaced if len(spaced) <= LABEL_LENGTH else label + mark


def plain_label(label: str) -> str:
    """Return a segment's label without the mark of a flag: what `marked_label` was given."""
    marked = _MARKED.fullmatch(label)
    return marked["label"] if marked else label


def further_by_label(label: str, further: Iterable[Organ]) -> Organ | None:
    """Return the organ outside the catalogue that a label names, whatever its case: by its label or key.

    Digits count here: ribs and vertebrae differ in nothing else.
    """
    said = " ".join(label.casefold().replace("_", " ").split())
    return next((one for one in further if said in (one.label.casefold(), one.key.replace("_", " "))), None)


def further_by_code(type_: Code | None, laterality: Code | None, further: Iterable[Organ]) -> Organ | None:
    """Return the one organ outside the catalogue that type and side name; None where none or several are."""
    found = [one for one in further if one.region is None and further_may_be(one, type_, laterality, True)]
    return found[0] if len(found) == 1 else None


def further_may_be(entry: Organ, type_: Code | None, laterality: Code | None, named: bool = False) -> bool:
    """Tell whether a segment of this type and side may be an organ outside the catalogue.

    What names nothing may be any, unless it must be `named`: then by its type, and its side if it has one.
    """
    if type_ is None or Term(*type_) in NAME_NOTHING:
        return not named
    if laterality is None:
        return _same(type_, entry.type) and not (named and entry.laterality)
    return _same(type_, entry.type) and entry.laterality is not None and _same(laterality, entry.laterality)


def label_to_say(label: str) -> str:
    """Return the catalogue's label of the organ that a label names; empty for any other text.

    A reader may have typed anything, a name too.
    """
    organ = organ_by_label(label)
    return "" if organ is None else organ_entry(organ).label


def reviewed_organ(label: str) -> str | None:
    """Return the organ of which a segment of our review SEG shows a region; None for any other label."""
    return organ_by_label(label.removeprefix(REVIEW_PREFIX)) if label.startswith(REVIEW_PREFIX) else None


def is_review_region(label: str, type_: Code | None) -> bool:
    """Tell whether a segment is a region to look at, which is never an organ, however well they overlap."""
    return label.startswith(REVIEW_PREFIX) or (type_ is not None and type_[:2] == SELECTED_REGION)


def _same(one: Code | None, other: Code) -> bool:
    return one is not None and bool(Term(*one) == Term(*other))
