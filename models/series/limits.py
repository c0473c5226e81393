"""What a series may measure: limits that the verdict and all that is done after it share.

Whoever resamples, writes or proves a series that passed relies on these and on no others: what is fit by
its verdict is not refused for its geometry or size later.
"""

from __future__ import annotations

FEWEST_SLICES = 3
"""Two positions always look regular; three are the fewest whose spacing can be checked."""

MOST_SLICES = 4096
"""The most slices of a series: two metres in steps of half a millimetre."""

MATRIX_LIMIT = 4096
"""The most rows, or columns, of a slice read; scanners go to 2048."""

VOLUME_LIMIT_BYTES = 2 * 1024**3
"""The largest volume read, as int16: 4096 slices of 512 x 512."""

THINNEST_MM = 0.05
"""The least distance between slices, rows or columns. No scanner for patients has less than 0.075 mm; and a
slice that may lie `GRID_TOLERANCE_MM` off is told from the next only where their distance is twice that."""

LONGEST_MM = 3000.0
"""The most that the scanned field may measure along an axis of the patient: with the table, lying askew."""

FARTHEST_MM = 1_000_000.0
"""The farthest that a position may lie from the origin: beyond, decimal strings of 16 characters begin to
lose it, and nobody's frame of reference begins a kilometre away."""

GRID_TOLERANCE_MM = 0.02
GRID_TOLERANCE_STEPS = 0.01
"""A position may leave the regular grid by the larger of the two (the second in steps)."""

UNIT_TOLERANCE = 1e-3
"""Direction cosines may miss unit length and a right angle by this (they are written as short decimals)."""

SAME_ORIENTATION = 1e-4
"""Direction cosines of one series differ by less: 0.04 mm over a field of 400 mm."""

SAME_PIXEL_SPACING_MM = 1e-5
"""Pixel spacings of one series differ by less: 0.005 mm over 512 pixels."""


def off_grid_mm(step_mm: float) -> float:
    """Return how far a position may leave the regular grid, by the distance between slices."""
    return max(GRID_TOLERANCE_MM, GRID_TOLERANCE_STEPS * step_mm)


def off_corner_mm(voxels: int, spacing_mm: float) -> float:
    """Return how far the last of so many voxels may lie, besides, from where the first slice has it.

    Parameters
    ----------
    voxels
        Along a row or a column.
    spacing_mm
        Between two of them.
    """
    return (SAME_ORIENTATION * spacing_mm + SAME_PIXEL_SPACING_MM) * (voxels - 1)
