"""How heads are tuned, as plain values: what is free, for how long, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """Which part of a head is free; each level holds the one before."""

    HEAD = "head"
    COARSE = "coarse"
    NEIGHBOURHOOD = "neighbourhood"
    BLOCK = "block"


LEVELS = tuple(Level)


@dataclass(frozen=True)
class TuningSettings:
    """How to tune.

    Parameters
    ----------
    level
        Which part of the heads is free; None climbs the ladder up to `highest`.
    steps
        Most optimiser steps per organ and level.
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
        Of samples, batches and the split. Each organ draws its own numbers, by the places of its studies
        among those given: an organ that is tuned beside it changes nothing unless it brings studies along.
    highest
        Where the ladder ends.
    validation_share
        Share of the patients, of the corrected and of the replayed each, that only judge levels.
    patience
        Looks at the validation patients, of which there are `LOOKS` a level, without a gain before a
        level ends early.
    device
        `cpu` or `cuda`; on CUDA products are taken in bfloat16.
    targets
        DSC by organ at which the ladder stops; the catalogue's for an organ that is not named. What a site
        has established is named (`flows.tuning.plan`).
    """

    level: Level | None = None
    steps: int = 200
    batch_voxels: int = 8192
    window_voxels: int = 3072
    learning_rate: float = 5e-3
    warm_up: int = 10
    decay: float = 0.05
    seed: int = 0
    highest: Level = Level.NEIGHBOURHOOD
    validation_share: float = 0.25
    patience: int = 2
    device: str = "cpu"
    targets: Mapping[str, float] = field(default_factory=dict)

    @property
    def ladder(self) -> tuple[Level, ...]:
        """The levels that may be tried, lowest first."""
        if self.level is not None:
            return (self.level,)
        return LEVELS[: LEVELS.index(self.highest) + 1]


LOOKS = 5
"""How often a level looks at the validation patients."""


class LadderEnd(StrEnum):
    """Why the ladder ended where it did."""

    TARGET_MET = "target-met"
    FORGETS = "forgets-old-site"
    NO_GAIN = "no-gain"
    MORE_STUDIES = "more-studies"
    CLIMB_HIGHER = "climb-higher"
    HEADS_NOT_ENOUGH = "heads-not-enough"
    NOT_VALIDATED = "not-validated"


@dataclass(frozen=True)
class Rung:
    """One level, tried on the training patients and judged on the others.

    DSC are estimates from the sampled voxels, mean over studies; None where there is no such study.

    Parameters
    ----------
    level
        None stands for the incumbent.
    steps
        Steps until the best look.
    train_dsc
        On the studies it learnt from.
    new_dsc, old_dsc
        On validation studies: corrected ones, and replayed ones.
    """

    level: Level | None
    steps: int
    train_dsc: float | None
    new_dsc: float | None
    old_dsc: float | None

    @property
    def score(self) -> float | None:
        """Mean of what is known of new and old studies, by which levels are compared."""
        known = [dsc for dsc in (self.new_dsc, self.old_dsc) if dsc is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Ladder:
    """What became of one organ.

    Parameters
    ----------
    before
        The incumbent on the same studies; its scores are None for a new organ.
    rungs
        The levels tried, lowest first.
    chosen
        The level of the head that was kept; None: the incumbent's head stays, byte for byte.
    end
        Why the ladder ended.
    target
        DSC that was to be reached.
    feature_shift
        How far the features of the organ's voxels in corrected studies lie from those in replayed ones:
        root mean square over channels of the difference of means over the standard deviation; None
        without replayed studies. For a person to read: no end follows from it, since organs that lie
        farther meet their targets where nearer ones do not.
    """

    before: Rung
    rungs: tuple[Rung, ...]
    chosen: Level | None
    end: LadderEnd
    target: float
    feature_shift: float | None


@dataclass(frozen=True)
class Cost:
    """What tuning took, in this process; FLOP are 0 where they were not counted.

    Parameters
    ----------
    windows_extracted, windows_warm
        Windows that went through the trunk again, and those whose kept features served.
    extraction_seconds, extraction_flops
        Of all windows extracted, the incumbents' heads on them included.
    steps, fit_seconds, fit_flops
        Of all optimiser steps, looks at validation patients included.
    """

    windows_extracted: int = 0
    windows_warm: int = 0
    extraction_seconds: float = 0.0
    extraction_flops: int = 0
    steps: int = 0
    fit_seconds: float = 0.0
    fit_flops: int = 0


@dataclass(frozen=True)
class Doubt:
    """A label that is refused or counts for less.

    Parameters
    ----------
    organ
        Whose label.
    study
        Which study, by its place among those given.
    code
        Why.
    measured
        The numbers that say so.
    """

    organ: str
    study: int
    code: str
    measured: Mapping[str, float]
