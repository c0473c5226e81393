"""A site's file of organs outside the catalogue: CSV in UTF-8, a row an organ, the header `COLUMNS`.

What can be told of a row alone, or beside the others and the catalogue, is asked here; what DICOM's
dictionaries say of its codes in `services.dicom.dictionary`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from models.errors import Refused
from models.organs import ALIASES, CATALOGUE, KEYS, LEFT, RIGHT, Code, Organ
from models.organs import organ as catalogue_entry

COLUMNS = ("key", "label", "category", "type", "type_meaning", "side", "region", "region_meaning", "colour")
SIDES: Mapping[str, Code | None] = {"": None, "Right": RIGHT, "Left": LEFT}
LONGEST_LABEL = 57
"""SegmentLabel is LO, 64 characters; a region to look at begins with `Check: `."""

LONGEST_MEANING = 64
LONGEST_CODE = 16
"""CodeMeaning is LO, CodeValue SH (PS3.5 section 6.2)."""

MOST_FAULTS = 8
"""Told at once; the rest is counted."""


class OrganFileCode(StrEnum):
    """Why a file of organs, or a row of it, is refused."""

    UNREADABLE = "organ-file-unreadable"
    BAD_VALUE = "organ-bad-value"
    TWICE = "organ-twice"
    IN_CATALOGUE = "organ-in-catalogue"
    CATEGORY = "organ-category"
    SIDE = "organ-side"
    MEANING = "organ-meaning"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row: the line it stands on, and what to do."""

    code: OrganFileCode
    line: int
    key: str
    detail: str


@dataclass(frozen=True)
class Row:
    """One row of the file, as it is written; `line` counts from 1, the header's."""

    line: int
    key: str
    label: str
    category: str
    type: str
    type_meaning: str
    side: str
    region: str
    region_meaning: str
    colour: str

    @property
    def codes(self) -> tuple[str, str, str]:
        """What names the structure: type, side and region."""
        return self.type, self.side, self.region

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0..255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue

    def fault(self, code: OrganFileCode, detail: str) -> Fault:
        """Return what is wrong with this row."""
        return Fault(code, self.line, self.key, detail)


