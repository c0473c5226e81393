"""What a release is asked about a CT, and on which grid its answer lies.

A release without a recipe is asked about the CT on its model grid. A network with a recipe is asked about the
CT itself, since the recipe says how that becomes what it sees.
"""

from __future__ import annotations

import numpy as np

from models.contract import ModelContract
from models.errors import Refused
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.masks import BoxedMask
from models.resampling import model_grid, on_grid, to_model_grid
from models.volume import Volume

LEANS_DEGREES = 0.1
"""From here on a reader is told; less is what decimals of a header leave."""

ASKEW_DEGREES = 45.0
"""From here on an axis is as near to another direction of the body, and which is meant is a guess."""


def told_of_axes(ct: Geometry, contract: ModelContract) -> str | None:
    """Return what a reader is told of a CT whose axes lean from the body's; None where there is nothing.

    A network with a recipe sees the CT along its own axes: nnU-Net turns by whole axes only. One without sees
    it on a model grid, upright.

    Raises
    ------
    Refused
        `askew-axes`, with the measured degrees, where nobody can tell which axis runs along which.
    """
    if contract.recipe is None:
        return None
    leans = ct.lean_degrees
    along = np.abs(ct.affine[:3, :3] / ct.spacing_mm).argmax(axis=0)
    told = " ".join(f"{degrees:.1f}" for degrees in leans)
    if max(leans) >= ASKEW_DEGREES or len(set(along.tolist())) < 3:
        detail = (
            f"the axes of the CT (slice, row, column) lean {told} degrees from those of the body: which runs "
            "along which is a guess, and the imported network is asked along them; resample the CT upright"
        )
        raise Refused("askew-axes", detail, {"lean_degrees": [round(degrees, 3) for degrees in leans]})
    if max(leans) < LEANS_DEGREES:
        return None
    return (
        f"The axes of the CT (slice, row, column) lean {told} degrees from those of the body. The imported "
        "network was asked along them as they lie, as nnU-Net's own predictor does."
    )


def asked_volume(ct: Volume, contract: ModelContract) -> Volume:
    """Return what a release with this contract is asked about, and what is kept of a case for it."""
    if contract.recipe is not None:
        return ct
    return to_model_grid(ct, contract.spacing_mm, contract.antialias)


def asked_grid(ct: Geometry, contract: ModelContract) -> Geometry:
    """Return the grid of what a release with this contract is asked about."""
    return ct if contract.recipe is not None else model_grid(ct, contract.spacing_mm)


def is_asked_grid(grid: Geometry, ct: Geometry, contract: ModelContract) -> bool:
    """Tell whether a volume that was kept of a CT is what a release with this contract is asked about.

    Parameters
    ----------
    grid
        Of the volume.
    ct
        As it was kept, in single precision: whether a grid that just covers it has one voxel more is chance.
    contract
        Of the release.
    """
    expected = asked_grid(ct, contract)
    if contract.recipe is None and np.abs(np.subtract(expected.shape, grid.shape)).max() <= 1:
        expected = Geometry(grid.shape, expected.affine)
    return expected.same_grid(grid)


def told_grid(asked: Volume, contract: ModelContract) -> Geometry | None:
    """Return the grid that a segmenter is told beside the voxels; None where the contract says it."""
    return None if contract.recipe is None else asked.geometry


def answered_volume(asked: Volume, answer: Segmentation) -> Volume:
    """Return the CT on the grid of an answer's probabilities.

    Parameters
    ----------
    asked
        What was asked about.
    answer
        What was answered.
    """
    return asked if answer.drawn is None else on_grid(asked, answer.drawn.geometry)


def asked_mask(answer: Segmentation, channel: int, threshold: float) -> BoxedMask:
    """Return an organ's mask on the grid of what was asked about.

    Parameters
    ----------
    answer
        What was answered.
    channel, threshold
        Of the organ; where masks are drawn, they decide.
    """
    if answer.drawn is not None:
        return answer.drawn.on_ct[channel]
    return BoxedMask.of(answer.probability[channel] >= threshold)
