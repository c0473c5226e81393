"""What a head sees of single voxels: rows in place of a window, for sampling and tuning."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

TILE = 8
"""Voxels a side of the cubes that a private block is tuned on; windows are multiples of it."""

HALO = 2
"""How far a private block sees beyond a voxel."""


@dataclass(frozen=True, eq=False)
class VoxelTaps:
    """What a head sees of some voxels, each a row; what it does not tap is None or missing.

    Parameters
    ----------
    features
        Axes (voxel, channel): the last features.
    neighbourhood
        Axes (voxel, 27 x channel): the last features of the 3x3x3 neighbours in (k, j, i) order, zero
        outside the window.
    coarse
        By level, axes (voxel, channel): the coarser map, trilinear at the voxel.
    context
        Axes (window, feature): the global feature of each window.
    window
        Axes (voxel,), int64: the voxel's row of `context`, ascending.
    surround
        Axes (tile, channel, k, j, i): the last features of cubes of `TILE` voxels a side and `HALO` more
        round them, zero outside the window; then every `TILE` ** 3 successive voxels are one cube's, in
        (k, j, i) order.
    """

    features: Tensor
    neighbourhood: Tensor | None
    coarse: Mapping[int, Tensor]
    context: Tensor | None
    window: Tensor | None = None
    surround: Tensor | None = None

    @property
    def windows(self) -> int:
        """Windows whose global feature is held."""
        return 0 if self.context is None else len(self.context)

    def tiles(self, index: Tensor) -> VoxelTaps:
        """Return the voxels of some tiles, float32."""
        within = torch.arange(TILE**3, device=index.device)
        rows = self.rows((index[:, None] * TILE**3 + within).flatten())
        return replace(rows, surround=given(self.surround)[index].float())

    def rows(self, index: Tensor) -> VoxelTaps:
        """Return some of the voxels, float32, with their windows, each once."""
        taken = replace(self, context=None, surround=None)
        taken = taken._mapped(lambda tensor: tensor.index_select(0, index).float())
        if self.context is None:
            return taken
        windows, window = torch.unique(given(self.window)[index], return_inverse=True)
        return replace(taken, context=self.context[windows].float(), window=window)

    def half(self) -> VoxelTaps:
        """Return the same in half the memory, float16."""
        return self._mapped(Tensor.half)

    def to(self, device: torch.device) -> VoxelTaps:
        """Return the same on a device."""
        moved = self._mapped(lambda tensor: tensor.to(device))
        return replace(moved, window=None if self.window is None else self.window.to(device))

    @staticmethod
    def joined(parts: Sequence[VoxelTaps]) -> VoxelTaps:
        """Return the voxels of all parts, which hold the same taps and different windows."""
        first = parts[0]
        context = window = None
        if first.context is not None:
            contexts = [given(part.context) for part in parts]
            before = itertools.accumulate((len(one) for one in contexts), initial=0)
            window = torch.cat([given(part.window) + n for part, n in zip(parts, before, strict=False)])
            context = torch.cat(contexts)
        return VoxelTaps(
            torch.cat([part.features for part in parts]),
            None if first.neighbourhood is None else torch.cat([given(p.neighbourhood) for p in parts]),
            {level: torch.cat([part.coarse[level] for part in parts]) for level in first.coarse},
            context,
            window,
            None if first.surround is None else torch.cat([given(part.surround) for part in parts]),
        )

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> VoxelTaps:
        return VoxelTaps(
            change(self.features),
            None if self.neighbourhood is None else change(self.neighbourhood),
            {level: change(maps) for level, maps in self.coarse.items()},
            None if self.context is None else change(self.context),
            self.window,
            None if self.surround is None else change(self.surround),
        )


def given(tensor: Tensor | None) -> Tensor:
    """Return a tap that a head uses.

    Raises
    ------
    ValueError
        If it is not there.
    """
    if tensor is None:
        raise ValueError("a tap that the head uses is not given")
    return tensor
