"""What DICOM's dictionaries say of the codes in a site's file of organs (PS3.16, as pydicom holds them)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from highdicom.color import CIELabColor
from pydicom.sr._concepts_dict import concepts

from models.further_organs import FurtherOrgans, further_organ
from models.organ_rows import SIDES, Fault, OrganFileCode, Row, read_rows, refuse, sides_named
from models.organs import ALTERED_STRUCTURE, Code, Organ
from services.dicom.seg.names import FLAG_MARKS, organ_by_code, organ_by_label, plain_label

SNOMED = "SCT"
CATEGORIES = 7150
"""The context group of categories of a segment."""

OF_SEGMENTS = {CATEGORIES, 7151, 7159}
"""The groups of what a segment is; a code may be called otherwise in another."""

BODY_STRUCTURE = "123037004"
"""What tools write as a category in place of `Anatomical Structure`."""


@dataclass(frozen=True)
class OrganFile:
    """A site's file of organs outside the catalogue.

    Parameters
    ----------
    organs
        By key.
    unverified
        Codes of each organ that DICOM's dictionaries do not hold; organs without one are missing.
    digest
        SHA-256 of the file.
    """

    organs: Mapping[str, Organ]
    unverified: Mapping[str, tuple[str, ...]]
    digest: str

    def carried(self, keys: Iterable[str]) -> FurtherOrgans | None:
        """Return what a release of these organs carries of the file; None if none of them is in it."""
        found = [key for key in keys if key in self.organs]
        if not found:
            return None
        unverified = [code for key in found for code in self.unverified.get(key, ())]
        return FurtherOrgans(
            tuple(self.organs[key] for key in found), tuple(dict.fromkeys(unverified)), self.digest
        )


NO_FILE = OrganFile({}, {}, "")
"""Where a site has none."""


def read_organ_file(path: Path) -> OrganFile:
    """Read a site's file, and ask DICOM's dictionaries about its codes.

    A code that they do not hold is allowed, for the groups are extensible, and marked: nobody here can look
    it up. The meaning of one that they hold is theirs; the file may leave it empty, or says the same.

    Raises
    ------
    Refused
        A code of `models.organ_rows.OrganFileCode`, with the rows.
    OSError
        If it cannot be read.
    """
    rows, digest = read_rows(path)
    refuse([fault for row in rows for fault in _faults(row)], path)
    unverified = {
        row.key: tuple(code for code in (row.type, row.region) if code and not meanings(code)) for row in rows
    }
    return OrganFile(
        {row.key: _organ(row) for row in rows},
        {key: codes for key, codes in unverified.items() if codes},
        digest,
    )


@cache
def _terms() -> Mapping[str, tuple[tuple[str, tuple[int, ...]], ...]]:
    """Meanings of each SNOMED CT code with their context groups; those of segments first."""
    found: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    terms = cast(Mapping[str, Mapping[str, tuple[str, Sequence[int]]]], concepts[SNOMED])
    for by_code in terms.values():
        for value, (meaning, groups) in by_code.items():
            found.setdefault(value, []).append((meaning, tuple(groups)))
    return {value: tuple(sorted(said, key=_order)) for value, said in found.items()}


def _order(term: tuple[str, tuple[int, ...]]) -> tuple[bool, bool, str]:
    meaning, groups = term
    return not OF_SEGMENTS & set(groups), not groups, meaning


def meanings(code: str) -> tuple[str, ...]:
    """Return what DICOM's dictionaries call a SNOMED CT code, the name of a segment first."""
    return tuple(meaning for meaning, _ in _terms().get(code, ()))


def is_category(code: str) -> bool:
    """Tell whether a code is of CID 7150."""
    return any(CATEGORIES in groups for _, groups in _terms().get(code, ()))


def _faults(row: Row) -> list[Fault]:
    faults = []
    if row.category == BODY_STRUCTURE:
        detail = f"category {BODY_STRUCTURE} is not in CID 7150: Anatomical Structure is 91723000"
        faults.append(row.fault(OrganFileCode.CATEGORY, detail))
    elif not is_category(row.category):
        detail = f"category {row.category} is not in CID 7150; an organ's is 91723000"
        faults.append(row.fault(OrganFileCode.CATEGORY, detail))
    elif row.category == ALTERED_STRUCTURE.value and not row.region:
        detail = "what is altered has a region: the organ it lies in"
        faults.append(row.fault(OrganFileCode.CATEGORY, detail))
    for what, code, said in (
        ("type", row.type, row.type_meaning),
        ("region", row.region, row.region_meaning),
    ):
        if code:
            faults += _meaning_faults(row, what, code, said)
    known = organ_by_code(_term(row.type, row.type_meaning), SIDES[row.side]) or organ_by_label(row.label)
    if known is not None:
        detail = f"in a SEG that comes back its label or codes would be taken for {known}: change them"
        faults.append(row.fault(OrganFileCode.IN_CATALOGUE, detail))
    if plain_label(row.label) != row.label:
        marks = " or ".join(FLAG_MARKS.values())
        faults.append(
            row.fault(OrganFileCode.BAD_VALUE, f"a label that ends in {marks} says a flag: change it")
        )
    return [*faults, *_side_faults(row)]


def _meaning_faults(row: Row, what: str, code: str, said: str) -> list[Fault]:
    known = meanings(code)
    if known and said and said.casefold() not in {one.casefold() for one in known}:
        detail = (
            f"{what} {code} is {known[0]!r} in DICOM, not {said!r}: "
            "correct the code, or leave the meaning empty"
        )
        return [row.fault(OrganFileCode.MEANING, detail)]
    if not known and not said:
        detail = f"DICOM's dictionaries do not hold {what} {code}: say its meaning"
        return [row.fault(OrganFileCode.MEANING, detail)]
    return []


def _side_faults(row: Row) -> list[Fault]:
    coded = {row.side} - {""}
    for what, code, said in (
        ("type", row.type, row.type_meaning),
        ("region", row.region, row.region_meaning),
    ):
        named = sides_named(_meaning(code, said)) if code else set()
        if len(named) == 1:
            if coded and coded != named:
                (other,), (one,) = named, coded
                detail = f"{what} {code} is {_meaning(code, said)!r}: {other}, and the row says {one}"
                return [row.fault(OrganFileCode.SIDE, detail)]
            coded = named
    told = sides_named(row.key.replace("_", " ")) | sides_named(row.label)
    if told and told != coded:
        said = " and ".join(sorted(coded)) or "no side"
        detail = f"key and label say {' and '.join(sorted(told))}, codes and side say {said}"
        return [row.fault(OrganFileCode.SIDE, detail)]
    return []


def _meaning(code: str, said: str) -> str:
    known = meanings(code)
    return next((one for one in known if one.casefold() == said.casefold()), known[0] if known else said)


def _term(code: str, said: str) -> Code:
    return Code(code, SNOMED, _meaning(code, said))


def _organ(row: Row) -> Organ:
    return further_organ(
        row.key,
        row.label,
        _term(row.category, ""),
        _term(row.type, row.type_meaning),
        SIDES[row.side],
        _term(row.region, row.region_meaning) if row.region else None,
        _cielab(row.rgb),
    )


def _cielab(rgb: Sequence[int]) -> tuple[float, float, float]:
    """Return CIELab of sRGB under D65, a and b within -128..127 as DICOM encodes them (PS3.3 C.10.7.1.1)."""
    lightness, a, b = CIELabColor.from_rgb(*rgb).lab
    return round(min(100.0, lightness), 2), round(a, 2), round(b, 2)
