"""What the flows ask of a segmenter, whoever serves it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.segmentation import Segmentation


class Segmenter(Protocol):
    """Answers a volume with per-organ probabilities, always for a named release."""

    def segment(self, hu: NDArray[np.int16], release: int) -> Segmentation:
        """Segment one volume.

        Parameters
        ----------
        hu
            Hounsfield units on the model grid of the release's contract, axes (k, j, i), int16.
        release
            Number of the release that must answer; there is no default and no "latest".

        Returns
        -------
        Segmentation
            On the same grid; the bits repeat within one serving profile.

        Raises
        ------
        Refused
            `no-body`: the volume holds nothing but air.
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
