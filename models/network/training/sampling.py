"""Voxels worth learning from: half of them where prediction or label ends, the rest everywhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from models.contract import ModelContract
from models.inference.kept_features import KeptFeatures
from models.inference.sampled_features import NEIGHBOURS, draw_strata
from models.network.heads import HeadSpec
from models.network.trunk import TrunkOutput
from models.network.voxel_taps import HALO, TILE, VoxelTaps

BAND_SHARE = 0.5
"""Share of a window's sample in the boundary band; the rest is shared by inside, near and far."""

NEAR_VOXELS = 6
"""Near the organ: within so many voxels of prediction or label along each axis."""


@dataclass(frozen=True, eq=False)
class VoxelSample:
    """Some voxels of one window.

    Parameters
    ----------
    index
        Position of each voxel in the flattened window, (k, j, i) order, int64, ascending.
    weight
        One over the probability with which it was drawn, float32: sums stay unbiased.
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float32]


def draw_sample(
    prediction: NDArray[np.bool_], label: NDArray[np.bool_], count: int, random: np.random.Generator
) -> VoxelSample:
    """Draw voxels of one window for one organ.

    Parameters
    ----------
    prediction, label
        Axes (k, j, i): what the incumbent says and what the reader says.
    count
        Voxels to draw at most; a stratum smaller than its share gives what it has.
    random
        Where the draw comes from.
    """
    organ = prediction | label
    band = _boundary(prediction) | _boundary(label)
    near = ndimage.maximum_filter(organ, 2 * NEAR_VOXELS + 1)
    index, weight = _draw(band, organ, near, count, random)
    order = np.argsort(index)
    return VoxelSample(index[order], weight[order])


def _draw(
    band: NDArray[np.bool_],
    organ: NDArray[np.bool_],
    near: NDArray[np.bool_],
    count: int,
    random: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    strata = (band, organ & ~band, near & ~organ & ~band, ~near & ~band)
    return draw_strata(strata, (BAND_SHARE, *[(1 - BAND_SHARE) / 3] * 3), count, random)


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels on either side of a mask's surface."""
    return ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)


def gather_taps(output: TrunkOutput, spec: HeadSpec, sample: VoxelSample) -> VoxelTaps:
    """Look up what a head with these taps sees of the sampled voxels.

    Parameters
    ----------
    output
        Of one window, batch 1.
    spec
        The head's taps.
    sample
        The voxels.
    """
    shape = output.features.shape[2:]
    index = torch.from_numpy(sample.index)
    return VoxelTaps(
        output.features[0].permute(1, 2, 3, 0).flatten(0, 2)[index],
        _neighbourhood(output.features, index) if spec.neighbourhood else None,
        {level: _interpolated(output.coarse[level - 1], index, shape) for level, _ in spec.coarse},
        *((output.global_feature, torch.zeros_like(index)) if spec.global_channels else (None, None)),
    )


def draw_tiles(
    prediction: NDArray[np.bool_], label: NDArray[np.bool_], count: int, random: np.random.Generator
) -> VoxelSample:
    """Draw whole cubes of `TILE` voxels a side of one window for one organ, tile after tile.

    Parameters
    ----------
    prediction, label, random
        As `draw_sample`; a tile belongs to the first stratum that it has a voxel of.
    count
        Tiles to draw at most. Of a window whose sides are no multiples of `TILE`, what is left over at its
        ends is not drawn: other windows see most of it.

    Returns
    -------
    VoxelSample
        `TILE` ** 3 voxels of each tile in (k, j, i) order, all with one over the tile's probability.
    """
    grid = [side // TILE for side in label.shape]
    whole = tuple(slice(0, n * TILE) for n in grid)
    places = np.arange(label.size).reshape(label.shape)

    def tiled(field: NDArray) -> NDArray:
        cubes = field[whole].reshape(grid[0], TILE, grid[1], TILE, grid[2], TILE).transpose(0, 2, 4, 1, 3, 5)
        return cubes.reshape(-1, TILE**3)

    organ = prediction | label
    band = tiled(_boundary(prediction) | _boundary(label)).max(axis=1)
    inside = tiled(organ).max(axis=1)
    near = ndimage.maximum_filter(inside.reshape(grid), 3).ravel()
    tiles, weight = _draw(band, inside, near, count, random)
    return VoxelSample(tiled(places)[tiles].ravel(), np.repeat(weight, TILE**3))


def gather_tiles(output: TrunkOutput, spec: HeadSpec, sample: VoxelSample) -> VoxelTaps:
    """Look up what a head with a private block sees of sampled tiles; the 3x3x3 tap is in their surround."""
    taps = gather_taps(output, replace(spec, neighbourhood=False), sample)
    padded = functional.pad(output.features[0], [HALO] * 6)
    corners = np.stack(np.unravel_index(sample.index[:: TILE**3], output.features.shape[2:]), axis=1)
    side = TILE + 2 * HALO
    cubes = [padded[:, k : k + side, j : j + side, i : i + side] for k, j, i in corners]
    return replace(taps, surround=torch.stack(cubes))


def kept_taps(
    kept: KeptFeatures, rows: NDArray[np.int64], spec: HeadSpec, contract: ModelContract
) -> VoxelTaps:
    """Return what a head with these taps sees of voxels that were kept while serving, float16.

    Parameters
    ----------
    kept
        What was kept.
    rows
        Which of its voxels.
    spec
        The head's taps.
    contract
        Gives the channels.
    """
    taps = torch.from_numpy(kept.taps[rows])
    channels = contract.feature_channels
    near = NEIGHBOURS * channels
    middle = NEIGHBOURS // 2 * channels
    maps = dict(enumerate(taps[:, near:].split(list(contract.coarse_channels), 1), 1))
    windows, window = np.unique(kept.window[rows], return_inverse=True)
    context = torch.from_numpy(kept.global_feature[windows]).half()
    return VoxelTaps(
        taps[:, middle : middle + channels],
        taps[:, :near] if spec.neighbourhood else None,
        {level: maps[level] for level, _ in spec.coarse},
        *((context, torch.from_numpy(window)) if spec.global_channels else (None, None)),
    )


def _neighbourhood(features: Tensor, index: Tensor) -> Tensor:
    padded = functional.pad(features[0].permute(1, 2, 3, 0), (0, 0, 1, 1, 1, 1, 1, 1))
    k, j, i = (torch.from_numpy(a) for a in np.unravel_index(index.numpy(), features.shape[2:]))
    near = torch.cartesian_prod(*[torch.arange(3)] * 3)
    rows = padded[k[:, None] + near[:, 0], j[:, None] + near[:, 1], i[:, None] + near[:, 2]]
    return rows.flatten(1)


def _interpolated(coarse: Tensor, index: Tensor, shape: torch.Size) -> Tensor:
    """Return a coarser map at some voxels of the window, as trilinear upsampling would give it there."""
    places = np.stack(np.unravel_index(index.numpy(), tuple(shape))[::-1], axis=-1)  # (i, j, k)
    grid = torch.from_numpy((2 * places + 1) / np.array(shape[::-1]) - 1).float()
    rows = functional.grid_sample(
        coarse, grid[None, None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return rows[0, :, 0, 0].T
