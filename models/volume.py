"""Hounsfield units together with where they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Volume:
    """CT voxels with their geometry.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i), int16 (or float32 where slopes are fractional).
    geometry
        Where the voxels are; its shape equals the array's.

    Raises
    ------
    ValueError
        If array and geometry differ in shape.
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.hu.shape != self.geometry.shape:
            raise ValueError(f"voxels {self.hu.shape} do not fit geometry {self.geometry.shape}")
