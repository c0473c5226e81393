"""One synthetic CT with exact truth."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.organs import ORGANS
from models.phantom.acquisition import Scan, describe, draw_scan
from models.phantom.anatomy import Anatomy, draw_anatomy
from models.phantom.habitus import HABITUS
from models.phantom.rendering import CONTROL_MM, Canvas, Pose
from models.phantom.shapes import Field
from models.phantom.tissues import Material, draw_materials
from models.volume import Volume

SITES = ("A", "B")
SPACING_MM = (0.5, 10.0)
"""Least and most between the voxels of a case."""
SLAB_FINE_SLICES = 16
"""Fine slices painted at once: small enough for the processor's cache, large enough for numpy."""


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """One synthetic CT of the upper abdomen with exact truth.

    Parameters
    ----------
    volume
        HU int16 (k, j, i), axis-aligned: k to the head, j to posterior, i to the patient's left.
    truth
        By organ key in catalogue order a bool mask on the same grid: the voxel's centre lies inside
        the organ. Masks are disjoint. An organ that is absent or outside the scan is all False.
        Vessels, cysts and lesions inside an organ belong to it; the renal sinus does not.
    site, seed
        What the case was made from.
    acquisition
        Phase, oral contrast, kernel, thickness_mm, noise_hu, kvp, for headers and reports.
    """

    volume: Volume
    truth: dict[str, NDArray[np.bool_]]
    site: str
    seed: int
    acquisition: dict[str, Any]


def make_case(site: str, seed: int, *, spacing_mm: tuple[float, float, float] | None = None) -> PhantomCase:
    """Make one case; the same site and seed give the same bytes.

    Parameters
    ----------
    site
        ``"A"`` or ``"B"``.
    seed
        At least 0. Sites share no random numbers.
    spacing_mm
        Voxel size (k, j, i) to render the same person on, in millimetres; by default the site's own.

    Raises
    ------
    ValueError
        If the site is unknown, the seed negative or a spacing outside 0.5 to 10 mm.
    """
    if site not in SITES:
        raise ValueError(f"no site {site!r}; there are {', '.join(SITES)}")
    if seed < 0:
        raise ValueError("a seed must be 0 or more")
    if spacing_mm is not None and not all(SPACING_MM[0] <= s <= SPACING_MM[1] for s in spacing_mm):
        raise ValueError("spacing must be between {} and {} mm".format(*SPACING_MM))

    def stream(part: str) -> np.random.Generator:
        return np.random.default_rng([seed, SITES.index(site), zlib.crc32(part.encode())])

    anatomy = draw_anatomy(site, stream)
    scan = draw_scan(site, _span(stream("field of view")), spacing_mm, stream("scan"))
    gain = float(np.clip(stream("gain").normal(1, 0.08), 0.8, 1.2))
    materials = draw_materials(site, gain, stream("materials"))
    pose = _pose(site, scan, stream("pose"))
    ideal, labels = _render(anatomy, scan, pose, materials, stream("grain"))
    hu = scan.reconstruct(ideal, stream("noise"))
    truth = {organ: labels == n + 1 for n, organ in enumerate(ORGANS)}
    return PhantomCase(Volume(hu, scan.geometry), truth, site, seed, describe(scan))


def _span(rng: np.random.Generator) -> tuple[float, float]:
    """Return the scanned z range, mm; one scan in ten each ends early above or below."""
    bottom, top = rng.uniform(-140, -118), rng.uniform(124, 150)
    low_cut, high_cut = rng.uniform(-50, -15), rng.uniform(55, 95)
    which = rng.uniform()
    if which < 0.1:
        bottom = low_cut
    elif which < 0.2:
        top = high_cut
    return float(bottom), float(top)


def _pose(site: str, scan: Scan, rng: np.random.Generator) -> Pose:
    frame = rng.uniform(*HABITUS[site].frame)
    scale = tuple(float(frame * rng.uniform(0.96, 1.04)) for _ in range(3))
    roll = math.radians(float(np.clip(rng.normal(0, 2.5), -6, 6)))
    shift = (float(rng.uniform(-10, 10)), float(rng.uniform(-6, 6)), float(rng.uniform(-6, 6)))
    # The control points stand still in the patient's room, whatever grid is rendered.
    origin, end = (-240.0, -200.0, -220.0), (240.0, 200.0, 230.0)
    counts = [int((b - a) / CONTROL_MM) + 3 for a, b in zip(origin, end, strict=True)]
    control = rng.standard_normal((3, *counts[::-1]), dtype=np.float32)
    control *= np.array([7.0, 6.0, 7.0], dtype=np.float32)[:, None, None, None]
    start = tuple(o - CONTROL_MM for o in origin)
    return Pose(scale, (math.cos(roll), math.sin(roll)), shift, start, control)  # type: ignore[arg-type]


def _render(
    anatomy: Anatomy, scan: Scan, pose: Pose, materials: Mapping[str, Material], rng: np.random.Generator
) -> tuple[Field, NDArray[np.uint8]]:
    """Paint slab by slab; return mean HU of each slice, and labels at its centre, shape (k, j, i)."""
    shape, fine = scan.geometry.shape, scan.fine_slices
    grain = rng.standard_normal(shape, dtype=np.float32)
    blur = [2.5 / s for s in scan.geometry.spacing_mm]
    grain = ndimage.gaussian_filter(grain, blur, mode="nearest", truncate=3.0)
    grain *= np.float32(1 / float(grain.std(dtype=np.float64)))
    hu = np.empty(shape, dtype=np.float32)
    labels = np.empty(shape, dtype=np.uint8)
    y, x = scan.axis_mm(1), scan.axis_mm(2)
    step = max(1, SLAB_FINE_SLICES // fine)
    for first in range(0, shape[0], step):
        last = min(first + step, shape[0])
        coordinates = pose.canonical(x, y, scan.fine_heights(first, last))
        slab_grain = np.repeat(grain[first:last], fine, axis=0)
        canvas = Canvas(*coordinates, slab_grain, materials, scan.geometry.spacing_mm[2], ORGANS)
        anatomy.wall.paint(canvas)
        for structure in anatomy.structures:
            canvas.paint(structure)
        stack = canvas.hu.reshape(last - first, fine, *shape[1:])
        # Summed in a fixed order: numpy's mean may pair terms differently on another machine.
        total = stack[:, 0].copy()
        for n in range(1, fine):
            total += stack[:, n]
        hu[first:last] = total * np.float32(1 / fine)
        labels[first:last] = canvas.labels[fine // 2 :: fine]
    return hu, labels
