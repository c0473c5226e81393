"""What the segmenter answers for one volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRelease
from models.geometry import Geometry
from models.inference.sampled_features import SampledFeatures
from models.masks import BoxedMask
from models.release import Release


@dataclass(frozen=True, eq=False)
class Drawn:
    """Masks that were decided where the network answered, not by thresholds.

    Parameters
    ----------
    geometry
        The grid of the probabilities.
    on_ct
        By channel, on the CT's grid.
    on_grid
        By channel, on the grid of the probabilities.
    """

    geometry: Geometry
    on_ct: Mapping[int, BoxedMask]
    on_grid: Mapping[int, BoxedMask]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The served result on the model grid, rounded where nothing depends on it (`models.inference.compact`).

    Parameters
    ----------
    probability
        Axes (organ, k, j, i), float16 in 0..1, organs in the contract's order. Zero outside the
        body crop, where no window was evaluated.
    disagreement
        Axes (organ, k, j, i), float16 in 0..0.5: standard deviation of the probability over the
        windows that overlap at the voxel, weighted as in the blend; 0 where one window saw it.
    global_feature
        Axes (window, feature), float32: the trunk's global feature of each evaluated window.
    window_origin
        Axes (window, 3), int32: first (k, j, i) voxel of each window, negative where it was padded.
    release_digest
        Digest of the release that answered, as whoever served it has loaded it; None for weights that
        are in no release yet.
    member_disagreement
        By channel of each organ whose head has members: axes (k, j, i), float16 in 0..0.5, standard
        deviation of the probability over the members, blended as the probability is. Where a head has
        one member only, nothing is known of it.
    samples
        Features kept for tuning; None where they were not asked for.
    drawn
        The masks; None where they are all voxels at or above a threshold.
    """

    probability: NDArray[np.float16]
    disagreement: NDArray[np.float16]
    global_feature: NDArray[np.float32]
    window_origin: NDArray[np.int32]
    release_digest: str | None = None
    member_disagreement: Mapping[int, NDArray[np.float16]] = field(default_factory=dict)
    samples: SampledFeatures | None = None
    drawn: Drawn | None = None

    def inside(self, channel: int, threshold: float) -> NDArray[np.bool_]:
        """Return the voxels of an organ on the grid of its probabilities, axes (k, j, i).

        Parameters
        ----------
        channel
            Of the organ.
        threshold
            Of the organ; where masks are `drawn` they decide.
        """
        if self.drawn is not None:
            return self.drawn.on_grid[channel].dense()
        over: NDArray[np.bool_] = self.probability[channel] >= threshold
        return over

    def require(self, release: Release) -> None:
        """Require that this release answered; a number alone says nothing, for every home counts from 1.

        Raises
        ------
        InvalidRelease
            If another one did; both digests are named.
        """
        if self.release_digest != release.digest:
            raise InvalidRelease(
                f"release {release.number} was asked, digest {release.digest}; "
                f"the answer is that of {self.release_digest or 'no release'}"
            )
