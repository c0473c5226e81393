"""Painting structures over one another on a warped grid, with partial volume and exact truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.phantom.shapes import Field, Shape
from models.phantom.tissues import Material

CONTROL_MM = 52.0
"""Distance between control points of the patient's deformation, millimetres."""


@dataclass(frozen=True)
class Layer:
    """A tissue filling a structure from `inset` mm under its surface inwards.

    `above` and `below` (mm of canonical y) keep only what lies anterior of the one, posterior of the
    other: a patient on the back has gas in front and the densest content behind.
    """

    tissue: str
    inset: float = 0.0
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True)
class Structure:
    """One painted thing.

    Parameters
    ----------
    shape
        The solid.
    layers
        Tissues, outermost first.
    organ
        Key of the catalogue if the solid is (part of) an organ of the truth.
    inside
        True for what belongs to whatever it lies in (a vessel or cyst in the liver): truth is kept.
    confined
        True if the solid ends at the abdominal cavity: its wall, and the diaphragm above.
    """

    shape: Shape
    layers: tuple[Layer, ...]
    organ: str | None = None
    inside: bool = False
    confined: bool = False


@dataclass(frozen=True, eq=False)
class Pose:
    """How the patient lies: canonical mm from scanner mm.

    canonical = turn(scanner - shift) / scale + warp, where `turn` is a roll about z in degrees, and
    the warp is a cubic B-spline with `control` displacements, shape (3, nz, ny, nx) in mm, at
    `CONTROL_MM` steps from `origin` (x, y, z; scanner mm).
    """

    scale: tuple[float, float, float]
    roll: tuple[float, float]
    shift: tuple[float, float, float]
    origin: tuple[float, float, float]
    control: NDArray[np.float32]

    def canonical(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
    ) -> tuple[Field, Field, Field]:
        """Return canonical coordinates, each of shape (z, y, x), of the scanner mm along each axis."""
        weights = [
            _spline(a, o, n)
            for a, o, n in zip((z, y, x), self.origin[::-1], self.control.shape[1:], strict=True)
        ]
        cos, sin = self.roll
        px = (x - self.shift[0])[None, None, :].astype(np.float32)
        py = (y - self.shift[1])[None, :, None].astype(np.float32)
        pz = (z - self.shift[2])[:, None, None].astype(np.float32)
        straight = (
            (px * np.float32(cos) + py * np.float32(sin)) * np.float32(1 / self.scale[0]),
            (py * np.float32(cos) - px * np.float32(sin)) * np.float32(1 / self.scale[1]),
            pz * np.float32(1 / self.scale[2]),
        )
        return tuple(s + _bend(c, weights) for s, c in zip(straight, self.control, strict=True))  # type: ignore[return-value]


def _spline(at_mm: NDArray[np.float64], origin_mm: float, count: int) -> Field:
    """Return the (len(at), count) weights of uniform cubic B-splines."""
    u = np.abs((at_mm - origin_mm)[:, None] / CONTROL_MM - np.arange(count))
    near = (4 - 6 * u * u + 3 * u * u * u) / 6
    far = np.maximum(2 - u, 0)
    return np.where(u < 1, near, far * far * far / 6).astype(np.float32)


def _bend(control: Field, weights: Sequence[Field]) -> Field:
    """Interpolate (nz, ny, nx) control values to (z, y, x) without BLAS, whose sums differ by machine."""
    value = control
    for axis, weight in enumerate(weights):
        moved = np.moveaxis(value, axis, 0)
        shape = [1] * value.ndim
        shape[axis] = weight.shape[0]
        total: Field | None = None
        for n, plane in enumerate(moved):
            column = weight[:, n]
            used = np.flatnonzero(column)
            if not used.size:
                continue
            if total is None:
                extended = list(value.shape)
                extended[axis] = weight.shape[0]
                total = np.zeros(extended, dtype=np.float32)
            part = slice(used[0], used[-1] + 1)
            shape[axis] = part.stop - part.start
            where = tuple(part if a == axis else slice(None) for a in range(value.ndim))
            total[where] += column[part].reshape(shape) * np.expand_dims(plane, axis)
        if total is None:
            raise ValueError("the grid lies outside the warp's control points")
        value = total
    return value


class Canvas:
    """HU and labels of one slab of fine slices, painted in order.

    Parameters
    ----------
    x, y, z
        Canonical mm, each float32 of shape (z, y, x).
    grain
        Unit texture of that shape, or broadcastable to it.
    materials
        HU of the tissues.
    edge_mm
        Width over which a surface fades in the plane: the pixel size.
    organs
        Keys in the order of their labels 1, 2, …
    """

    def __init__(
        self, x: Field, y: Field, z: Field, grain: Field,
        materials: Mapping[str, Material], edge_mm: float, organs: Sequence[str],
    ) -> None:  # fmt: skip
        self.x, self.y, self.z = x, y, z
        self.grain = np.broadcast_to(grain, x.shape)
        self.materials = materials
        self.sharpness = np.float32(1.0 / edge_mm)
        self.codes = {organ: n + 1 for n, organ in enumerate(organs)}
        self.hu = np.full(x.shape, materials["air"].hu, dtype=np.float32)
        self.labels = np.zeros(x.shape, dtype=np.uint8)
        self.cavity: Field | None = None
        # Reach of each coordinate along its own axis: enough to find a shape's block quickly.
        self._reach = [
            (c.min(axis=others), c.max(axis=others)) for c, others in ((z, (1, 2)), (y, (0, 2)), (x, (0, 1)))
        ]

    def fill(self, distance: Field, tissue: str, block: tuple[slice, ...] = (slice(None),) * 3) -> None:
        """Blend a tissue over the block where the signed distance (mm) is negative."""
        cover = np.clip(np.float32(0.5) - distance * self.sharpness, 0, 1)
        material = self.materials[tissue]
        value: Field | np.float32 = np.float32(material.hu)
        if material.grain:
            value = value + np.float32(material.grain) * self.grain[block]
        target = self.hu[block]
        target += (value - target) * cover

    def block(self, shape: Shape) -> tuple[slice, slice, slice] | None:
        """Return the smallest block that holds every voxel inside the shape's box, or None."""
        slices = []
        low, high = shape.box
        margin = 1.0 / float(self.sharpness)
        for (least, most), lo, hi in zip(self._reach, low[::-1], high[::-1], strict=True):
            hit = np.flatnonzero((most >= lo - margin) & (least <= hi + margin))
            if not hit.size:
                return None
            slices.append(slice(int(hit[0]), int(hit[-1]) + 1))
        return slices[0], slices[1], slices[2]

    def paint(self, structure: Structure) -> None:
        """Paint one structure over what is there."""
        block = self.block(structure.shape)
        if block is None:
            return
        y = self.y[block]
        distance = structure.shape.distance(self.x[block], y, self.z[block])
        if structure.confined and self.cavity is not None:
            distance = np.maximum(distance, self.cavity[block])
        if distance.min() > 1.0 / self.sharpness:
            return
        if not structure.inside:
            code = 0 if structure.organ is None else self.codes[structure.organ]
            self.labels[block][distance < 0] = code
        for layer in structure.layers:
            depth = distance + np.float32(layer.inset) if layer.inset else distance
            if layer.above is not None:
                depth = np.maximum(depth, y - np.float32(layer.above))
            if layer.below is not None:
                depth = np.maximum(depth, np.float32(layer.below) - y)
            self.fill(depth, layer.tissue, block)
