"""A plane through a CT as a reader sees it: grey and to scale, with what is drawn on it as paths."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from PIL import Image

from models.geometry import Geometry
from models.resampling import AIR_HU, resample

MOST_PIXELS, FEWEST_PIXELS = 400, 200
"""Of the longer side of a picture. Between the two its pixels are as large as those of the CT."""

MARGIN_MM = 30.0
"""Of the CT, shown round what is drawn."""

Sides = tuple[slice, slice]
"""Rows and columns of a section."""


@dataclass(frozen=True)
class Window:
    """Which Hounsfield units are told apart: below they are black, above white.

    Parameters
    ----------
    width, level
        Hounsfield units; the level is the middle.
    """

    width: float
    level: float


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a mask draws on a section.

    Parameters
    ----------
    inside
        Axes (row, column) in the sides, bool.
    sides
        Where it lies in the section.
    """

    inside: NDArray[np.bool_]
    sides: Sides


@dataclass(frozen=True)
class Frame:
    """The part of a section that a picture shows.

    Parameters
    ----------
    left_mm, top_mm
        Its corner, from the centre of the section's first pixel.
    mm_per_pixel
        Side of a pixel of the picture, which is square.
    width, height
        Pixels.
    """

    left_mm: float
    top_mm: float
    mm_per_pixel: float
    width: int
    height: int


class Section:
    """One plane of a CT's grid, in millimetres: x to the right, y down.

    A plane whose rows do not stand upright on its columns, as a tilted gantry leaves them, is shown upright.

    Parameters
    ----------
    hu
        Hounsfield units, axes (row, column), the first at the top left of the picture.
    down_mm, right_mm
        Steps from row to row and from column to column, millimetres in the patient, shape (3,).
    """

    def __init__(self, hu: NDArray, down_mm: NDArray[np.float64], right_mm: NDArray[np.float64]) -> None:
        self._hu = hu
        width = float(np.linalg.norm(right_mm))
        aside = float(down_mm @ right_mm) / width
        height = math.sqrt(float(down_mm @ down_mm) - aside**2)
        self._finest_mm = min(width, height)
        affine = np.zeros((4, 4))
        affine[:3, 0] = (0, 0, 1)
        affine[:3, 1] = (aside, height, 0)
        affine[:3, 2] = (width, 0, 0)
        affine[3, 3] = 1
        self._grid = Geometry((1, *hu.shape), affine)

    def frame(self, shown: Iterable[Sides]) -> Frame:
        """Return the frame that shows all of these sides, and the margin as far as the CT goes."""
        rows, columns = self._hu.shape
        low, high = self._corners([(slice(0, rows), slice(0, columns))])
        first, last = self._corners(shown)
        left, top = np.maximum(first - MARGIN_MM, low).tolist()
        right, bottom = np.minimum(last + MARGIN_MM, high).tolist()
        longer = max(right - left, bottom - top)
        mm = min(max(self._finest_mm, longer / MOST_PIXELS), longer / FEWEST_PIXELS)
        width, height = (max(1, math.ceil(side / mm - 1e-6)) for side in (right - left, bottom - top))
        return Frame(left, top, mm, width, height)

    def png(self, frame: Frame, window: Window) -> bytes:
        """Return the frame as a PNG of one channel, 8 bit.

        Notes
        -----
        The window as PS3.3 C.11.2.1.3.2, LINEAR_EXACT.
        """
        mm = frame.mm_per_pixel
        affine = np.diag([0.0, 0.0, 0.0, 1.0])
        affine[2, 0], affine[1, 1], affine[0, 2] = 1, mm, mm
        affine[:2, 3] = frame.left_mm + mm / 2, frame.top_mm + mm / 2
        pixels = Geometry((1, frame.height, frame.width), affine)
        hu = resample(self._hu[None], self._grid, pixels, AIR_HU, lowest=AIR_HU)[0]
        grey = np.clip((hu - window.level) / window.width + 0.5, 0, 1) * 255
        file = io.BytesIO()
        Image.fromarray(np.rint(grey).astype(np.uint8)).save(file, "PNG")
        return file.getvalue()

    def path(self, drawings: Iterable[Drawing], frame: Frame) -> str:
        """Return the outlines of drawings as SVG path data, in pixels of the picture from its corner.

        An outline runs half-way between voxels inside and outside, so that it cuts the corners off.
        """
        return " ".join(self._closed(line, frame) for one in drawings for line in _outlines(one))

    def _closed(self, line: NDArray[np.float64], frame: Frame) -> str:
        index = np.column_stack([np.zeros(len(line)), line[:, 1], line[:, 0]])
        x, y = ((self._grid.to_lps(index)[:, :2] - (frame.left_mm, frame.top_mm)) / frame.mm_per_pixel).T
        first, *others = (f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
        return f"M {first} L {' '.join(others)} Z"

    def _corners(self, shown: Iterable[Sides]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the greatest (x, y) of sides, edges of voxels included, each shape (2,)."""
        ends = [
            (0, row, column)
            for rows, columns in shown
            for row in (rows.start - 0.5, rows.stop - 0.5)
            for column in (columns.start - 0.5, columns.stop - 0.5)
        ]
        found = self._grid.to_lps(ends)[:, :2]
        return found.min(axis=0), found.max(axis=0)


def _outlines(drawing: Drawing) -> list[NDArray[np.float64]]:
    """Return closed lines of (column, row), without the points that lie on a straight way."""
    rows, columns = drawing.sides
    padded = np.pad(drawing.inside.astype(np.float64), 1)  # by which every line is closed
    [found] = contour_generator(z=padded, line_type=LineType.Separate).multi_lines([0.5])
    corner = np.array([columns.start - 1, rows.start - 1])
    return [_turning(np.asarray(line)[:-1]) + corner for line in found]


def _turning(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points of a closed line at which it turns."""
    came, goes = line - np.roll(line, 1, axis=0), np.roll(line, -1, axis=0) - line
    return line[came[:, 0] * goes[:, 1] != came[:, 1] * goes[:, 0]]
