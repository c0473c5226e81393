"""Solid shapes as signed distances: negative inside, millimetres to the surface near it.

Shapes take float32 coordinate arrays that broadcast together and use only ``+ - * /``, square roots,
minima and maxima, which IEEE 754 rounds in one way only: a case has the same voxels on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.float32]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]


class Shape(Protocol):
    """A solid in canonical millimetres (x to the left, y to posterior, z to the head)."""

    @property
    def box(self) -> Box:
        """Lowest and highest (x, y, z) the solid can reach, mm."""
        ...

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Return the signed distance, mm, negative inside, shape of the broadcast coordinates."""
        ...


def rotation(about_x: float = 0.0, about_y: float = 0.0, about_z: float = 0.0) -> NDArray[np.float64]:
    """Return the (3, 3) rotation by angles in degrees, applied about x, then y, then z."""
    result = np.eye(3)
    for axis, degrees in enumerate((about_x, about_y, about_z)):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turn = np.eye(3)
        p, q = (axis + 1) % 3, (axis + 2) % 3
        turn[p, p], turn[p, q], turn[q, p], turn[q, q] = c, -s, s, c
        result = turn @ result
    return result


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid: centre and radii (x, y, z) in mm, and the (3, 3) rotation of its axes."""

    centre: Sequence[float]
    radii: Sequence[float]
    turned: NDArray[np.float64] | None = None

    @property
    def box(self) -> Box:
        """Exact bounds: the half-extent along an axis is the norm of that row of R diag(r)."""
        turned = np.eye(3) if self.turned is None else self.turned
        half = np.sqrt(((turned * np.asarray(self.radii)) ** 2).sum(axis=1))
        return tuple(np.subtract(self.centre, half)), tuple(np.add(self.centre, half))

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """First-order distance f/|grad f| of the implicit ellipsoid (Taubin 1991)."""
        offset = [a - np.float32(c) for a, c in zip((x, y, z), self.centre, strict=True)]
        if self.turned is not None:
            m = self.turned.astype(np.float32)
            offset = [m[0, n] * offset[0] + m[1, n] * offset[1] + m[2, n] * offset[2] for n in range(3)]
        scaled = [a * np.float32(1.0 / r) for a, r in zip(offset, self.radii, strict=True)]
        k0 = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
        steep = [a * np.float32(1.0 / r) for a, r in zip(scaled, self.radii, strict=True)]
        k1 = np.sqrt(steep[0] ** 2 + steep[1] ** 2 + steep[2] ** 2)
        return k0 * (k0 - np.float32(1)) / np.maximum(k1, np.float32(1e-6))


@dataclass(frozen=True, eq=False)
class Tube:
    """A chain of balls swept along a polyline: points (n, 3) and radii (n,), mm."""

    points: NDArray[np.float64]
    radii: NDArray[np.float64]

    @property
    def box(self) -> Box:
        """Bounds of the balls at the points, which hold every ball between them."""
        reach = self.radii[:, None]
        return tuple((self.points - reach).min(axis=0)), tuple((self.points + reach).max(axis=0))

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Least over the segments of distance to the segment minus the radius there."""
        nearest: Field | None = None
        for n in range(len(self.points) - 1):
            start = self.points[n].astype(np.float32)
            along = (self.points[n + 1] - self.points[n]).astype(np.float32)
            inverse = np.float32(1.0 / max(float((along.astype(np.float64) ** 2).sum()), 1e-6))
            dx, dy, dz = x - start[0], y - start[1], z - start[2]
            t = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) * inverse, 0, 1)
            dx, dy, dz = dx - t * along[0], dy - t * along[1], dz - t * along[2]
            r0, slope = np.float32(self.radii[n]), np.float32(self.radii[n + 1] - self.radii[n])
            one = np.sqrt(dx * dx + dy * dy + dz * dz) - (r0 + slope * t)
            nearest = one if nearest is None else np.minimum(nearest, one)
        if nearest is None:
            raise ValueError("a tube needs at least two points")
        return nearest


