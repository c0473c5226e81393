"""What CT images say of how their values came about: rules as data, ``image_kinds.toml`` beside this file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from models.series.slice_facts import SliceFacts

SHIPPED = Path(__file__).with_suffix(".toml")

_ANATOMY_OF_IMAGE_TYPE = frozenset(("PRIMARY", "SECONDARY"))
"""Value 2 of ImageType (PS3.3 C.7.6.1.1.2), which some writers put elsewhere: it says nothing here."""


_HU = re.compile(r".*hnsf'U.*|[\[{]?HU[\]}]?", re.IGNORECASE)
"""In UCUM ``[hnsf'U]``; some write HU."""


@dataclass(frozen=True)
class Kind:
    """One row of the file; see there for what each key means.

    Raises
    ------
    ValueError
        If it lacks its source, or has no pattern.
    """

    what: str
    source: str
    image_type: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    description: tuple[str, ...] = ()
    derivation: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    only: Literal["", "derived"] = ""
    unless_one_energy: bool = False

    def __post_init__(self) -> None:
        if not (
            self.source
            and (self.image_type or self.codes or self.description or self.derivation or self.units)
        ):
            raise ValueError(f"image kind {self.what!r}: it has no source, or no pattern")
        if self.only not in ("", "derived"):
            raise ValueError(f"image kind {self.what!r}: only may be 'derived'")
        for pattern in (*self.image_type, *self.description, *self.derivation, *self.units):
            re.compile(pattern)

    def covers(self, said: Said) -> bool:
        """Tell whether an image is of this kind."""
        if (self.only == "derived" and not said.derived) or (self.unless_one_energy and said.one_energy):
            return False
        return (
            any(_names(self.image_type, value) for value in said.values)
            or any(code in self.codes for code in said.codes)
            or any(_names(self.description, text) for text in said.texts)
            or (said.derived and _names(self.derivation, said.texts[0]))
            or any(re.fullmatch(pattern, unit) for pattern in self.units for unit in said.units)
        )


@dataclass(frozen=True)
class Said:
    """What one image says of itself, in the form of the patterns; of texts the derivation's comes first."""

    values: tuple[str, ...]
    codes: tuple[str, ...]
    texts: tuple[str, ...]
    units: tuple[str, ...]
    derived: bool
    one_energy: bool


@dataclass(frozen=True)
class ImageKinds:
    """The rows of the file."""

    refused: tuple[Kind, ...]
    told: tuple[Kind, ...]
    one_energy: Kind

    @classmethod
    def read(cls, path: Path = SHIPPED) -> ImageKinds:
        """Read a file of rows.

        Raises
        ------
        ValueError
            If it is not TOML, or says something no row can.
        OSError
            If it cannot be read.
        """
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        try:
            refused, told = (tuple(_kind(one) for one in document.pop(name)) for name in ("refused", "told"))
            one_energy = _kind({"what": "one photon energy", **document.pop("one_energy")})
        except (TypeError, KeyError, re.error) as error:
            raise ValueError(f"image kinds: {error}") from error
        if document:
            raise ValueError(f"image kinds: unknown keys {sorted(document)}")
        return cls(refused, told, one_energy)


def is_derived(s: SliceFacts) -> bool:
    """Tell whether an image says that it is not ORIGINAL, or does not say that it is."""
    return not s.image_type or s.image_type[0].upper() != "ORIGINAL"


def why_refused(s: SliceFacts) -> str | None:
    """Return what an image is whose values are no HU of the patient's tissue; None for any other."""
    return _why_refused(_said(s))


def told_of(s: SliceFacts) -> tuple[str, ...]:
    """Return what a derived image is, in words for the reader; empty where it does not say."""
    return _told_of(_said(s)) if is_derived(s) else ()


def is_one_energy(s: SliceFacts) -> bool:
    """Tell whether an image shows HU as one photon energy would."""
    return _said(s).one_energy


@cache
def _shipped() -> ImageKinds:
    return ImageKinds.read()


def _said(s: SliceFacts) -> Said:
    """Return what an image says; the header of a series says mostly the same."""
    return _in_form(
        s.image_type, s.derivation_codes, s.derivation, s.description, s.units, s.one_energy, is_derived(s)
    )


@lru_cache(maxsize=64)
def _in_form(
    image_type: tuple[str, ...],
    codes: tuple[str, ...],
    derivation: str,
    series: str,
    units: tuple[str, ...],
    one_energy: bool,
    derived: bool,
) -> Said:
    values = tuple(
        form for value in image_type[1:] if (form := _blanked(value)) and form not in _ANATOMY_OF_IMAGE_TYPE
    )
    texts = tuple(map(_blanked, (derivation, series) if derived else (derivation,)))
    shown = one_energy or any(_names(_shipped().one_energy.image_type, value) for value in values)
    other = () if any(_HU.fullmatch(unit) for unit in units) else units
    return Said(values, codes, texts, other, derived, shown)


@lru_cache(maxsize=64)
def _why_refused(said: Said) -> str | None:
    return next((kind.what for kind in _shipped().refused if kind.covers(said)), None)


@lru_cache(maxsize=64)
def _told_of(said: Said) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind.what for kind in _shipped().told if kind.covers(said)))


def _blanked(text: str) -> str:
    return " ".join(re.split(r"[^A-Z0-9]+", text.upper())).strip()


def _names(patterns: Sequence[str], text: str) -> bool:
    return any(re.search(rf"\b(?:{pattern})\b", text) for pattern in patterns)


def _kind(row: dict[str, object]) -> Kind:
    return Kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})  # type: ignore[arg-type]
