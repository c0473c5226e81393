"""Whether voxels look like a CT's: air as it is measured, and soft tissue.

Asked of images that are not ORIGINAL, whose header alone does not show that their values are HU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import Refused
from models.series.verdict import Code

AIR_HU = (-1100, -900)
"""Air outside the body with the noise and the smoothing of any kernel."""

FILL_HU = -1024
"""What padding becomes, and the end of the plain CT scale: such voxels are no air that was measured."""

SOFT_TISSUE_HU = (-150, 200)
"""Fat, organs and blood, with contrast."""

FEWEST_AIR, FEWEST_SOFT_TISSUE = 0.01, 0.01
"""Shares of all voxels. Whole series at hand have 6.5 % or more of the one, 4 % or more of the other.

Of a crop of a few slices within a body there may be none: derived, it is refused.
"""


class CtLook:
    """Counts air and soft tissue in the slices of one series.

    Measured air has noise: the value that most of it has may be a background that was filled in, as in maps,
    and is not counted.
    """

    def __init__(self) -> None:
        self._air = np.zeros(AIR_HU[1] - AIR_HU[0], np.int64)
        self._soft_tissue = self._voxels = 0

    def add(self, hu: NDArray[Any]) -> None:
        """Count the voxels of a slice, axes (row, column), HU."""
        air = hu[(hu >= AIR_HU[0]) & (hu < AIR_HU[1]) & (hu != FILL_HU)]
        self._air += np.bincount(np.floor(air).astype(np.int64) - AIR_HU[0], minlength=len(self._air))
        self._soft_tissue += int(np.count_nonzero((hu >= SOFT_TISSUE_HU[0]) & (hu <= SOFT_TISSUE_HU[1])))
        self._voxels += hu.size

    def note(self) -> str:
        """Return what was found, for the reader.

        Raises
        ------
        Refused
            `derived-image` if there is too little of either.
        """
        air = float(self._air.sum() - self._air.max()) / max(self._voxels, 1)
        soft_tissue = self._soft_tissue / max(self._voxels, 1)
        what = f"{100 * air:.1f} % of the voxels are air with noise and {100 * soft_tissue:.1f} % soft tissue"
        if air < FEWEST_AIR or soft_tissue < FEWEST_SOFT_TISSUE:
            raise Refused(
                Code.DERIVED_IMAGE,
                f"The images are derived from others, and their values do not look like a CT's: {what} "
                f"({100 * FEWEST_AIR:g} and {100 * FEWEST_SOFT_TISSUE:g} % are the least).",
                {"air": round(air, 4), "soft_tissue": round(soft_tissue, 4)},
            )
        return f"The values of the derived images look like a CT's: {what}."
