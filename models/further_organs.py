"""Organs outside the catalogue that a release carries, so that it writes the same result wherever it serves.

Of such an organ nothing but its codes and its colour is known: any volume and any number of pieces is
plausible, and it has no target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from models.organs import KEYS, Code, Organ
from models.organs import organ as catalogue_entry

TOLERANCE_MM = 3.0
"""Of the normalised surface distance, as the catalogue has it for most organs."""


@dataclass(frozen=True)
class FurtherOrgans:
    """The organs outside the catalogue that a release carries, so that it stands alone.

    Parameters
    ----------
    organs
        Of the file they came from, those that the release has, in the contract's order.
    unverified
        Codes among them that DICOM's dictionaries do not hold.
    file
        SHA-256 of that file.
    """

    organs: tuple[Organ, ...]
    unverified: tuple[str, ...]
    file: str

    def __post_init__(self) -> None:
        keys = [entry.key for entry in self.organs]
        if not keys or len(set(keys)) != len(keys) or set(keys) & set(KEYS):
            raise ValueError("further organs are none of the catalogue's, and none is named twice")

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {
            "organs": [
                {
                    "key": entry.key,
                    "label": entry.label,
                    "category": list(entry.category),
                    "type": list(entry.type),
                    "laterality": None if entry.laterality is None else list(entry.laterality),
                    "region": None if entry.region is None else list(entry.region),
                    "cielab": list(entry.cielab),
                }
                for entry in self.organs
            ],
            "unverified": list(self.unverified),
            "file": self.file,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> FurtherOrgans:
        """Rebuild from `to_json`; an unknown field, or one that must be said, raises TypeError."""
        return cls._of(**data)  # type: ignore[arg-type]

    @classmethod
    def _of(
        cls, organs: Iterable[Mapping[str, object]], unverified: Iterable[str], file: str
    ) -> FurtherOrgans:
        return cls(tuple(_carried(**said) for said in organs), tuple(unverified), file)  # type: ignore[arg-type]


def further_organ(
    key: str,
    label: str,
    category: Code,
    type_: Code,
    laterality: Code | None,
    region: Code | None,
    cielab: tuple[float, float, float],
) -> Organ:
    """Return an organ of which nothing but codes and colour is known."""
    return Organ(
        key, label, category, type_, laterality, cielab, None, None, None, None, TOLERANCE_MM, region
    )  # fmt: skip


def entry_of(key: str, further: Iterable[Organ]) -> Organ:
    """Return what is known of an organ: one of these, or the catalogue's.

    Raises
    ------
    KeyError
        If it is neither.
    """
    return next((entry for entry in further if entry.key == key), None) or catalogue_entry(key)


def _code(said: Sequence[str]) -> Code:
    value, scheme, meaning = said
    return Code(value, scheme, meaning)


def _carried(
    key: str,
    label: str,
    category: Sequence[str],
    type: Sequence[str],
    laterality: Sequence[str] | None,
    region: Sequence[str] | None,
    cielab: Sequence[float],
) -> Organ:
    lightness, a, b = cielab
    return further_organ(
        key,
        label,
        _code(category),
        _code(type),
        None if laterality is None else _code(laterality),
        None if region is None else _code(region),
        (lightness, a, b),
    )
