"""Whether the picture of each slice can be of the place that its header names.

Positions say where slices lie, and nothing in a header says that a picture belongs to its slice. What its
neighbours cannot contradict, a slice of air beside air or a series of noise, is not told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import Refused
from models.series.passes import named
from models.series.pictures import (
    Detour,
    Pictures,
    Step,
    alternation,
    left_out,
    picture_of,
    reversed_,
    steps_of,
)
from models.series.slice_facts import SliceFacts
from models.series.verdict import Code

FEWEST_SLICES, SMALLEST_SIDE = 8, 64
"""Of fewer slices, or with a side of fewer pixels, pictures show too little to be judged."""

STRANGE, IMPOSSIBLE = 2.1, 25.0
"""So many times a way may be as long as the way without some slices: 1.8 in real series.

Pictures that have nothing in common lie equally far from each other, and reach 2. Streaks of metal in a few
thin slices may reach 10: what may be so is told, and not refused.
"""

BREAK, UNRELATED = 2.0, 0.75
"""Beyond both, what lies behind a step does not go on from what lies before it: 1.7 and 0.7 in real series.

The first is how long it is beside those around, the second beside the ways that begin before it or end behind
it: these are longer, where anatomy goes on.
"""

FEW = 5
"""So many slices beyond a break are what is in doubt; where there are more, nobody can say which side is."""

NO_BETTER, OUT_OF_ORDER = 1.05, 1.3
"""So many times a way may be as long as one that takes some slices in reverse, or turns them over.

