"""What the flows ask of a segmenter, whoever serves it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ServingRejected
from models.geometry import Geometry
from models.inference.segmentation import Segmentation


class Segmenter(Protocol):
    """Answers a volume with per-organ probabilities, always for a named release."""

    def segment(
        self,
        hu: NDArray[np.int16] | NDArray[np.float32],
        release: int,
        sampled: bool = False,
        ct: Geometry | None = None,
    ) -> Segmentation:
        """Segment one volume.

        Parameters
        ----------
        hu
            Hounsfield units on the model grid of the release's contract, axes (k, j, i), int16. Of a CT,
            where a grid is given: int16, or float32 where a rescale makes fractions of them.
        release
            Number of the release that must answer; there is no default and no "latest".
        sampled
            Whether to sample features for the case store; what is not asked for costs nothing.
        ct
            The CT's grid; only of a release whose contract has a recipe, which then resamples it itself.

        Returns
        -------
        Segmentation
            On the same grid, or of a CT on that which it says; the bits repeat within one serving profile.

        Raises
        ------
        ServingUnavailable
            No server answers, or the release is not loaded.
        ServingTimedOut
            No answer within the deadline.
        ServingRejected
            The server refused the request, or its answer does not fit the question.
        """
        ...

    def profile(self, release: int) -> str:
        """Return the profile a release is served in, e.g. ``python/openvino-2026.4.1/cpu/f32/2-threads``.

        Equality of bits is claimed within one profile; a calibration holds in one profile only.

        Raises
        ------
        ServingUnavailable, ServingTimedOut, ServingRejected
            As for `segment`.
        """
        ...

    def processor_seconds(self) -> float | None:
        """Return the processor seconds that whoever answers has spent until now; None where nobody knows."""
        ...


class Endpoint(Segmenter, Protocol):
    """A segmenter whose releases can be brought in while it serves others."""

    @property
    def url(self) -> str:
        """Where it is, for messages."""
        ...

    def ready(self, release: int) -> bool:
        """Tell whether a release is loaded.

        Raises
        ------
        ServingUnavailable, ServingTimedOut
            If the server does not answer.
        """
        ...

    def load(self) -> None:
        """Load every version in the repository that is not loaded; those that serve go on serving.

        Raises
        ------
        ServingRejected
            If a version cannot be loaded; the others still are.
        ServingUnavailable, ServingTimedOut
            If the server does not answer.
        """
        ...


def check_volume(hu: NDArray[Any], ct: Geometry | None = None) -> None:
    """Check the question before it is asked.

    Raises
    ------
    ServingRejected
        If the volume is not int16, or float32 of a CT, with three axes; or not on the CT's grid.
    """
    wanted = (np.int16,) if ct is None else (np.int16, np.float32)
    if hu.dtype not in wanted or hu.ndim != 3:
        raise ServingRejected(f"the volume must be int16 (k, j, i), not {hu.dtype} with {hu.ndim} axes")
    if ct is not None and ct.shape != hu.shape:
        raise ServingRejected(f"the volume is {hu.shape}, its grid {ct.shape}")
