"""A SEG on a grid of its own, taken over to the CT grid where nothing can be lost on the way.

Its grid must be stated in full, in the CT's frame of reference; run along the CT's rows, columns and
slices, in any order and direction in plane; cover every slice; and have no voxel larger than the CT's.
Then each CT voxel takes the value at its centre, and what a viewer copied to its finer grid and nobody
touched comes back voxel for voxel. Anything else would make edits of rounding, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.errors import Refused
from services.dicom.seg.frames import (
    COSINE_TOLERANCE,
    POSITION_TOLERANCE_MM,
    SPACING_TOLERANCE,
    CTSlices,
    Frame,
    Place,
    SegCode,
    signed_cosine,
)


def states_its_grid(seg: Dataset, frames: Sequence[Frame]) -> bool:
    """Tell whether a SEG says of every frame where each of its voxels lies."""
    wanted = (
        ("PixelMeasuresSequence", "PixelSpacing"),
        ("PixelMeasuresSequence", "SpacingBetweenSlices"),
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PlanePositionSequence", "ImagePositionPatient"),
    )
    return bool(seg.get("FrameOfReferenceUID")) and all(
        frame.value(*attribute) is not None for frame in frames for attribute in wanted
    )


class OwnGrid:
    """The grid of a SEG that states it in full.

    Parameters
    ----------
    seg, frames
        The SEG and the functional groups of its frames, at least one.
    slices
        The CT's.

    Raises
    ------
    Refused
        `grid-mismatch`, with what was measured, if it cannot be taken over without loss.

    Notes
    -----
    Source: PS3.3 C.7.6.2.1.1 (plane attributes), C.7.6.16.2 (functional groups).
    """

    def __init__(self, seg: Dataset, frames: Sequence[Frame], slices: CTSlices) -> None:
        self._slices = slices
        spacing = _shared(frames, "PixelMeasuresSequence", "PixelSpacing", 2)
        (step,) = _shared(frames, "PixelMeasuresSequence", "SpacingBetweenSlices", 1)
        cosines = _shared(frames, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
        self._first = _numbers(frames[0], "PlanePositionSequence", "ImagePositionPatient", 3)
        if not (min(*spacing, step) > 0):
            raise _no_grid("its voxels have no size")
        normal = np.cross(slices.along_row, slices.along_column)
        self._normal = normal / np.linalg.norm(normal)
        heights = slices.origin @ self._normal
        ct_step = float(np.abs(np.diff(np.sort(heights))).min()) if len(heights) > 1 else float(step)
        along_row, along_column = cosines[:3], cosines[3:]
        self._transposed = bool(abs(along_row @ slices.along_row) < abs(along_row @ slices.along_column))
        if self._transposed:
            along_row, along_column, spacing = along_column, along_row, spacing[::-1]
        # From here on as if not transposed: the direction and size along the CT's columns (rows grow), rows.
        parallel = min(
            abs(signed_cosine(along_row, slices.along_row)),
            abs(signed_cosine(along_column, slices.along_column)),
        )
        if not parallel >= 1 - COSINE_TOLERANCE:
            raise _no_grid("its axes are not those of the CT", cosine=round(float(parallel), 6))
        largest = max(float((spacing / slices.spacing).max()), float(step) / ct_step)
        if not largest <= 1 + SPACING_TOLERANCE:
            raise _no_grid("its voxels are larger than the CT's", relative_size=round(largest, 4))
        self._step, self._ct_step = float(step), ct_step
        self._along = (along_column / spacing[0], along_row / spacing[1])
        rows, columns = int(seg.Rows), int(seg.Columns)
        self._shape = (columns, rows) if self._transposed else (rows, columns)
        offsets = (heights - self._first @ self._normal) / self._step
        self._slice_at = {int(np.rint(offset)): k for k, offset in enumerate(offsets)}
        if len(self._slice_at) < len(offsets):
            raise _no_grid("two CT slices lie on one of its own")

    def place(self, frame: Frame) -> Place:
        """Return where a frame lies; it fills the one CT slice whose centre is in it, or none.

        Raises
        ------
        Refused
            If it cites an unknown image or one it does not lie on, leaves the grid of the others, or
            leaves a part of the CT slice uncovered.
        """
        cited = self._slices.cited_by(frame)
        off = _numbers(frame, "PlanePositionSequence", "ImagePositionPatient", 3) - self._first
        height = float(off @ self._normal)
        slot = int(np.rint(height / self._step))
        astray = np.linalg.norm(off - slot * self._step * self._normal)
        if not astray <= POSITION_TOLERANCE_MM:
            raise _no_grid("its frames are not one regular stack", off_mm=round(float(astray), 3))
        if cited:
            heights = (self._slices.origin[cited] - self._first) @ self._normal
            off_mm = float(np.abs(heights - height).min())
            if not off_mm < self._ct_step - POSITION_TOLERANCE_MM:  # it may be between two
                raise Refused(
                    SegCode.POSITION_MISMATCH,
                    "a frame does not lie on the CT image it cites",
                    {"off_mm": round(off_mm, 3)},
                )
        k = self._slice_at.get(slot)
        if k is None:
            return Place(None, slice(None), slice(None))
        rows = self._index(k, 0, self._slices.along_column * self._slices.spacing[0], self._slices.rows)
        columns = self._index(k, 1, self._slices.along_row * self._slices.spacing[1], self._slices.columns)
        return Place(k, rows, columns, self._transposed)

    def _index(self, k: int, axis: int, step: NDArray[np.float64], count: int) -> NDArray[np.intp]:
        """Return, for each CT row (or column), the index of the frame's row (or column) it lies on."""
        centres = self._slices.origin[k] + np.arange(count)[:, None] * step
        index = np.rint((centres - self._first) @ self._along[axis]).astype(np.intp)
        beyond = int(np.count_nonzero((index < 0) | (index >= self._shape[axis])))
        if beyond:
            raise _no_grid("it does not cover the CT slice", uncovered=beyond)
        if len(np.unique(index)) < count:
            raise _no_grid("two CT voxels lie in one of its own")
        return index


def _shared(frames: Sequence[Frame], group: str, attribute: str, count: int) -> NDArray[np.float64]:
    """Return an attribute that all frames must have alike."""
    values = np.array([_numbers(frame, group, attribute, count) for frame in frames])
    if not np.abs(values - values[0]).max() <= 1e-6:
        raise _no_grid(f"its frames differ in {attribute}")
    return np.asarray(values[0])


def _numbers(frame: Frame, group: str, attribute: str, count: int) -> NDArray[np.float64]:
    values = np.atleast_1d(np.array(frame.value(group, attribute), dtype=np.float64))
    if values.shape != (count,) or not np.isfinite(values).all():
        raise _no_grid(f"{attribute} is not {count} numbers")
    return values


def _no_grid(why: str, **measured: float) -> Refused:
    return Refused(SegCode.GRID_MISMATCH, f"the SEG has a grid of its own, and {why}", measured)
