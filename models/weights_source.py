"""Whose weights a release has that were made elsewhere: their licence, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

LONGEST = 200
"""Characters; a name of a licence, and an address."""


@dataclass(frozen=True)
class WeightsSource:
    """What was said of weights when they were imported; every result carries it.

    Parameters
    ----------
    licence, origin
        One line each, at most `LONGEST` characters of printable ASCII: results are written in the character
        set of the CT, whatever that is.

    Raises
    ------
    ValueError
        If one is not.
    """

    licence: str
    origin: str

    def __post_init__(self) -> None:
        for name, said in asdict(self).items():
            if not said.strip() or len(said) > LONGEST or not (said.isascii() and said.isprintable()):
                raise ValueError(
                    f"the {name} of the weights must be one line of 1 to {LONGEST} characters of ASCII, "
                    f"not {said[:40]!r}"
                )

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> WeightsSource:
        """Rebuild from `to_json`; an unknown field, or one that must be said, raises TypeError."""
        return cls(**data)
