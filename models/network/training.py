"""Training of a trunk with its heads, from scratch, on a CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contract import ModelContract
from models.network.heads import ConvolutionalHead, HeadSpec, joint_logits
from models.network.losses import segmentation_loss
from models.network.trunk import Trunk, build_trunk
from models.resampling import Box, bounding_box, resample, to_model_grid
from models.volume import Volume
from models.windows import body_mask, cut, scale_hu

JITTER_VOXELS = 8
"""How far a training window may be from where serving would put it when the body is smaller than it."""


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """One study on the model grid.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i), int16.
    truth
        Axes (organ, k, j, i), uint8: 255 x the fraction of the voxel that the organ fills, organs in
        the contract's order.
    body
        The box of the body within the grid.
    """

    hu: NDArray[np.int16]
    truth: NDArray[np.uint8]
    body: Box


def training_case(
    volume: Volume, truth: Mapping[str, NDArray[np.bool_]], contract: ModelContract
) -> TrainingCase:
    """Bring a study and its truth onto the model grid, the way serving does.

    Parameters
    ----------
    volume
        The CT.
    truth
        By organ, axes (k, j, i) on the CT grid; every organ of the contract.
    contract
        Spacing and organs.

    Raises
    ------
    ValueError
        If the CT shows no body.
    """
    model = to_model_grid(volume, contract.spacing_mm)
    fractions = np.stack([covered(truth[organ], volume, model) for organ in contract.organs])
    body = bounding_box(body_mask(model.hu.astype(np.int16)))
    if body is None:
        raise ValueError("the CT shows no body")
    return TrainingCase(model.hu.astype(np.int16), fractions, body)


def covered(mask: NDArray[np.bool_], volume: Volume, model: Volume) -> NDArray[np.uint8]:
    """Return 255 x the fraction of each model voxel that a mask on the CT grid fills, uint8 (k, j, i)."""
    fraction = resample(mask, volume.geometry, model.geometry, outside=0.0)
    return np.rint(255 * np.clip(fraction, 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Parameters
    ----------
    steps
        Optimiser steps, one window each.
    learning_rate
        Peak, reached after `warm_up` steps, then falling to 0 as a cosine.
    warm_up
        Steps of linear warm-up.
    weight_decay
        Of AdamW, on kernels and biases alike.
    gain, shift_hu, noise_hu
        Spread of the augmentation: contrast factor, offset, and most noise added, Hounsfield units.
        There is no flip: left and right differ.
    hidden
        Width of the heads.
    seed
        Of weights, order of cases, windows and augmentation.
    """

    steps: int = 1000
    learning_rate: float = 2e-3
    warm_up: int = 50
    weight_decay: float = 1e-4
    gain: float = 0.02
    shift_hu: float = 6.0
    noise_hu: float = 8.0
    hidden: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Parameters
    ----------
    step, steps
        Steps done and steps in all.
    loss
        Mean of the loss since the last report.
    seconds, seconds_left
        Time taken and expected.
    """

    step: int
    steps: int
    loss: float
    seconds: float
    seconds_left: float


Report = Callable[[Progress], None]
"""Told now and then where a run is."""


def train(
    cases: Sequence[TrainingCase],
    contract: ModelContract,
    settings: TrainingSettings,
    report: Report,
    every: int = 25,
) -> tuple[Trunk, dict[str, ConvolutionalHead]]:
    """Train a trunk and one head per organ together.

    Parameters
    ----------
    cases
        Studies on the model grid.
    contract
        Window, organs and how to build the trunk.
    settings
        How to train.
    report
        Called every `every` steps.

    Returns
    -------
    trunk, heads
        Float32, heads by organ. Not rounded yet: `trunk_to_bytes` does that.
    """
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    trunk = build_trunk(contract.trunk).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    spec = HeadSpec(contract.feature_channels, settings.hidden)
    heads = {organ: ConvolutionalHead(spec) for organ in contract.organs}
    parameters = [p for module in (trunk, *heads.values()) for p in module.parameters()]
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: warm_cosine(step, settings.warm_up, settings.steps)
    )
    order: list[int] = []
    losses: list[float] = []
    began = time.monotonic()
    for step in range(1, settings.steps + 1):
        if not order:
            order = random.permutation(len(cases)).tolist()
        window, truth = _example(cases[order.pop()], contract, settings, random)
        with torch.autocast("cpu", torch.bfloat16):
            logits = joint_logits(list(heads.values()), trunk(window).features)
        loss = segmentation_loss(logits, truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % every == 0 or step == settings.steps:
            seconds = time.monotonic() - began
            left = seconds / step * (settings.steps - step)
            report(Progress(step, settings.steps, float(np.mean(losses)), seconds, left))
            losses.clear()
    return trunk, heads


def warm_cosine(step: int, warm_up: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: linear up, then half a cosine to 0."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))


def _example(
    case: TrainingCase, contract: ModelContract, settings: TrainingSettings, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cut one augmented window and its truth, axes (1, 1, k, j, i) and (1, voxel, organ)."""
    origin = tuple(
        _start(side, n, window, random)
        for side, n, window in zip(case.body, case.hu.shape, contract.window_shape, strict=True)
    )
    hu = cut(case.hu, (origin[0], origin[1], origin[2]), contract.window_shape).astype(np.float32)
    noise = random.standard_normal(hu.shape, dtype=np.float32)
    hu *= random.normal(1, settings.gain)
    hu += random.normal(0, settings.shift_hu) + noise * np.float32(random.uniform(0, settings.noise_hu))
    scaled = torch.from_numpy(scale_hu(np.rint(hu).astype(np.int16), contract.hu_window))[None, None]
    truth = torch.from_numpy(cut_truth(case.truth, origin, contract.window_shape))
    return scaled.contiguous(memory_format=torch.channels_last_3d), truth[None].float() / 255


def _start(side: slice, voxels: int, window: int, random: np.random.Generator) -> int:
    """Where a window may begin along one axis, as in `models.windows.axis_starts`, jittered."""
    if voxels <= window:
        return -((window - voxels) // 2) + int(random.integers(-JITTER_VOXELS, JITTER_VOXELS + 1)) // 2
    low, high = sorted((side.start, side.stop - window))
    if side.stop - side.start <= window:
        centre = (low + high) // 2
        low, high = centre - JITTER_VOXELS, centre + JITTER_VOXELS
    return int(np.clip(random.integers(low, high + 1), 0, voxels - window))


def cut_truth(truth: NDArray[np.uint8], origin: Sequence[int], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Cut a window out of the truth, axes (organ, k, j, i), nothing where it reaches outside.

    Returns
    -------
    ndarray
        Axes (voxel, organ), uint8, voxels in (k, j, i) order.
    """
    low = [max(o, 0) for o in origin]
    high = [min(o + w, n) for o, w, n in zip(origin, shape, truth.shape[1:], strict=True)]
    window = np.zeros((*shape, len(truth)), dtype=np.uint8)
    inside = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    window[inside] = np.moveaxis(truth[(slice(None), *box)], 0, -1)
    return window.reshape(-1, len(truth))
