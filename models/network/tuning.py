"""Tuning: the heads of some organs learn from corrected studies; trunk and other heads stay as they are."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contract import ModelContract
from models.network.heads import Head, HeadSpec, VoxelTaps, add_taps, with_taps
from models.network.losses import segmentation_loss
from models.network.sampling import draw_sample, gather_taps
from models.network.training import Progress, Report, cut_truth, warm_cosine
from models.network.trunk import Trunk, TrunkOutput
from models.resampling import bounding_box
from models.windows import BODY_MARGIN_MM, Origin, body_mask, cut, plan, scale_hu


class Level(StrEnum):
    """Which part of a head is free; each level holds the one before."""

    HEAD = "head"
    COARSE = "coarse"
    NEIGHBOURHOOD = "neighbourhood"

    def spec(self, head: HeadSpec, contract: ModelContract) -> HeadSpec:
        """Return the taps of a head tuned at this level; taps it has already stay."""
        if self is Level.HEAD:
            return head
        coarse = tuple(enumerate(contract.coarse_channels, 1))
        return add_taps(head, coarse=coarse, neighbourhood=head.neighbourhood or self is Level.NEIGHBOURHOOD)


@dataclass(frozen=True, eq=False)
class TuningStudy:
    """One study to learn from, on the model grid.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i), int16.
    truth
        By organ, axes (k, j, i), uint8: 255 x the fraction of the voxel that the organ fills. Only
        organs that are labelled in this study; of the others nothing is learnt, neither presence nor
        absence.
    weight
        By organ, axes (k, j, i), uint8: 255 x how far the voxel's label counts. An organ that is not
        named counts alike everywhere.
    """

    hu: NDArray[np.int16]
    truth: Mapping[str, NDArray[np.uint8]]
    weight: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True)
class TuningSettings:
    """How to tune.

    Parameters
    ----------
    level
        Which part of the heads is free.
    steps
        Optimiser steps per organ.
    batch_voxels
        Voxels per step, from all studies together.
    window_voxels
        Voxels kept of each window, per organ.
    learning_rate
        Peak of AdamW's.
    warm_up
        Steps of linear warm-up, then a cosine to 0.
    decay
        Pull towards the incumbent's weights (a new tap's are 0), per step and unit of learning rate.
    seed
        Of samples and batches. Each organ draws its own numbers: what else is tuned does not matter.
    """

    level: Level = Level.NEIGHBOURHOOD
    steps: int = 200
    batch_voxels: int = 8192
    window_voxels: int = 3072
    learning_rate: float = 5e-3
    warm_up: int = 10
    decay: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """Mean loss of one organ over the steps since the point before."""

    organ: str
    step: int
    loss: float


@dataclass(frozen=True, eq=False)
class TuningResult:
    """What tuning gave.

    Parameters
    ----------
    heads
        The tuned heads only, by organ; frozen, float32.
    curve
        Loss by organ and step.
    feature_seconds, seconds
        Wall-clock time of the features, and of all of it.
    level
        Which part of the heads was free.
    """

    heads: Mapping[str, Head]
    curve: tuple[CurvePoint, ...]
    feature_seconds: float
    seconds: float
    level: Level


def tune_heads(
    trunk: Trunk,
    heads: Mapping[str, Head],
    studies: Sequence[TuningStudy],
    organs: Sequence[str],
    contract: ModelContract,
    settings: TuningSettings,
    report: Report,
    every: int = 20,
) -> TuningResult:
    """Tune the heads of some organs on cached features of a frozen trunk.

    Parameters
    ----------
    trunk, heads
        The incumbent's; they are not changed.
    studies
        Corrected studies, and studies of the old sites: a head that never sees its old site again
        forgets it.
    organs
        Whose heads to tune.
    contract
        Windows, organs, thresholds.
    settings
        How to tune.
    report
        Told now and then where the run is; a step is one organ's.

    Returns
    -------
    TuningResult
        The same for the same arguments and number of threads.

    Raises
    ------
    ValueError
        If an organ is labelled in no study.
    """
    began = time.monotonic()
    pools = {organ: _Pool(organ, heads[organ], _richer(heads[organ], contract, settings)) for organ in organs}
    for number, study in enumerate(studies):
        for origin in _origins(study, contract):
            window = scale_hu(cut(study.hu, origin, contract.window_shape), contract.hu_window)
            window_last = torch.from_numpy(window[None, None]).contiguous(
                memory_format=torch.channels_last_3d
            )
            with torch.inference_mode():
                output = trunk(window_last)
                for organ, pool in pools.items():
                    if organ in study.truth:
                        random = np.random.default_rng(
                            [settings.seed, number, *map(abs, origin), _key(organ)]
                        )
                        truth, weight = _labels(study, organ, origin, contract)
                        pool.add(output, truth, weight, contract, settings.window_voxels, random)
    feature_seconds = time.monotonic() - began
    curve: list[CurvePoint] = []
    tuned = {}
    for done, (organ, pool) in enumerate(pools.items()):

        def told(step: int, loss: float, organ: str = organ, done: int = done) -> None:
            curve.append(CurvePoint(organ, step, loss))
            steps, total = done * settings.steps + step, len(pools) * settings.steps
            seconds = time.monotonic() - began
            left = (seconds - feature_seconds) / steps * (total - steps)
            report(Progress(steps, total, loss, seconds, left))

        tuned[organ] = _fit(pool, settings, told, every)
    return TuningResult(tuned, tuple(curve), feature_seconds, time.monotonic() - began, settings.level)


class _Pool:
    """What one organ's head sees of the sampled voxels of all studies, and what is true there."""

    def __init__(self, organ: str, incumbent: Head, head: Head) -> None:
        self.organ = organ
        self.head = head
        self._incumbent = incumbent  # answers as `head` does, without the taps that are still zero
        self._taps: list[VoxelTaps] = []
        self._truth: list[Tensor] = []
        self._weight: list[Tensor] = []

    def add(
        self,
        output: TrunkOutput,
        truth: NDArray[np.uint8],
        weight: NDArray[np.uint8],
        contract: ModelContract,
        count: int,
        random: np.random.Generator,
    ) -> None:
        """Sample one window; truth and weight have one value per voxel."""
        threshold = contract.thresholds[self.organ]
        probability = torch.sigmoid(self._incumbent(output))[0, 0].numpy()
        label = truth.reshape(probability.shape) >= 255 * threshold
        sample = draw_sample(probability >= threshold, label, count, random)
        self._taps.append(gather_taps(output, self.head.spec, sample).half())
        self._truth.append(torch.from_numpy(truth[sample.index]).float() / 255)
        self._weight.append(torch.from_numpy(sample.weight * (weight[sample.index] / np.float32(255))))

    def together(self) -> tuple[VoxelTaps, Tensor, Tensor]:
        """Return taps, truth and weight of all voxels.

        Raises
        ------
        ValueError
            If the organ is labelled in no study.
        """
        if not self._taps:
            raise ValueError(f"{self.organ} is labelled in no study")
        return VoxelTaps.joined(self._taps), torch.cat(self._truth), torch.cat(self._weight)


