"""What the heads to be tuned see of each study: sampled voxels, from kept features or the trunk again."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contract import ModelContract
from models.inference.kept_features import KeptFeatures
from models.inference.windows import Origin
from models.network.heads import Head, HeadSpec
from models.network.training.sampling import draw_sample, draw_tiles, gather_taps, gather_tiles, kept_taps
from models.network.training.train import cut_truth
from models.network.trunk import Trunk, TrunkOutput
from models.network.tuning.competitors import Rivals, competitors
from models.network.tuning.flops import FlopTally
from models.network.tuning.looking import Sees, looking, nobody
from models.network.tuning.seen_windows import Seen, hounsfield, window_at, window_origins
from models.network.voxel_taps import TILE, VoxelTaps, given
from models.tuning.settings import Cost, TuningSettings

TILED = 4
"""Times as many voxels are kept of a window in tiles as singly: neighbours say much the same."""

HALF = 128
"""Of 255: a voxel lies in the label."""

FEWEST_KEPT = 256
"""Kept voxels inside an organ's label, of a study, from which it can be learnt and judged; or half of all
that are inside. What is kept is shared by all organs and windows: of a small organ it may be a few dozen
voxels, on which heads of one DSC differ by 0.07. Then the windows that hold the organ are seen again."""

FEWEST_TILES = 8
"""Tiles of a window, two of each stratum and two more where it ends."""


@dataclass(frozen=True, eq=False)
class TuningStudy:
    """One study to learn from, on the grid that the network sees.

    Parameters
    ----------
    seen
        Axes (k, j, i): int16 Hounsfield units on the model grid; or, of a network with a recipe, float32 as
        that normalises them, along the network's axes.
    truth
        By organ, axes (k, j, i), uint8: 255 x the fraction of the voxel that the organ fills. Only
        organs that are labelled in this study; of the others nothing is learnt, neither presence nor
        absence.
    weight
        By organ, axes (k, j, i), uint8: 255 x how far the voxel's label counts. An organ that is not
        named counts alike everywhere.
    patient
        Whose study it is: a patient learns or judges, never both. Empty: a patient of its own.
    replayed
        Whether it is an older study, replayed so that a head does not forget its old site.
    edited
        By organ, axes (k, j, i), bool: what the reader changed. Kept features were sampled by what was
        served, so that a window with such a voxel is extracted again.
    warm
        The features kept while it was served; None if there are none.
    """

    seen: Seen
    truth: Mapping[str, NDArray[np.uint8]]
    weight: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    patient: str = ""
    replayed: bool = False
    edited: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    warm: KeptFeatures | None = None

    @property
    def hu(self) -> NDArray[np.int16]:
        """Return the Hounsfield units on the model grid.

        Raises
        ------
        ValueError
            If the study is that of a network with a recipe, which sees none.
        """
        return hounsfield(self.seen)


@dataclass(frozen=True, eq=False)
class OrganVoxels:
    """The sampled voxels of one organ, study after study.

    Parameters
    ----------
    taps
        What a head of the highest level sees of each, float16.
    truth
        Axes (voxel,), float32: the fraction that the organ fills.
    weight
        Axes (voxel,), float32: how far it counts, over the probability with which it was drawn.
    study
        Axes (voxel,), int64: place among the studies given, ascending.
    rivals
        What a head's logit must exceed; None where that is 0.
    """

    taps: VoxelTaps
    truth: Tensor
    weight: Tensor
    study: Tensor
    rivals: Rivals | None = None

    @property
    def unit(self) -> int:
        """Voxels that are drawn together: those of a tile, else one."""
        return 1 if self.taps.surround is None else TILE**3

    def of(self, studies: Sequence[int]) -> Tensor:
        """Return the rows of some studies, int64."""
        wanted = torch.tensor(list(studies), device=self.study.device)
        return torch.nonzero(torch.isin(self.study, wanted))[:, 0]

    def units(self, studies: Sequence[int]) -> Tensor:
        """Return the units of some studies, int64: a row each, or a tile each."""
        return self.of(studies)[:: self.unit] // self.unit

    def rows(self, units: Tensor) -> Tensor:
        """Return the rows of some units."""
        within = torch.arange(self.unit, device=units.device)
        return (units[:, None] * self.unit + within).flatten()

    def draw(self, units: Tensor, count: int, together: int, random: torch.Generator) -> Tensor:
        """Draw units with replacement, each as likely as any other.

        Parameters
        ----------
        units
            Of some studies, ascending.
        count
            How many.
        together
            So many are drawn of one window.
        random
            Where the draw comes from.
        """
        first = units[torch.randint(len(units), (-(-count // together),), generator=random).to(units.device)]
        if together == 1:
            return first
        window = given(self.taps.window)[units]
        seen_in = given(self.taps.window)[first]
        begin, end = torch.searchsorted(window, seen_in), torch.searchsorted(window, seen_in, right=True)
        place = torch.rand(len(first), together, generator=random).to(units.device)
        drawn = begin[:, None] + (place * (end - begin)[:, None]).long()
        return units[drawn.flatten()[:count]]

    def seen(self, taps: VoxelTaps, units: Tensor) -> VoxelTaps:
        """Return the taps of some units, float32."""
        return taps.rows(self.rows(units)) if taps.surround is None else taps.tiles(units)

    def seen_by(self, spec: HeadSpec) -> VoxelTaps:
        """Return only the taps that a head has: others would be copied at every step."""
        return VoxelTaps(
            self.taps.features,
            self.taps.neighbourhood if spec.neighbourhood else None,
            {level: self.taps.coarse[level] for level, _ in spec.coarse},
            *((self.taps.context, self.taps.window) if spec.global_channels else (None, None)),
            self.taps.surround if spec.block or spec.neighbourhood else None,
        )

    def odds(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return the log-odds of the organ by a head's logits, axes (voxel, member), at some rows."""
        return logits if self.rivals is None else logits - self.rivals.together[rows][:, None]

    def margin(self, logit: Tensor, rows: Tensor) -> Tensor:
        """Return what is over 0 where a head's logit, axes (voxel,), decides for the organ, at some rows."""
        return logit if self.rivals is None else logit - self.rivals.largest[rows]

    def weighing(self, factor: Mapping[int, float]) -> OrganVoxels:
        """Return the same with the voxels of some studies counting so much more or less."""
        weight = self.weight.clone()
        for study, times in factor.items():
            weight[self.study == study] *= times
        return replace(self, weight=weight)

    def to(self, device: torch.device) -> OrganVoxels:
        """Return the same on a device."""
        return OrganVoxels(
            self.taps.to(device),
            self.truth.to(device),
            self.weight.to(device),
            self.study.to(device),
            None if self.rivals is None else self.rivals.mapped(lambda tensor: tensor.to(device)),
        )


