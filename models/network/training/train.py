"""Training of a trunk with its heads: from scratch, or from weights that are there; resumable."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.body import body_mask
from models.contract import ModelContract
from models.errors import TrainingDiverged
from models.inference.windows import cut, network_input
from models.masks import Box, bounding_box
from models.network.heads import ConvolutionalHead, Head, HeadSpec, joint_logits
from models.network.training.losses import segmentation_loss
from models.network.training.sound_bf16 import sound_bf16
from models.network.training.state import Keep, read_state, write_state
from models.network.trunk import Trunk, TrunkOutput
from models.network.trunk_kinds import build_trunk
from models.resampling import resample, to_model_grid
from models.volume import Volume

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
    weight
        Axes as of `truth`, uint8: 255 x how far the voxel's label counts, 0 where an organ is not
        labelled. None: all is labelled.
    """

    hu: NDArray[np.int16]
    truth: NDArray[np.uint8]
    body: Box
    weight: NDArray[np.uint8] | None = None


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
    model = to_model_grid(volume, contract.spacing_mm, contract.antialias)
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


Start = tuple[Trunk, Mapping[str, Head]]
"""Weights a run begins with: those of a release, say."""


def train(
    cases: Sequence[TrainingCase],
    contract: ModelContract,
    settings: TrainingSettings,
    report: Report,
    every: int = 25,
    *,
    start: Start | None = None,
    keep: Keep | None = None,
    device: str = "cpu",
) -> tuple[Trunk, dict[str, Head]]:
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
    start
        Weights to go on from, with a head for every organ; they are not changed. None: from scratch.
    keep
        Where the run is kept, so that it goes on where it was cut; a run that is there already is taken
        up. It ends with the same bits, cut or not. None: nowhere.
    device
        Where torch computes, e.g. ``cuda``. Bits repeat on a CPU with the same number of threads.

    Returns
    -------
    trunk, heads
        Float32, heads by organ, on the CPU. Not rounded yet: `trunk_to_bytes` does that.

    Raises
    ------
    StorageFailed
        If what is kept of the run cannot be read or written.
    TrainingDiverged
        If a gradient is no finite number any more.
    """
    run = _Run(contract, settings, start, torch.device(device))
    if keep is not None:
        run.take_up(read_state(keep))
    began = time.monotonic() - run.seconds
    while run.step < settings.steps:
        run.advance(cases)
        run.seconds = time.monotonic() - began
        told = None
        if run.step % every == 0 or run.step == settings.steps:
            left = run.seconds / run.step * (settings.steps - run.step)
            told = Progress(run.step, settings.steps, float(np.mean(run.losses)), run.seconds, left)
            run.losses.clear()
        if keep is not None and (run.step % keep.every == 0 or run.step == settings.steps):
            write_state(keep, run.state())
        if told is not None:
            report(told)
    return run.trunk.cpu(), {organ: head.cpu() for organ, head in run.heads.items()}


class _Run:
    """A run between two steps."""

    def __init__(
        self, contract: ModelContract, settings: TrainingSettings, start: Start | None, device: torch.device
    ) -> None:
        torch.manual_seed(settings.seed)
        self.contract, self.settings, self.device = contract, settings, device
        self.random = np.random.default_rng(settings.seed)
        trunk, heads = start or untrained(contract, settings)
        self.trunk: Trunk = deepcopy(trunk).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.heads = {organ: deepcopy(heads[organ]).to(device) for organ in contract.organs}
        self.modules = torch.nn.ModuleList([self.trunk, *self.heads.values()])
        self.modules.requires_grad_(True).train()
        self.parameters = list(self.modules.parameters())
        self.optimiser = torch.optim.AdamW(
            self.parameters, settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step, self.seconds = 0, 0.0
        self.order: list[int] = []
        self.losses: list[float] = []

    def advance(self, cases: Sequence[TrainingCase]) -> None:
        """Take one step, on one window."""
        settings = self.settings
        if not self.order:
            self.order = self.random.permutation(len(cases)).tolist()
        window, truth, weight = _example(cases[self.order.pop()], self.contract, settings, self.random)
        rate = settings.learning_rate * warm_cosine(self.step, settings.warm_up, settings.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with sound_bf16(self.device.type):
            found = logits(list(self.heads.values()), self.trunk(window.to(self.device)))
        given = None if weight is None else weight.to(self.device)
        loss = segmentation_loss(found, truth.to(self.device), given)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        if not math.isfinite(norm):
            raise TrainingDiverged(f"step {self.step + 1}: a gradient is no finite number")
        self.optimiser.step()
        self.losses.append(float(loss.detach()))
        self.step += 1

    def state(self) -> dict[str, Any]:
        """Return everything the rest of the run depends on."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "order": self.order,
            "losses": self.losses,
            "random": json.dumps(self.random.bit_generator.state),
            "weights": self.modules.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Go on from what `state` gave; None: from the beginning."""
        if state is None:
            return
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.order, self.losses = list(state["order"]), list(state["losses"])
        self.random.bit_generator.state = json.loads(state["random"])
        self.modules.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])


def untrained(contract: ModelContract, settings: TrainingSettings) -> Start:
    """Return a trunk and a head per organ as they are before the first step, from torch's own numbers."""
    trunk = build_trunk(contract.trunk)
    spec = HeadSpec(contract.feature_channels, settings.hidden)
    return trunk, {organ: ConvolutionalHead(spec) for organ in contract.organs}


