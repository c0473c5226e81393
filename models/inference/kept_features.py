"""Features kept while serving: what heads saw of some voxels of each window, on disk."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.errors import StorageFailed
from models.inference.sampled_features import tap_channels


@dataclass(frozen=True, eq=False)
class KeptFeatures:
    """Sampled voxels of one served study.

    Parameters
    ----------
    window_origin
        Axes (window, 3), int32: first (k, j, i) voxel of each window, negative where it was padded.
    global_feature
        Axes (window, feature), float32.
    window
        Axes (voxel,), int32: the window a voxel was seen in.
    index
        Axes (voxel,), int32: its place in that window, flattened in (k, j, i) order.
    weight
        Axes (voxel,), float32: one over the probability with which it was drawn.
    taps
        Axes (voxel, channel), float16: the last features of its 3x3x3 neighbours in (k, j, i) order,
        zero outside the window; then each coarser map at the voxel, trilinear, finest first.
    """

    window_origin: NDArray[np.int32]
    global_feature: NDArray[np.float32]
    window: NDArray[np.int32]
    index: NDArray[np.int32]
    weight: NDArray[np.float32]
    taps: NDArray[np.float16]

    def fits(self, contract: ModelContract) -> bool:
        """Tell whether the columns are those of a contract's trunk."""
        return self.taps.shape[1:] == (tap_channels(contract),)

    def to_bytes(self) -> bytes:
        """Return an ``.npz`` file; float16 features hardly compress, so it is not compressed."""
        file = io.BytesIO()
        np.savez(file, **asdict(self))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> KeptFeatures:
        """Read what `to_bytes` wrote.

        Raises
        ------
        StorageFailed
            If it is not such a file.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                return cls(**file)
        except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
            raise StorageFailed("kept features cannot be read") from error