def key_of(organ: str) -> int:
    """Return a number that stands for an organ in seeds, the same in every process."""
    return zlib.crc32(organ.encode())


def extract(
    trunk: Trunk,
    incumbents: Mapping[str, Head | None],
    specs: Mapping[str, HeadSpec],
    studies: Sequence[TuningStudy],
    contract: ModelContract,
    settings: TuningSettings,
    tally: FlopTally,
    sees: Sees | None = None,
    looked: Callable[[int, int], None] = nobody,
) -> tuple[dict[str, OrganVoxels], Cost]:
    """Sample every study's voxels for every organ that is labelled there.

    Parameters
    ----------
    trunk, incumbents
        What served; an organ without incumbent is sampled by its label alone.
    specs
        By organ, the taps to look up.
    studies, contract, settings
        As `tune_heads`.
    tally
        Told what it takes.
    sees
        What answers windows in place of trunk and incumbents: the same networks in the engine that serves.
    looked
        Told how many studies were looked at, and of how many.

    Raises
    ------
    ValueError
        If an organ is labelled in no study.
    """
    began = time.monotonic()
    look = looking(trunk, incumbents, torch.device(settings.device), tally, sees)
    others = competitors(trunk, contract)
    parts: dict[str, list[OrganVoxels]] = {organ: [] for organ in specs}
    extracted = warm = 0
    with torch.inference_mode():
        for number, study in enumerate(studies):
            organs = [organ for organ in specs if organ in study.truth]
            scarce = _scarce(study, study.warm, organs, contract) if study.warm else frozenset()
            for origin in window_origins(study.seen, contract) if organs else ():
                labels = {organ: _labels(study, organ, origin, contract) for organ in organs}
                there = [organ for organ in organs if organ not in scarce or not _holds(labels[organ][0])]
                kept = _kept(study, study.warm, origin, there, specs, contract) if study.warm else {}
                cold = [organ for organ in organs if organ not in kept]
                warm, extracted = warm + bool(kept), extracted + bool(cold)
                if cold:
                    output, logits = look(window_at(study.seen, origin, contract), cold)
                for organ in organs:
                    truth, weight = labels[organ]
                    if organ in cold:
                        random = np.random.default_rng(
                            [settings.seed, number, *map(abs, origin), key_of(organ)]
                        )
                        logit = logits.get(organ)
                        if logit is not None and others is not None:
                            logit = others.margin(organ, logit, output.frozen)
                        taps, index, drawn = _drawn(
                            output, logit, specs[organ], truth,
                            contract.thresholds.get(organ, 0.5), settings.window_voxels, random,
                        )  # fmt: skip
                    else:
                        taps, index, drawn = kept[organ]
                    share = weight[index] / np.float32(255)
                    parts[organ].append(
                        OrganVoxels(
                            taps,
                            torch.from_numpy(truth[index]).float() / 255,
                            torch.from_numpy(drawn * share),
                            torch.full((len(index),), number),
                            None if others is None else others.at(organ, taps.features),
                        )
                    )
            looked(number + 1, len(studies))
    cost = Cost(extracted, warm, time.monotonic() - began, tally.total)
    return {organ: _joined(organ, found) for organ, found in parts.items()}, cost


