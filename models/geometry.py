"""Where voxels are: an affine from array indices to millimetres in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAME_POSITION_MM = 0.01
"""Two grids are the same when no corner voxel is farther apart than this (10 micrometres)."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in the patient.

    Parameters
    ----------
    shape
        Number of voxels along (k, j, i) = (slice, row, column).
    affine
        (4, 4) float64; maps homogeneous (k, j, i, 1), counted at voxel centres, to LPS millimetres
        (x to the patient's left, y to posterior, z to the head). Columns need not be orthogonal:
        a tilted gantry is a sheared affine.

    Raises
    ------
    ValueError
        If the shape is not three positive integers or the affine is not finite and invertible.

    Notes
    -----
    Source: DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, with the slice axis added.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be three positive integers, not {self.shape}")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("affine must be a finite 4x4 matrix")
        if not np.array_equal(affine[3], (0, 0, 0, 1)) or abs(np.linalg.det(affine)) < 1e-9:
            raise ValueError("affine must be invertible with last row 0 0 0 1")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance in mm between neighbours along (k, j, i); along k it is the step vector's length."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    @property
    def slice_step_mm(self) -> float:
        """Distance in mm between slices, perpendicular to them whatever the shear."""
        normal = np.cross(self.affine[:3, 2], self.affine[:3, 1])
        return float(abs(self.affine[:3, 0] @ normal) / np.linalg.norm(normal))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres, shear included."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    @property
    def lean_degrees(self) -> tuple[float, float, float]:
        """Angle between each axis (k, j, i) and the direction of the body that it runs along, best case.

        Along head, back or side, and either way: 0 to 54.7. Under 45 each axis runs along one of its own,
        if the axes are orthogonal.
        """
        cosines = np.abs(self.affine[:3, :3]).max(axis=0) / np.linalg.norm(self.affine[:3, :3], axis=0)
        k, j, i = np.degrees(np.arccos(np.clip(cosines, 0, 1))).tolist()
        return (k, j, i)

    def to_lps(self, index: ArrayLike) -> NDArray[np.float64]:
        """Return LPS mm, shape (..., 3), of (k, j, i) indices, shape (..., 3), fractions allowed."""
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Return fractional (k, j, i), shape (..., 3), of LPS mm, shape (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(lps_mm, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]

    def corners_lps(self) -> NDArray[np.float64]:
        """Return the LPS mm of the eight corner voxels' centres, shape (8, 3)."""
        ends = [(0, n - 1) for n in self.shape]
        return self.to_lps(np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T)

    def same_grid(self, other: Geometry, tolerance_mm: float = SAME_POSITION_MM) -> bool:
        """Tell whether every voxel of both grids lies at the same place within the tolerance."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners_lps() - other.corners_lps()).max() <= tolerance_mm)


LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From LPS to RAS millimetres and back: x and y change sign."""


def ras_affine(geometry: Geometry) -> NDArray[np.float64]:
    """Return the (4, 4) affine from (k, j, i) to RAS millimetres, as NIfTI wants it.

    The one conversion between the two worlds: x and y change sign, the array is untouched.
    """
    return LPS_TO_RAS @ geometry.affine


def geometry_from_ras(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> Geometry:
    """Return the geometry of an array (k, j, i) whose (4, 4) affine leads to RAS millimetres.

    The inverse of `ras_affine`.
    """
    return Geometry(shape, LPS_TO_RAS @ affine)
