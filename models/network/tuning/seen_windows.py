"""Where the windows of a study lie that a head is tuned on, and what the network is given of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.inference.windows import Origin, cut, network_input, study_origins
from models.nnunet.windows import placed

Seen = NDArray[np.int16] | NDArray[np.float32]
"""A study as windows are cut from it, axes (k, j, i): Hounsfield units, int16, on the model grid; or, of a
network with a recipe, `models.nnunet.whole.NetworkView.volume`."""


def hounsfield(seen: Seen) -> NDArray[np.int16]:
    """Return what is seen as Hounsfield units; raises ValueError where it was normalised."""
    if seen.dtype != np.int16:
        raise ValueError(f"Hounsfield units are int16, and this study is {seen.dtype}: it was normalised")
    return seen.astype(np.int16, copy=False)


def window_origins(seen: Seen, contract: ModelContract) -> tuple[Origin, ...]:
    """Return the first voxel of every window that serving evaluates, negative where it reaches out."""
    if contract.recipe is None:
        return study_origins(hounsfield(seen), contract)
    return placed(seen.shape, contract.window_shape, contract.recipe.step)


def window_at(seen: Seen, origin: Origin, contract: ModelContract) -> NDArray[np.float32]:
    """Return one window as the network is given it, axes (k, j, i)."""
    shape = contract.window_shape
    if contract.recipe is None:
        return network_input(cut(hounsfield(seen), origin, shape), contract)
    window = np.zeros(shape, dtype=np.float32)
    part = seen[tuple(slice(max(o, 0), o + side) for o, side in zip(origin, shape, strict=True))]
    first = [max(-o, 0) for o in origin]
    window[tuple(slice(a, a + n) for a, n in zip(first, part.shape, strict=True))] = part
    return window