In real series 0.93 and 0.71, in slices that differ in noise of 60 HU alone 1.034: beyond the first is told,
beyond the second refused.
"""

OPPOSITE, SAME = -0.7, 0.4
"""Beyond both, two passes alternate: -0.61 and 0.07 in real series, -2/3 and 1/6 in noise."""

NOT_JUDGED = (
    "Whether each picture is of its place was not judged: there are under "
    f"{FEWEST_SLICES} slices, or under {SMALLEST_SIDE} rows or columns."
)


@dataclass(frozen=True)
class Doubts:
    """What is strange and not impossible of the slices of a series.

    Parameters
    ----------
    slices
        Those that may not be of their place, from 0, in k order.
    notes
        What the reader is told of them, one sentence each.
    """

    slices: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class SliceContents:
    """The pictures of a series, each kept as a few means; slices are added in k order."""

    _facts: list[SliceFacts] = field(default_factory=list)
    _pictures: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, s: SliceFacts, hu: NDArray[Any]) -> None:
        """Look at a slice, axes (row, column), HU, padding as air."""
        self._facts.append(s)
        if min(hu.shape) >= SMALLEST_SIDE:
            self._pictures.append(picture_of(hu))

    def judge(self) -> Doubts:
        """Say what is strange of the slices that were added.

        Raises
        ------
        Refused
            `slice-out-of-place` if a picture is there twice, is blank between others, or cannot be of its
            place; `multi-phase` if two passes alternate.
        """
        if len(self._pictures) < FEWEST_SLICES:
            return Doubts(notes=(NOT_JUDGED,))
        pictures = np.array(self._pictures)
        blank = np.ptp(pictures, axis=(1, 2)) == 0
        if blank.all():
            raise self._refused(0, len(blank) - 1, "hold one value each: nothing was scanned", {})
        first, last = np.flatnonzero(~blank)[[0, -1]].tolist()
        self._refuse_blank(blank, first, last)
        self._refuse_repeated(pictures, blank)
        slices, notes = self._blank_ends(blank, first, last)
        inner = pictures[first : last + 1]
        if len(inner) < FEWEST_SLICES:
            return Doubts(tuple(sorted(slices)), (*notes, NOT_JUDGED))
        self._refuse_alternating(inner)
        steps = list(steps_of(inner))
        self._refuse_turned(steps, first)
        for one, unlike in self._strange(inner, first):
            slices |= set(range(one.first, one.last + 1))
            notes.append(f"{self._named(one.first, one.last)} {unlike}: it may not be of its place.")
        for step in steps:
            before, after, broken = first + step.to - 1, first + step.to, _break_at(step)
            if broken and not {before, after} & slices:
                slices |= _beyond(step.to, len(inner), first)
                notes.append(
                    f"From slice {before + 1} to {after + 1} ({named(self._facts[before : after + 1])}) the "
                    f"pictures {broken}: one side may not be of its place."
                )
        return Doubts(tuple(sorted(slices)), tuple(notes))

    def _refuse_blank(self, blank: NDArray[np.bool_], first: int, last: int) -> None:
        between = np.flatnonzero(blank[first : last + 1]) + first
        if len(between):
            of = {"blank_slices": len(between)}
            hold = "holds one value" if between[0] == between[-1] else "hold one value each"
            raise self._refused(between[0], between[-1], f"{hold}, between slices that do not", of)

    def _refuse_repeated(self, pictures: Pictures, blank: NDArray[np.bool_]) -> None:
        """Refuse a picture that is there twice: noise alone makes a thousand means of two slices differ."""
        seen: dict[bytes, int] = {}
        again = [k for k in np.flatnonzero(~blank).tolist() if seen.setdefault(pictures[k].tobytes(), k) != k]
        if again:
            first = seen[pictures[again[0]].tobytes()] + 1
            detail = f"holds the same picture as slice {first}"
            raise self._refused(again[0], again[0], detail, {"same_as_slice": first, "copies": len(again)})

    def _blank_ends(self, blank: NDArray[np.bool_], first: int, last: int) -> tuple[set[int], list[str]]:
        count = int(blank.sum())
        if not count:
            return set(), []
        return set(np.flatnonzero(blank).tolist()), [
            f"{count} slice(s) at the ends of the series are blank; {last - first + 1} are not."
        ]

    def _refuse_alternating(self, pictures: Pictures) -> None:
        next_one, next_but_one = alternation(pictures)
        if next_one < OPPOSITE and next_but_one > SAME:
            raise Refused(
                Code.MULTI_PHASE,
                "Every second slice is more like its next but one than like its neighbour: slices of two "
                "passes lie between each other.",
                {"alike_next": round(next_one, 2), "alike_next_but_one": round(next_but_one, 2)},
            )

    def _refuse_turned(self, steps: Sequence[Step], offset: int) -> None:
        for step in steps:
            if step.turned > OUT_OF_ORDER:
                detail = "would be more alike with one of them turned over: upside down, mirrored or both"
                k = step.to + offset
                raise self._refused(k - 1, k, detail, {"times": round(step.turned, 2)})

    def _strange(self, pictures: Pictures, offset: int) -> list[tuple[Detour, str]]:
        """Return the detours that are strange and what they are; refuse what is impossible."""
        reverse = [_placed(one, offset) for one in reversed_(pictures) if one.times > NO_BETTER]
        for one in reverse:
            if one.times > OUT_OF_ORDER:
                detail = "would follow the others better in reverse order"
                raise self._refused(one.first, one.last, detail, _measured(one))
        found: list[Detour] = []
        for one in sorted(left_out(pictures), key=lambda one: -one.times):
            placed = _placed(one, offset)
            if one.times > IMPOSSIBLE:
                raise self._refused(placed.first, placed.last, _unlike(one), _measured(one))
            if one.times > STRANGE and not any(_meet(placed, other) for other in found):
                found.append(placed)
        told = [(one, _unlike(one)) for one in found]
        told += [
            (one, "may be in reverse order")
            for one in reverse
            if not any(_within(one, other) for other in found)
        ]
        return sorted(told, key=lambda each: each[0].first)

    def _refused(self, first: int, last: int, detail: str, measured: Mapping[str, object]) -> Refused:
        where = {
            "slices": [int(first) + 1, int(last) + 1],
            "instances": [self._facts[k].sop_instance_uid for k in (int(first), int(last))],
        }
        return Refused(
            Code.SLICE_OUT_OF_PLACE, f"{self._named(first, last)} {detail}.", {**where, **measured}
        )

    def _named(self, first: int, last: int) -> str:
        if first == last:
            return f"Slice {first + 1} ({named(self._facts[first : first + 1])})"
        return f"Slices {first + 1} to {last + 1} ({named([self._facts[first], self._facts[last]])})"


def _break_at(step: Step) -> str:
    """Return how a slice does not go on from the one before; empty where it does."""
    if step.times > BREAK and step.over > UNRELATED:
        return f"change {step.times:.1f} times as much as around"
    return "are more alike with one side turned over" if step.turned > NO_BETTER else ""


def _beyond(n: int, count: int, offset: int) -> set[int]:
    """Return which of so many slices are in doubt where slice n does not follow the one before it."""
    if n <= FEW:
        return set(range(offset, offset + n))
    return set(range(offset + (n if count - n <= FEW else 0), offset + count))


def _unlike(one: Detour) -> str:
    many = "differs" if one.first == one.last else "differ"
    return f"{many} from the slices around {one.times:.1f} times as much as is usual"


def _measured(one: Detour) -> dict[str, object]:
    return {"times": round(one.times, 2)}


def _placed(one: Detour, offset: int) -> Detour:
    return Detour(one.first + offset, one.last + offset, one.times)


def _within(one: Detour, other: Detour) -> bool:
    return other.first <= one.first and one.last <= other.last


def _meet(one: Detour, other: Detour) -> bool:
    return one.first <= other.last and other.first <= one.last