def read_rows(path: Path) -> tuple[tuple[Row, ...], str]:
    """Read a site's file.

    Parameters
    ----------
    path
        CSV, UTF-8.

    Returns
    -------
    rows : tuple of Row
        Without those that say of an organ of the catalogue what the catalogue says.
    digest : str
        SHA-256 of the file.

    Raises
    ------
    Refused
        A code of `OrganFileCode`, with the rows.
    OSError
        If it cannot be read.
    """
    content = path.read_bytes()
    try:
        lines = list(csv.reader(content.decode("utf-8-sig").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(OrganFileCode.UNREADABLE, f"{path} is no CSV in UTF-8: {error}") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise Refused(
            OrganFileCode.UNREADABLE, f"the first line of {path} must be {','.join(COLUMNS)}", {"line": 1}
        )
    rows, faults = [], []
    for number, cells in enumerate(lines[1:], 2):
        if len(cells) == len(COLUMNS):
            rows.append(Row(number, *cells))
        elif cells:
            detail = f"it has {len(cells)} values, and the header {len(COLUMNS)}"
            faults.append(Fault(OrganFileCode.UNREADABLE, number, cells[0], detail))
    faults += [fault for row in rows for fault in _of_itself(row)]
    refuse(faults, path)  # what is none cannot be compared
    further = [row for row in rows if not _is_catalogued(row)]
    refuse([*_twice(further), *(fault for row in rows for fault in _against_catalogue(row))], path)
    return tuple(further), sha256(content).hexdigest()


def known_organs(path: Path | None) -> tuple[str, ...]:
    """Return the keys of the catalogue, then those of a site's file; raises as `read_rows`."""
    return KEYS if path is None else (*KEYS, *(row.key for row in read_rows(path)[0]))


def refuse(faults: Sequence[Fault], path: Path) -> None:
    """Refuse a file for all that is wrong with its rows, the first fault's code first.

    Raises
    ------
    Refused
        If there is a fault.
    """
    if faults:
        told = [f"line {one.line} ({one.key}): {one.detail}" for one in faults[:MOST_FAULTS]]
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        measured = {"lines": [one.line for one in faults], "codes": sorted({one.code for one in faults})}
        raise Refused(faults[0].code, f"{path}: {'; '.join(told)}{more}", measured)


def sides_named(words: str) -> set[str]:
    """Return the sides that words name, Left or Right."""
    return {side for side in ("Left", "Right") if side.lower() in re.findall("[a-z]+", words.lower())}


def _of_itself(row: Row) -> list[Fault]:
    """Return what is wrong with a row whatever else the file holds."""
    wrong = []
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", row.key):
        wrong.append("the key must be lower-case letters, digits and _, at most 64")
    for what, text, most in (
        ("label", row.label, LONGEST_LABEL),
        ("type_meaning", row.type_meaning, LONGEST_MEANING),
        ("region_meaning", row.region_meaning, LONGEST_MEANING),
    ):
        # Results have the character set of their CT, and all of them hold ASCII.
        if (
            len(text) > most
            or "\\" in text
            or not (text.isascii() and text.isprintable())
            or text != text.strip()
        ):
            wrong.append(
                f"{what} must be at most {most} characters of ASCII, without backslash or outer spaces"
            )
    if not row.label:
        wrong.append("the label is missing")
    for what, code in (("category", row.category), ("type", row.type), ("region", row.region)):
        if (code or what != "region") and not re.fullmatch(rf"[1-9][0-9]{{5,{LONGEST_CODE - 1}}}", code):
            wrong.append(f"{what} must be a SNOMED CT code of 6 to {LONGEST_CODE} digits, not {code!r}")
    if row.region_meaning and not row.region:
        wrong.append("region_meaning is of no region")
    if row.side not in SIDES:
        wrong.append(f"side must be empty, Left or Right, not {row.side!r}")
    if not re.fullmatch("#[0-9a-fA-F]{6}", row.colour):
        wrong.append(f"colour must be as #ff8000, not {row.colour!r}")
    return [row.fault(OrganFileCode.BAD_VALUE, what) for what in wrong]


def _twice(rows: Sequence[Row]) -> list[Fault]:
    """Return where two rows are one: in viewers, in records, or for whoever reads the codes."""
    kinds: Mapping[str, Callable[[Row], Hashable]] = {
        "key": lambda row: row.key,
        "label": lambda row: row.label.casefold(),
        "codes": lambda row: row.codes,
        "colour": lambda row: row.rgb,
    }
    faults = []
    for what, of in kinds.items():
        counted = Counter(map(of, rows))
        faults += [
            row.fault(OrganFileCode.TWICE, f"another row has the same {what}")
            for row in rows
            if counted[of(row)] > 1
        ]
    return faults


def _against_catalogue(row: Row) -> list[Fault]:
    if _is_catalogued(row):
        return []
    known = ALIASES.get(row.key, row.key)
    if known in KEYS:
        entry = catalogue_entry(known)
        side, region = entry.laterality, entry.region
        said = ", ".join(
            [
                f"type {entry.type.value}",
                *([side.meaning] if side else []),
                *([region.value] if region else []),
            ]
        )
        detail = f"it is {known} of the catalogue, with {said}: leave the row out, or call it otherwise"
        return [row.fault(OrganFileCode.IN_CATALOGUE, detail)]
    for entry in CATALOGUE:
        if row.codes == _codes(entry) or row.label.casefold() == entry.label.casefold():
            detail = f"label or codes are those of {entry.key} in the catalogue: name that key instead"
            return [row.fault(OrganFileCode.IN_CATALOGUE, detail)]
    return []


def _is_catalogued(row: Row) -> bool:
    """Tell whether a row says of an organ of the catalogue what the catalogue says."""
    known = ALIASES.get(row.key, row.key)
    if known not in KEYS:
        return False
    entry = catalogue_entry(known)
    return (row.category, *row.codes) == (entry.category.value, *_codes(entry))


def _codes(entry: Organ) -> tuple[str, str, str]:
    side = "" if entry.laterality is None else entry.laterality.meaning
    return entry.type.value, side, "" if entry.region is None else entry.region.value
