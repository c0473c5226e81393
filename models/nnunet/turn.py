"""A CT's axes, as the network's arrays have them: permuted and reversed, never resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.geometry import Geometry
from models.recipe import DIRECTIONS


@dataclass(frozen=True)
class Turn:
    """From the axes (k, j, i) of a CT to those of a network's arrays, and back; views, nothing is copied.

    Parameters
    ----------
    order
        The CT's axis that runs along each axis of the network.
    reversed
        Whether it runs the other way, by axis of the network.
    """

    order: tuple[int, int, int]
    reversed: tuple[bool, bool, bool]

    @classmethod
    def between(cls, ct: Geometry, axes: str) -> Turn:
        """Return the turn of a CT; each of its axes is taken for the direction of the body next to it.

        Parameters
        ----------
        ct
            Any orientation. What it is oblique or sheared by is not turned away: nnU-Net does not either.
        axes
            As `models.recipe.NnunetRecipe`.
        """
        columns = ct.affine[:3, :3] / np.linalg.norm(ct.affine[:3, :3], axis=0)  # LPS of each axis of the CT
        wanted = np.array([DIRECTIONS[letter] for letter in axes])
        along = columns[wanted[:, 0]] * wanted[:, 1:]  # (axis of the network, axis of the CT)
        _, order = linear_sum_assignment(-np.abs(along))
        first, second, third = (int(axis) for axis in order)
        back = [bool(along[n, axis] < 0) for n, axis in enumerate(order)]
        return cls((first, second, third), (back[0], back[1], back[2]))

    def apply(self, array: NDArray) -> NDArray:
        """Return the view of an array on the CT's grid that has the network's axes."""
        return array.transpose(self.order)[self._flips()]

    def undo(self, array: NDArray) -> NDArray:
        """Return the view of an array with the network's axes that has the CT's."""
        a, b, c = (self.order.index(axis) for axis in range(3))
        return array[self._flips()].transpose(a, b, c)

    def geometry(self, ct: Geometry) -> Geometry:
        """Return the grid of `apply`'s view."""
        affine = np.array(ct.affine)
        affine[:, :3] = ct.affine[:, self.order]
        first = [n - 1 if back else 0 for n, back in zip(self._shape(ct), self.reversed, strict=True)]
        affine[:3, 3] += affine[:3, :3] @ first
        affine[:3, :3] *= np.where(self.reversed, -1.0, 1.0)
        return Geometry(self._shape(ct), affine)

    def _shape(self, ct: Geometry) -> tuple[int, int, int]:
        k, j, i = (ct.shape[axis] for axis in self.order)
        return (k, j, i)

    def _flips(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if back else None) for back in self.reversed)