def _fit(pool: _Pool, settings: TuningSettings, told: Callable[[int, float], None], every: int) -> Head:
    """Minimise the loss over an organ's voxels, pulled towards where the head began."""
    taps, truth, weight = pool.together()
    head = pool.head.train().requires_grad_(True)
    incumbent = [parameter.detach().clone() for parameter in head.parameters()]
    optimiser = torch.optim.AdamW(head.parameters(), settings.learning_rate, weight_decay=0.0)
    draws = torch.Generator().manual_seed(1_000_003 * settings.seed + _key(pool.organ))
    losses: list[float] = []
    for step in range(1, settings.steps + 1):
        rate = settings.learning_rate * warm_cosine(step - 1, settings.warm_up, settings.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        index = torch.randint(len(truth), (min(settings.batch_voxels, len(truth)),), generator=draws)
        logits = head.members_on_voxels(taps.rows(index))
        # Each member by its own loss: through their mean they would learn to agree.
        true = truth[index][:, None].expand_as(logits)
        loss = segmentation_loss(logits, true, weight[index][:, None])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for parameter, start in zip(head.parameters(), incumbent, strict=True):
                parameter.lerp_(start, rate * settings.decay)
        losses.append(float(loss.detach()))
        if step % every == 0 or step == settings.steps:
            told(step, float(np.mean(losses)))
            losses.clear()
    return head.requires_grad_(False).eval()


def _richer(head: Head, contract: ModelContract, settings: TuningSettings) -> Head:
    richer = with_taps(head, settings.level.spec(head.spec, contract))
    return richer.requires_grad_(False).eval()


def _labels(
    study: TuningStudy, organ: str, origin: Origin, contract: ModelContract
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return truth and weight of one window's voxels, in (k, j, i) order."""
    truth = cut_truth(study.truth[organ][None], origin, contract.window_shape)[:, 0]
    if organ not in study.weight:
        return truth, np.full_like(truth, 255)
    lacking = 255 - study.weight[organ]  # beyond the study nothing is lacking
    return truth, 255 - cut_truth(lacking[None], origin, contract.window_shape)[:, 0]


def _origins(study: TuningStudy, contract: ModelContract) -> tuple[Origin, ...]:
    """Return the windows that serving evaluates."""
    body = body_mask(study.hu)
    crop = bounding_box(body, max(1, round(BODY_MARGIN_MM / min(contract.spacing_mm))))
    return plan(body, crop, contract) if crop is not None else ()


def _key(organ: str) -> int:
    """Return a number that stands for an organ in seeds, the same in every process."""
    return zlib.crc32(organ.encode())
