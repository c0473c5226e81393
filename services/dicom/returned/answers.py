"""What a person answers to the questions about a correction: ``3=stomach``, ``5=none``, ``liver=deleted``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from models.organs import KEYS
from services.dicom.returned.further import KEY

NONE = "none"
"""The answer for a segment that is no organ that is known, or of which nothing is to be learnt."""


class Fate(StrEnum):
    """Why an organ that was sent did not come back."""

    DELETED = "deleted"
    NOT_REVIEWED = "not-reviewed"


class WrongAnswer(ValueError):
    """An answer that cannot be one: it is no answer, is given twice, or answers what is not in question."""


@dataclass(frozen=True)
class Answers:
    """What a person answered about one SEG.

    Parameters
    ----------
    segments
        By SegmentNumber the organ that the segment is, by its key; None if it is none.
    organs
        By key of an organ that was sent and did not come back, why not.

    Raises
    ------
    WrongAnswer
        If what shall be an organ is no key of one, or is the answer for two segments, or for a segment and
        as one that did not come back.
    """

    segments: Mapping[int, str | None] = field(default_factory=dict)
    organs: Mapping[str, Fate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = [organ for organ in self.segments.values() if organ is not None]
        for organ in (*named, *self.organs):
            if not KEY.fullmatch(organ) or organ in list(Fate):
                raise WrongAnswer(f"{organ!r} is no key of an organ; the catalogue has {', '.join(KEYS)}")
        for organ in named:
            if named.count(organ) > 1:
                raise WrongAnswer(f"two segments cannot both be the {organ}")
            if organ in self.organs:
                raise WrongAnswer(f"the {organ} cannot be a segment and {self.organs[organ]}")

    @classmethod
    def parse(cls, words: Iterable[str]) -> Answers:
        """Read answers as they are given on the command line.

        Parameters
        ----------
        words
            Each ``SEGMENT=ORGAN``, ``SEGMENT=none``, ``ORGAN=deleted`` or ``ORGAN=not-reviewed``.

        Raises
        ------
        WrongAnswer
            If a word is none of these, or answers what another word has answered otherwise.
        """
        segments: dict[int, str | None] = {}
        organs: dict[str, Fate] = {}
        for word in words:
            left, equals, right = (part.strip() for part in word.partition("="))
            if equals and left.isascii() and left.isdigit():
                organ = None if right == NONE else right
                if segments.setdefault(int(left), organ) != organ:
                    raise WrongAnswer(f"segment {left} is answered twice")
            elif equals and right in list(Fate):
                if organs.setdefault(left, Fate(right)) != right:
                    raise WrongAnswer(f"the {left} is answered twice")
            else:
                raise WrongAnswer(
                    f"{word!r} is no answer; say SEGMENT=ORGAN, SEGMENT={NONE}, "
                    f"ORGAN={Fate.DELETED} or ORGAN={Fate.NOT_REVIEWED}"
                )
        return cls(segments, organs)

    @property
    def words(self) -> tuple[str, ...]:
        """The answers as `parse` reads them, in one order whatever order they were given in."""
        segments = [f"{number}={organ or NONE}" for number, organ in sorted(self.segments.items())]
        return (*segments, *(f"{organ}={fate}" for organ, fate in sorted(self.organs.items())))
