"""A volume through the networks of one release, whoever runs them: the release says what is done round it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.inference.served_windows import serve_windows
from models.inference.windows import Prediction
from models.nnunet.answer import answer


class Networks(Protocol):
    """The networks of one release, for one window."""

    contract: ModelContract
    release_digest: str
    tuned: frozenset[str]

    def predict(self, window: NDArray[np.float32]) -> Prediction:
        """Answer one window, `models.inference.windows.Predict`."""
        ...

    def maps(self) -> tuple[NDArray[np.float32], Sequence[NDArray[np.float32]]]:
        """Return what the trunk gave for it, `models.inference.windows.Maps`."""
        ...


def segment(
    networks: Networks,
    hu: NDArray[np.int16] | NDArray[np.float32],
    sampled: bool = False,
    ct: Geometry | None = None,
    before_window: Callable[[], None] | None = None,
) -> Segmentation:
    """Segment a volume.

    Parameters
    ----------
    networks
        Of the release.
    hu, sampled, ct
        As `services.inference.port.Segmenter`.
    before_window
        Called before each window; what it raises ends the work.

    Raises
    ------
    InvalidRelease
        If the networks answer what the contract does not say, or the question is none for this release.
    """
    contract = networks.contract

    def predict(window: NDArray[np.float32]) -> Prediction:
        if before_window is not None:
            before_window()
        return networks.predict(window)

    maps = networks.maps if sampled else None
    if contract.recipe is not None:
        return answer(hu, ct, contract, predict, networks.release_digest, networks.tuned, maps)
    if ct is not None or hu.dtype != np.int16:
        raise InvalidRelease("a release without a recipe is asked about int16 volumes on its model grid")
    return serve_windows(hu.astype(np.int16, copy=False), contract, predict, networks.release_digest, maps)
