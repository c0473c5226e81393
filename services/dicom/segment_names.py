"""Which organ the texts and codes of a segment name, if any. They only propose: voxels decide."""

from __future__ import annotations

import re

from pydicom.sr.coding import Code as Term

from models.organs import CATALOGUE, Code

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

_NAMES = {
    **OTHER_NAMES,
    **{organ.key.replace("_", " "): organ.key for organ in CATALOGUE},
    **{organ.label.casefold(): organ.key for organ in CATALOGUE},
}


def organ_by_code(type_: Code | None, laterality: Code | None) -> str | None:
    """Return the organ a segment's type and modifier name; SRT codes count as their SNOMED CT ones.

    Notes
    -----
    Source: PS3.16 annex O, retired SRT codes and their replacements, as pydicom tabulates them.
    """
    if type_ is None:
        return None
    for organ, terms in PRECOORDINATED.items():
        if Term(*type_) in terms:
            return organ
    for entry in CATALOGUE:
        if _same(type_, entry.type) and (entry.laterality is None or _same(laterality, entry.laterality)):
            return entry.key
    return None


def organ_by_label(label: str) -> str | None:
    """Return the organ a label names, whatever its case, brackets and punctuation."""
    words = re.sub(r"\(.*?\)|\[.*?\]", " ", label.casefold())
    return _NAMES.get(" ".join(re.findall(r"[^\W\d_]+", words)))


def _same(one: Code | None, other: Code) -> bool:
    return one is not None and bool(Term(*one) == Term(*other))
