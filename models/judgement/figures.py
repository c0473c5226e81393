"""The numbers behind the reasons of an organ: what was measured, and what is usual."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from models.bounds.acquisition_facts import StrangeFact
from models.findings import Figure
from models.judgement.between_organs import NEIGHBOURS, Relations, is_part
from models.judgement.reasons import Reason
from models.judgement.shape_and_side import SURROUNDINGS, Beyond, Shape
from models.organs import catalogued

DIGITS = 4
"""Decimals that are kept of a number."""


@dataclass(frozen=True)
class Seen:
    """What was measured of one organ and of those around it.

    Parameters
    ----------
    shapes
        Of every organ asked for, by key; None where nothing was found.
    beside
        Of this organ; None where it was not found on the model grid.
    beyond
        How far it lies on the wrong side; None where it does not.
    shared_ml
        By other organ, the volume that both claim, millilitres.
    doubted
        How many slices in or beside it may not be of their place.
    bound, target
        Lower bound of DSC and the DSC that is wanted, 0..1; None where there is none.
    strange
        Facts of the acquisition that are unusual.
    """

    shapes: Mapping[str, Shape | None]
    beside: Relations | None = None
    beyond: Beyond | None = None
    shared_ml: Mapping[str, float] | None = None
    doubted: int = 0
    bound: float | None = None
    target: float | None = None
    strange: tuple[StrangeFact, ...] = ()


def figures(organ: str, reasons: Collection[str], seen: Seen) -> tuple[Figure, ...]:
    """Return the numbers behind the reasons that hold, in their order; behind some there are none."""
    return tuple(one for reason in reasons for one in _behind(Reason(reason), organ, seen))


def _behind(reason: Reason, organ: str, seen: Seen) -> list[Figure]:
    measured = _MEASURED.get(reason)
    if measured is None:
        return []
    return [
        Figure(reason.value, what, round(value, DIGITS), tuple(round(end, DIGITS) for end in usual), other)
        for what, value, usual, other in measured(organ, seen)
        if math.isfinite(value)
    ]


_Said = tuple[str, float, tuple[float, ...], str]
"""What was measured, its value, what is usual, and the other organ that it was measured to."""


def _unlike(_: str, seen: Seen) -> list[_Said]:
    return [(fact.name, fact.value, fact.usual, "") for fact in seen.strange]


def _slices(_: str, seen: Seen) -> list[_Said]:
    return [("slices", seen.doubted, (), "")] if seen.doubted else []


def _surroundings(organ: str, seen: Seen) -> list[_Said]:
    found = [(other, seen.shapes.get(other)) for other in SURROUNDINGS.get(organ, ())]
    return [("volume_ml", shape.volume_ml, (), other) for other, shape in found if shape is not None]


def _beyond(_: str, seen: Seen) -> list[_Said]:
    return [] if seen.beyond is None else [("beyond_mm", seen.beyond.mm, (), seen.beyond.organ)]


def _outside(_: str, seen: Seen) -> list[_Said]:
    return [] if seen.beside is None else [("outside_ml", seen.beside.outside_ml, (), "")]


def _shared(organ: str, seen: Seen) -> list[_Said]:
    others = [(ml, other) for other, ml in (seen.shared_ml or {}).items() if not is_part(organ, other)]
    return [("shared_ml", ml, (), other) for ml, other in sorted(others, reverse=True)]


def _gap(organ: str, seen: Seen) -> list[_Said]:
    if seen.beside is None or seen.beside.gap_mm is None:
        return []
    return [("gap_mm", seen.beside.gap_mm, (0.0, NEIGHBOURS[organ][1]), seen.beside.nearest)]


def _pieces(organ: str, seen: Seen) -> list[_Said]:
    shape, entry = seen.shapes.get(organ), catalogued(organ)
    if shape is None or entry is None or entry.components is None:
        return []
    largest = shape.pieces_ml[0] / shape.volume_ml
    return [("pieces", len(shape.pieces_ml), (entry.components,), ""), ("largest_share", largest, (), "")]


def _volume(organ: str, seen: Seen) -> list[_Said]:
    shape, entry = seen.shapes.get(organ), catalogued(organ)
    if shape is None or entry is None or entry.volume_range_ml is None:
        return []
    return [("volume_ml", shape.volume_ml, entry.volume_range_ml, "")]


def _bound(_: str, seen: Seen) -> list[_Said]:
    if seen.bound is None or seen.target is None:
        return []
    return [("dsc_lower_bound", seen.bound, (seen.target, 1.0), "")]


_MEASURED: Mapping[Reason, Callable[[str, Seen], list[_Said]]] = {
    Reason.OUT_OF_DOMAIN: _unlike,
    Reason.DOUBTFUL_SLICES: _slices,
    Reason.NOT_FOUND: _surroundings,
    Reason.WRONG_SIDE: _beyond,
    Reason.OUTSIDE_BODY: _outside,
    Reason.BOUND_UNDER_HALF_TARGET: _bound,
    Reason.OVERLAPPING: _shared,
    Reason.NOT_ADJACENT: _gap,
    Reason.FRAGMENTED: _pieces,
    Reason.VOLUME_OUT_OF_RANGE: _volume,
    Reason.BOUND_UNDER_TARGET: _bound,
}
"""Behind the other reasons nothing was measured."""
