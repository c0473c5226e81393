"""Rules every segmented study must pass, each with a code: volume, pieces, side, field of view, presence.

Rules look at a few numbers measured once per organ, never at voxels, and know nothing of how the
organ was segmented. Source of the idea: Krishnaswamy et al. 2024, arXiv 2406.14486.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.body import region_sizes
from models.geometry import Geometry
from models.judgement.reasons import Reason
from models.masks import Box
from models.organs import catalogued

EDGE_MM = 2.0
"""An organ this close to a face of the scanned volume, or in its outermost voxels, is cut by it."""

FRAGMENT_SHARE = 0.05
"""Share of an organ's volume that may lie in surplus pieces; a few stray voxels alarm nobody."""

MIDLINE_MM = 10.0
"""How far beyond the midline the centre of a one-sided organ may lie."""

SIDE = {"right_kidney": -1, "left_kidney": 1, "liver": -1, "gallbladder": -1, "spleen": 1}
"""Where the organ's centre lies: +1 to the patient's left (+x in LPS), -1 to the right."""

SURROUNDINGS: Mapping[str, tuple[str, ...]] = {
    "spleen": ("stomach", "left_kidney"),
    "right_kidney": ("liver", "left_kidney"),
    "left_kidney": ("spleen", "right_kidney"),
    "pancreas": ("stomach", "left_kidney"),
    "liver": ("right_kidney", "stomach"),
    "stomach": ("spleen", "left_kidney"),
    "aorta": ("left_kidney",),
    "postcava": ("right_kidney",),
    "gallbladder": ("liver",),
}
"""Organs which, found whole, prove that the scan shows the place where the organ lies."""


@dataclass(frozen=True)
class Shape:
    """What the rules need to know of one found organ.

    Parameters
    ----------
    volume_ml
        Millilitres.
    centre_lps_mm
        Centroid in LPS millimetres.
    pieces_ml
        Volume of each connected component (26 neighbours), millilitres, largest first.
    cut
        Whether it reaches any of the six faces of the scanned volume.
    """

    volume_ml: float
    centre_lps_mm: tuple[float, float, float]
    pieces_ml: tuple[float, ...]
    cut: bool


@dataclass(frozen=True)
class Beyond:
    """How far an organ lies on the wrong side.

    Parameters
    ----------
    mm
        Millimetres of its centre beyond the middle of the body, or beyond the other kidney.
    organ
        That kidney, by key; empty for the middle.
    """

    mm: float
    organ: str = ""


def measure(mask: NDArray[np.bool_], box: Box, geometry: Geometry) -> Shape | None:
    """Measure one organ.

    Parameters
    ----------
    mask
        The organ inside the box, axes (k, j, i), bool.
    box
        Where the mask lies in the scanned volume.
    geometry
        The scanned volume.

    Returns
    -------
    Shape or None
        None when the mask is empty.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count == 0:
        return None
    pieces = np.sort(region_sizes(labels, count)[1:])[::-1] * geometry.voxel_ml
    lines = [np.count_nonzero(mask, axis=tuple(b for b in range(3) if b != axis)) for axis in range(3)]
    total = int(lines[0].sum())
    centre = [line @ np.arange(side.start, side.stop) / total for line, side in zip(lines, box, strict=True)]
    x, y, z = geometry.to_lps(centre).tolist()
    cut = False
    for line, side, length, spacing in zip(lines, box, geometry.shape, geometry.spacing_mm, strict=True):
        reached = np.flatnonzero(line) + side.start
        layers = max(1, math.ceil(EDGE_MM / spacing))
        cut |= bool(reached[0] < layers or reached[-1] >= length - layers)
    return Shape(total * geometry.voxel_ml, (x, y, z), tuple(pieces.tolist()), cut)


def broken_rules(shapes: Mapping[str, Shape | None], geometry: Geometry) -> dict[str, tuple[Reason, ...]]:
    """Apply every rule to every organ.

    Parameters
    ----------
    shapes
        By organ asked for; None where nothing was found.
    geometry
        The scanned volume.

    Returns
    -------
    dict
        By organ, the codes of the rules it breaks, most important first; often empty. Never for an
        organ that was not found: whether it is there is then contradicted or not checked.
    """
    found = {organ: shape for organ, shape in shapes.items() if shape is not None}
    middle = _midline_mm(found, geometry)
    broken: dict[str, tuple[Reason, ...]] = {}
    for organ, shape in shapes.items():
        if shape is None:
            expected = _surroundings_found(organ, found)
            rules = {Reason.NOT_FOUND: expected, Reason.PRESENCE_NOT_CHECKED: not expected}
        else:
            rules = {
                Reason.WRONG_SIDE: _beyond(organ, found, middle) is not None,
                Reason.FRAGMENTED: _fragmented(organ, shape),
                Reason.VOLUME_OUT_OF_RANGE: _implausible_volume(organ, shape),
            }
        broken[organ] = tuple(reason for reason, holds in rules.items() if holds)
    return broken


def _surroundings_found(organ: str, found: Mapping[str, Shape]) -> bool:
    near = SURROUNDINGS.get(organ, ())
    return bool(near) and all(other in found and not found[other].cut for other in near)


def beyond(organ: str, shapes: Mapping[str, Shape | None], geometry: Geometry) -> Beyond | None:
    """Return how far an organ lies on the wrong side; None where it does not, or was not found.

    Parameters
    ----------
    organ
        Which.
    shapes, geometry
        As `broken_rules`.
    """
    found = {key: shape for key, shape in shapes.items() if shape is not None}
    return _beyond(organ, found, _midline_mm(found, geometry)) if organ in found else None


def _beyond(organ: str, found: Mapping[str, Shape], middle: float) -> Beyond | None:
    """Return how far an organ lies beyond the midline, or a kidney beyond the other kidney."""
    if organ not in SIDE:
        return None
    if {"right_kidney", "left_kidney"} <= found.keys() and organ.endswith("_kidney"):
        apart = found["right_kidney"].centre_lps_mm[0] - found["left_kidney"].centre_lps_mm[0]
        other = "left_kidney" if organ == "right_kidney" else "right_kidney"
        return Beyond(apart, other) if apart >= 0 else None
    over = SIDE[organ] * (middle - found[organ].centre_lps_mm[0])
    return Beyond(over) if over > MIDLINE_MM else None


def _midline_mm(found: Mapping[str, Shape], geometry: Geometry) -> float:
    """Return x halfway between aorta and cava, else between the kidneys, else of the scanned volume."""
    for pair in (("aorta", "postcava"), ("right_kidney", "left_kidney")):
        if all(organ in found for organ in pair):
            return float(np.mean([found[organ].centre_lps_mm[0] for organ in pair]))
    return float(geometry.corners_lps()[:, 0].mean())


def _fragmented(organ: str, shape: Shape) -> bool:
    entry = catalogued(organ)
    if entry is None or entry.components is None:
        return False
    surplus = sum(shape.pieces_ml[entry.components :])
    return surplus > FRAGMENT_SHARE * shape.volume_ml


def _implausible_volume(organ: str, shape: Shape) -> bool:
    """Tell whether the volume is implausible; a cut organ may be as small as its visible part."""
    entry = catalogued(organ)
    if entry is None or entry.volume_range_ml is None:
        return False
    smallest, largest = entry.volume_range_ml
    return shape.volume_ml > largest or (shape.volume_ml < smallest and not shape.cut)
