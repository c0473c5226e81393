"""How much of a reader's attention an organ or a case deserves: uncertainty, consistency, overlap.

A voxel counts if the predictions of its windows or of the head's members disagree, if it is uncertain, or
if another organ claims it too. Cases are ranked by the volume that counts.

Source: Qu et al. 2023, arXiv 2305.09666 (AbdomenAtlas-8K), with its thresholds. There several networks
disagree; here the members of a head on one trunk do, and overlapping windows: the greater counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import entr

INCONSISTENT = 0.1
"""Standard deviation of the probability above which a voxel is inconsistent."""

UNCERTAIN = 0.05
"""-p ln p above which a voxel is uncertain, nats; at most 1/e."""

OPENING_MM = 3.0
"""What is thinner than twice this is opened away (two voxels of 1.5 mm); nothing on a coarser grid."""


def importance_ml(
    probability: NDArray,
    disagreement: NDArray,
    overlap: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> float:
    """Return the volume of an organ's voxels that count, millilitres; the sum over organs ranks cases.

    Parameters
    ----------
    probability
        Axes (k, j, i), 0..1.
    disagreement
        Same axes: standard deviation over windows or members, 0..0.5.
    overlap
        Same axes: voxels that this organ and another both claim.
    spacing_mm
        Voxel size along (k, j, i), millimetres.
    """
    spread, doubt = disagreement.astype(np.float32), entr(probability.astype(np.float32))
    times = int(OPENING_MM // min(spacing_mm))
    counts = _opened(spread > INCONSISTENT, times) | _opened(doubt > UNCERTAIN, times) | overlap
    return float(np.count_nonzero(counts) * (float(np.prod(spacing_mm)) / 1000))


def _opened(mask: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    if times == 0 or not mask.any():
        return mask
    opened: NDArray[np.bool_] = ndimage.binary_opening(mask, np.ones((3, 3, 3)), iterations=times)
    return opened
