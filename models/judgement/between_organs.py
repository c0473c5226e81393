"""Rules between organs, and between organ and body: containment, overlap, adjacency, each with a code.

Measured on the model grid, where all organs and the CT lie on one small array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.geometry import Geometry
from models.judgement.reasons import Reason
from models.masks import BoxedMask
from models.organs import catalogued
from models.surfaces import nearest_mm, surface_voxels

OUTSIDE_SHARE = 0.05
"""Share of an organ that may lie outside the body; skin and lung edges are not drawn finer than this."""

OVERLAP_SHARE = 0.25
"""Share of an organ that others may claim too; on a coarse grid small organs share wide borders."""

NEIGHBOURS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "spleen": (("left_kidney", "stomach"), 40.0),
    "right_kidney": (("liver",), 50.0),
    "left_kidney": (("spleen",), 60.0),
    "pancreas": (("stomach", "aorta"), 40.0),
    "stomach": (("liver", "spleen"), 40.0),
    "aorta": (("postcava",), 40.0),
    "postcava": (("aorta",), 40.0),
    "gallbladder": (("liver",), 20.0),
}
"""By organ: the nearest of these lies within so many millimetres, in adults lying on a table."""


@dataclass(frozen=True)
class Relations:
    """What the rules need to know of one found organ's surroundings.

    Parameters
    ----------
    outside_share
        Share of it that lies outside the body, 0..1.
    overlap_share
        Share of it that some other organ claims too, 0..1.
    gap_mm
        Least distance to the nearest of its `NEIGHBOURS` that was found, between voxel centres; None
        when none was.
    outside_ml
        What lies outside the body, millilitres.
    nearest
        That neighbour, by key; empty when none was found.
    """

    outside_share: float
    overlap_share: float
    gap_mm: float | None
    outside_ml: float = 0.0
    nearest: str = ""


def relate(
    masks: Mapping[str, NDArray[np.bool_]], body: NDArray[np.bool_], geometry: Geometry
) -> dict[str, Relations]:
    """Measure every organ that was found.

    Parameters
    ----------
    masks
        By organ, axes (k, j, i) on the model grid, bool; an organ that was not found is empty.
    body
        Same axes: `filled_body`.
    geometry
        The model grid.
    """
    found = {organ: mask for organ, mask in masks.items() if mask.any()}
    disputed = disputed_voxels(found)
    surfaces = {organ: geometry.to_lps(surface_voxels(BoxedMask.of(mask))) for organ, mask in found.items()}
    related = {}
    for organ, mask in found.items():
        near, _ = NEIGHBOURS.get(organ, ((), 0.0))
        gaps = {
            other: float(nearest_mm(surfaces[organ], surfaces[other]).min())
            for other in near
            if other in found
        }
        nearest = min(gaps, key=lambda other: gaps[other], default="")
        outside = ~body[mask]
        related[organ] = Relations(
            outside_share=float(np.mean(outside)),
            overlap_share=float(np.mean(disputed[organ][mask])),
            gap_mm=gaps.get(nearest),
            outside_ml=float(np.count_nonzero(outside) * geometry.voxel_ml),
            nearest=nearest,
        )
    return related


def disputed_voxels(masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """Return by organ where another organ claims its voxels that is not drawn as part of it, or it of that.

    Parameters
    ----------
    masks
        By organ, equal axes, bool.
    """
    claims = np.zeros(next(iter(masks.values())).shape if masks else (), dtype=np.uint8)
    for mask in masks.values():
        claims += mask
    disputed = {}
    for organ, mask in masks.items():
        others = claims
        for other in masks:
            if is_part(organ, other):
                others = others - masks[other]
        disputed[organ] = mask & (others > 1)
    return disputed


def shared_voxels(masks: Mapping[str, BoxedMask]) -> dict[str, dict[str, int]]:
    """Return by organ how many voxels it shares with each other organ; those that share none are left out.

    Parameters
    ----------
    masks
        By organ, on one grid.
    """
    shared: dict[str, dict[str, int]] = {organ: {} for organ in masks}
    for one, other in combinations(masks, 2):
        count = (masks[one] & masks[other]).voxels
        if count:
            shared[one][other] = shared[other][one] = count
    return shared


def is_part(one: str, other: str) -> bool:
    """Tell whether an organ is drawn as part of another, as a tumour of the liver is, or that of it."""
    return other in _within(one) or one in _within(other)


def _within(organ: str) -> tuple[str, ...]:
    entry = catalogued(organ)
    return () if entry is None else entry.within


def broken_relations(relations: Mapping[str, Relations]) -> dict[str, tuple[Reason, ...]]:
    """Return by organ the codes of the rules it breaks, most important first; often empty."""
    broken = {}
    for organ, found in relations.items():
        _, farthest = NEIGHBOURS.get(organ, ((), 0.0))
        rules = {
            Reason.OUTSIDE_BODY: found.outside_share > OUTSIDE_SHARE,
            Reason.OVERLAPPING: found.overlap_share > OVERLAP_SHARE,
            Reason.NOT_ADJACENT: found.gap_mm is not None and found.gap_mm > farthest,
        }
        broken[organ] = tuple(reason for reason, holds in rules.items() if holds)
    return broken