def logits(heads: Sequence[Head], output: TrunkOutput) -> Tensor:
    """Return the logits of all heads, axes (batch, voxel, organ)."""
    plain = [head for head in heads if isinstance(head, ConvolutionalHead) and is_plain(head.spec)]
    if len(plain) == len(heads) and len({head.spec for head in heads}) == 1:
        return joint_logits(plain, output.features)
    return torch.stack([head(output).flatten(1) for head in heads], -1)


def is_plain(spec: HeadSpec) -> bool:
    """Tell whether a head has one member and the first tap only, so that many run as one."""
    return spec == HeadSpec(spec.feature_channels, spec.hidden)


def warm_cosine(step: int, warm_up: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: linear up, then half a cosine to 0."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))


def _example(
    case: TrainingCase, contract: ModelContract, settings: TrainingSettings, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cut one augmented window with truth and weight, axes (1, 1, k, j, i) and (1, voxel, organ) twice."""
    origin = tuple(
        _start(side, n, window, random)
        for side, n, window in zip(case.body, case.hu.shape, contract.window_shape, strict=True)
    )
    hu = cut(case.hu, (origin[0], origin[1], origin[2]), contract.window_shape).astype(np.float32)
    noise = random.standard_normal(hu.shape, dtype=np.float32)
    hu *= random.normal(1, settings.gain)
    hu += random.normal(0, settings.shift_hu) + noise * np.float32(random.uniform(0, settings.noise_hu))
    scaled = torch.from_numpy(network_input(np.rint(hu).astype(np.int16), contract))[None, None]
    truth = torch.from_numpy(cut_truth(case.truth, origin, contract.window_shape))
    weight = None
    if case.weight is not None:
        told = torch.from_numpy(cut_truth(case.weight, origin, contract.window_shape, outside=255))
        weight = told[None].float() / 255
    return scaled.contiguous(memory_format=torch.channels_last_3d), truth[None].float() / 255, weight


def _start(side: slice, voxels: int, window: int, random: np.random.Generator) -> int:
    """Where a window may begin along one axis, as in `models.inference.windows.axis_starts`, jittered."""
    if voxels <= window:
        return -((window - voxels) // 2) + int(random.integers(-JITTER_VOXELS, JITTER_VOXELS + 1)) // 2
    low, high = sorted((side.start, side.stop - window))
    if side.stop - side.start <= window:
        centre = (low + high) // 2
        low, high = centre - JITTER_VOXELS, centre + JITTER_VOXELS
    return int(np.clip(random.integers(low, high + 1), 0, voxels - window))


def cut_truth(
    truth: NDArray[np.uint8], origin: Sequence[int], shape: Sequence[int], outside: int = 0
) -> NDArray[np.uint8]:
    """Cut a window out of the truth, axes (organ, k, j, i), or of its weight.

    Parameters
    ----------
    truth
        Of the whole study.
    origin, shape
        First voxel (k, j, i) and shape of the window.
    outside
        Where it reaches beyond the study: truth is 0 there, and its weight 255.

    Returns
    -------
    ndarray
        Axes (voxel, organ), uint8, voxels in (k, j, i) order.
    """
    low = [max(o, 0) for o in origin]
    high = [min(o + w, n) for o, w, n in zip(origin, shape, truth.shape[1:], strict=True)]
    window = np.full((*shape, len(truth)), outside, dtype=np.uint8)
    inside = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    window[inside] = np.moveaxis(truth[(slice(None), *box)], 0, -1)
    return window.reshape(-1, len(truth))