@dataclass(frozen=True, eq=False)
class Column:
    """An upright vessel: at each of the rising heights z an ellipse with centre (x, y) and radii (a, b)."""

    heights: NDArray[np.float64]
    centres: NDArray[np.float64]
    radii: NDArray[np.float64]

    @property
    def box(self) -> Box:
        """Bounds of the ellipses between the lowest and the highest."""
        low, high = self.centres - self.radii, self.centres + self.radii
        return (
            (float(low[:, 0].min()), float(low[:, 1].min()), float(self.heights[0])),
            (float(high[:, 0].max()), float(high[:, 1].max()), float(self.heights[-1])),
        )

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """In-plane distance to the ellipse, cut off at both ends."""
        cx, cy, a, b = (
            np.interp(z, self.heights, row).astype(np.float32) for row in (*self.centres.T, *self.radii.T)
        )
        u, v = (x - cx) / a, (y - cy) / b
        k0 = np.sqrt(u * u + v * v)
        k1 = np.sqrt((u / a) ** 2 + (v / b) ** 2)
        side = k0 * (k0 - np.float32(1)) / np.maximum(k1, np.float32(1e-6))
        ends = np.maximum(np.float32(self.heights[0]) - z, z - np.float32(self.heights[-1]))
        return np.maximum(side, ends)


@dataclass(frozen=True, eq=False)
class Join:
    """The union of solids, rounded over `blend` mm where they meet."""

    parts: Sequence[Shape]
    blend: float

    @property
    def box(self) -> Box:
        """Bounds of all parts; the rounding adds at most a quarter of the blend."""
        low = np.min([part.box[0] for part in self.parts], axis=0) - self.blend / 4
        high = np.max([part.box[1] for part in self.parts], axis=0) + self.blend / 4
        return tuple(low), tuple(high)

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Polynomial smooth minimum of the parts' distances."""
        total = self.parts[0].distance(x, y, z)
        for part in self.parts[1:]:
            other = part.distance(x, y, z)
            near = np.maximum(np.float32(self.blend) - np.abs(total - other), 0)
            total = np.minimum(total, other) - near * near * np.float32(0.25 / self.blend)
        return total


@dataclass(frozen=True, eq=False)
class Carved:
    """A solid without what lies within `gap` mm of the tools."""

    solid: Shape
    tools: Sequence[Shape]
    gap: float

    @property
    def box(self) -> Box:
        """Bounds of the solid."""
        return self.solid.box

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Largest of the solid's distance and the negated, inflated tools'."""
        total = self.solid.distance(x, y, z)
        for tool in self.tools:
            total = np.maximum(total, np.float32(self.gap) - tool.distance(x, y, z))
        return total


@dataclass(frozen=True, eq=False)
class HalfSpace:
    """All points p with (p - point) . normal < 0; the normal is made a unit vector."""

    point: Sequence[float]
    normal: Sequence[float]

    @property
    def box(self) -> Box:
        """Unbounded."""
        return (-math.inf,) * 3, (math.inf,) * 3

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to the plane."""
        n = (np.asarray(self.normal) / math.sqrt(sum(c * c for c in self.normal))).astype(np.float32)
        p = np.asarray(self.point, dtype=np.float32)
        return (x - p[0]) * n[0] + (y - p[1]) * n[1] + (z - p[2]) * n[2]


@dataclass(frozen=True, eq=False)
class Common:
    """The intersection of solids."""

    parts: Sequence[Shape]

    @property
    def box(self) -> Box:
        """Intersection of the bounds."""
        low = np.max([part.box[0] for part in self.parts], axis=0)
        high = np.min([part.box[1] for part in self.parts], axis=0)
        return tuple(low), tuple(high)

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Largest of the parts' distances."""
        total = self.parts[0].distance(x, y, z)
        for part in self.parts[1:]:
            total = np.maximum(total, part.distance(x, y, z))
        return total


def smooth_path(points: ArrayLike, steps: int) -> NDArray[np.float64]:
    """Return a Catmull-Rom curve through the rows of (n, c), `steps` samples per interval, ends included."""
    p = np.asarray(points, dtype=np.float64)
    ends = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = (np.arange(steps) / steps)[:, None]
    pieces = []
    for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        pieces.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    return np.vstack([*pieces, p[-1:]])