def _joined(organ: str, parts: Sequence[OrganVoxels]) -> OrganVoxels:
    if not parts:
        raise ValueError(f"{organ} is labelled in no study")
    rivals = [part.rivals for part in parts if part.rivals is not None]
    return OrganVoxels(
        VoxelTaps.joined([part.taps for part in parts]),
        torch.cat([part.truth for part in parts]),
        torch.cat([part.weight for part in parts]),
        torch.cat([part.study for part in parts]),
        Rivals(torch.cat([r.together for r in rivals]), torch.cat([r.largest for r in rivals]))
        if rivals
        else None,
    )


def _drawn(
    output: TrunkOutput,
    logit: NDArray[np.float32] | None,
    spec: HeadSpec,
    truth: NDArray[np.uint8],
    threshold: float,
    count: int,
    random: np.random.Generator,
) -> tuple[VoxelTaps, NDArray[np.int64], NDArray[np.float32]]:
    """Sample one window and look up its taps; return them, where they are and one over the probability."""
    label = truth.reshape(output.features.shape[2:]) >= 255 * threshold
    predicted = label
    if logit is not None:
        predicted = torch.sigmoid(torch.from_numpy(logit)).numpy() >= threshold
    if spec.block:
        tiles = draw_tiles(predicted, label, max(FEWEST_TILES, TILED * count // TILE**3), random)
        return gather_tiles(output, spec, tiles).half(), tiles.index, tiles.weight
    sample = draw_sample(predicted, label, count, random)
    return gather_taps(output, spec, sample).half(), sample.index, sample.weight


def _scarce(
    study: TuningStudy, warm: KeptFeatures, organs: Sequence[str], contract: ModelContract
) -> frozenset[str]:
    """Return the organs of which too few voxels were kept inside the label, where nobody edited."""
    found = []
    for organ in organs:
        rows = voxels = 0
        for number, (k, j, i) in enumerate(warm.window_origin.tolist()):
            here = (k, j, i)
            if organ not in study.edited or not _any(study.edited[organ], here, contract):
                label = cut_truth(study.truth[organ][None], here, contract.window_shape)[:, 0] >= HALF
                voxels += int(np.count_nonzero(label))
                rows += int(np.count_nonzero(label[warm.index[warm.window == number]]))
        found += [organ] if rows < min(FEWEST_KEPT, voxels / 2) else []
    return frozenset(found)


def _holds(truth: NDArray[np.uint8]) -> bool:
    return bool((truth >= HALF).any())


def _kept(
    study: TuningStudy,
    warm: KeptFeatures,
    origin: Origin,
    organs: Sequence[str],
    specs: Mapping[str, HeadSpec],
    contract: ModelContract,
) -> dict[str, tuple[VoxelTaps, NDArray[np.int64], NDArray[np.float32]]]:
    """Return what was kept of a window for the organs that nobody edited in it."""
    rows = np.flatnonzero((warm.window_origin == np.array(origin)).all(axis=1))
    here = np.flatnonzero(warm.window == rows[0]) if len(rows) else rows
    if not len(here):
        return {}
    index, weight = warm.index[here].astype(np.int64), warm.weight[here]
    return {
        organ: (kept_taps(warm, here, specs[organ], contract), index, weight)
        for organ in organs
        if not specs[organ].block
        and (organ not in study.edited or not _any(study.edited[organ], origin, contract))
    }


def _any(mask: NDArray[np.bool_], origin: Origin, contract: ModelContract) -> bool:
    inside = tuple(slice(max(o, 0), o + w) for o, w in zip(origin, contract.window_shape, strict=True))
    return bool(mask[inside].any())


def _labels(
    study: TuningStudy, organ: str, origin: Origin, contract: ModelContract
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return truth and weight of one window's voxels, in (k, j, i) order."""
    truth = cut_truth(study.truth[organ][None], origin, contract.window_shape)[:, 0]
    if organ not in study.weight:
        return truth, np.full_like(truth, 255)
    lacking = 255 - study.weight[organ]  # beyond the study nothing is lacking
    return truth, 255 - cut_truth(lacking[None], origin, contract.window_shape)[:, 0]
