"""Tuning: the heads of some organs learn from corrected studies; trunk and other heads stay as they are."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from models.contract import ModelContract
from models.network.heads import Head, HeadSpec, build_head, with_taps
from models.network.training.train import Progress, Report
from models.network.trunk import Trunk
from models.network.tuning.fit import Checkpoints, Fit, fit, mean_dsc, study_dsc
from models.network.tuning.flops import FlopTally
from models.network.tuning.looking import Sees, nobody
from models.network.tuning.samples import OrganVoxels, TuningStudy, extract, key_of
from models.organs import KEYS
from models.organs import organ as catalogued
from models.tuning.ladder import ANY_TARGET, choose, meets, split, worth_keeping
from models.tuning.settings import Cost, Doubt, Ladder, LadderEnd, Level, Rung, TuningSettings

BLOCK_CHANNELS = 16
"""Channels of a private last block."""

AGREES = 0.6
"""Median DSC of a first fit over the studies from which on one that it does not fit stands alone."""

CONTRADICTS = 0.3
"""A study that a first fit meets no better than this, where it meets the others, contradicts them."""

CONTRADICTING_WEIGHT = 0.25
"""How far such a study still counts."""

FEWEST_TO_AGREE = 4
"""Studies below which none is said to contradict the others."""


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
        The tuned heads only, by organ; frozen, float32. An organ whose ladder chose no level has none.
    curve
        Loss of the last fit, by organ and step.
    ladders
        By organ, the levels tried and the one that was kept.
    doubts
        Labels that counted for less, and why.
    cost
        Windows, seconds, FLOPs.
    """

    heads: Mapping[str, Head]
    curve: tuple[CurvePoint, ...]
    ladders: Mapping[str, Ladder]
    doubts: tuple[Doubt, ...]
    cost: Cost


def level_spec(level: Level, head: HeadSpec, contract: ModelContract) -> HeadSpec:
    """Return the taps of a head tuned at a level; taps it has already stay."""
    if level is Level.HEAD:
        return head
    coarse = tuple(enumerate(contract.coarse_channels, 1))
    neighbourhood = head.neighbourhood or level is not Level.COARSE
    block = head.block or (BLOCK_CHANNELS if level is Level.BLOCK else 0)
    return replace(head, coarse=coarse, neighbourhood=neighbourhood, block=block)


def tune_heads(
    trunk: Trunk,
    heads: Mapping[str, Head],
    studies: Sequence[TuningStudy],
    organs: Sequence[str],
    contract: ModelContract,
    settings: TuningSettings,
    report: Report,
    every: int = 20,
    folder: Path | None = None,
    count_flops: bool = False,
    sees: Sees | None = None,
    looked: Callable[[int, int], None] = nobody,
) -> TuningResult:
    """Tune the heads of some organs on features of a frozen trunk.

    Each level of the ladder is fitted to the training patients and judged on the others; the lowest that
    meets the organ's target is kept, and fitted again to all patients, to the end of the schedule: stopped
    where a rung was best, a head would still be at nearly the highest rate. A fixed level is fitted to all
    patients at once and judged by nobody.

    Parameters
    ----------
    trunk, heads
        The incumbent's; they are not changed. An organ without a head gets a new one.
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
        Told now and then where the run is; a step is one organ's, the ladder counted to its end.
    every
        Steps between two points of the curve.
    folder
        Where to keep what has come of this very run, so that it can be taken up again; only features
        are extracted anew.
    count_flops
        Whether to count FLOP, which takes some seconds.
    sees, looked
        As of `models.network.tuning.samples.extract`.

    Returns
    -------
    TuningResult
        The same for the same arguments, device and number of threads, however often it was cut short.

    Raises
    ------
    ValueError
        If an organ is labelled in no study.
    """
    began = time.monotonic()
    incumbents = {organ: heads.get(organ) for organ in organs}
    first = {organ: _first(organ, heads, contract, settings) for organ in organs}
    highest = settings.ladder[-1]
    specs = {organ: level_spec(highest, head.spec, contract) for organ, head in first.items()}
    tally = FlopTally(count_flops)
    voxels, cost = extract(trunk, incumbents, specs, studies, contract, settings, tally, sees, looked)
    fits = len(organs) * (1 if settings.level else len(_rungs(contract, settings)) + 1)
    told = _Told(report, began, fits * settings.steps)
    tuned, curve, ladders, doubts = {}, [], {}, []
    fitting = time.monotonic()
    for organ in organs:
        climb = _Climb(
            organ, first[organ], heads.get(organ) is not None, voxels.pop(organ), studies, contract,
            settings, Checkpoints(folder), tally, every, told,
        )  # fmt: skip
        last, ladders[organ] = climb.run()
        if last is not None:
            tuned[organ] = last.head.cpu()
            curve += [CurvePoint(organ, step, loss) for step, loss in last.curve]
        doubts += climb.doubts
        cost = replace(cost, steps=cost.steps + climb.steps)
    cost = replace(
        cost, fit_seconds=time.monotonic() - fitting, fit_flops=tally.total - cost.extraction_flops
    )
    return TuningResult(tuned, tuple(curve), ladders, tuple(doubts), cost)


def _rungs(contract: ModelContract, settings: TuningSettings) -> tuple[Level, ...]:
    """Return the levels that are tried; where the trunk shows no coarser maps, they are none."""
    coarse = bool(contract.coarse_channels)
    return tuple(level for level in settings.ladder if coarse or level is not Level.COARSE)


class _Told:
    """Progress over all fits."""

    def __init__(self, report: Report, began: float, total: int) -> None:
        self._report, self._began, self._total = report, began, total
        self._fitting = time.monotonic()
        self.done = 0

    def step(self, step: int, loss: float) -> None:
        """Tell of a step of the fit under way."""
        steps = min(self.done + step, self._total)
        now = time.monotonic()
        left = (now - self._fitting) / max(steps, 1) * (self._total - steps)
        self._report(Progress(steps, self._total, loss, now - self._began, left))


class _Climb:
    """The ladder of one organ."""

    def __init__(
        self,
        organ: str,
        first: Head,
        pulled: bool,
        voxels: OrganVoxels,
        studies: Sequence[TuningStudy],
        contract: ModelContract,
        settings: TuningSettings,
        checkpoints: Checkpoints,
        tally: FlopTally,
        every: int,
        told: _Told,
    ) -> None:
        self.organ, self.first, self.pulled = organ, first, pulled
        self.contract, self.settings, self.checkpoints = contract, settings, checkpoints
        self.tally, self.every, self.told = tally, every, told
        self.voxels = voxels.to(torch.device(settings.device))
        self.labelled = [n for n, study in enumerate(studies) if organ in study.truth]
        self.old = {n for n in self.labelled if studies[n].replayed}
        self.patients = {n: studies[n].patient or f"study {n}" for n in self.labelled}
        self.threshold = contract.thresholds.get(organ, 0.5)
        known = catalogued(organ).dsc_target if organ in KEYS else None
        self.target = settings.targets.get(organ, ANY_TARGET if known is None else known)
        self.doubts: list[Doubt] = []
        self.steps = 0

    def run(self) -> tuple[Fit | None, Ladder]:
        """Climb, and fit the level that was chosen to all patients; None where the head stays as it is."""
        judges = self._judges()
        before = self._before(judges)
        rungs: list[Rung] = []
        if self.settings.level is None and judges:
            for level in _rungs(self.contract, self.settings):
                rung, head = self._rung(level, judges)
                if not self.doubts and self._doubt(head):
                    judges = self._judges()
                    before, rungs = self._before(judges), []  # the levels below agreed with nobody
                    rung, _ = self._rung(level, judges)
                rungs.append(rung)
                if meets(rungs[-1], before, self.target):
                    break
            chosen, end = choose(rungs, before, self.target)
            if not worth_keeping(chosen, before):
                return None, Ladder(before, tuple(rungs), None, end, self.target, self._shift())
            level = chosen.level or Level.HEAD
        else:
            level, end = self.settings.ladder[0], LadderEnd.NOT_VALIDATED
        last = self._fit(f"{self.organ}-{level}-all", level, self.labelled)
        if not rungs:
            rungs = [Rung(level, last.steps, self._mean(last.head, self.labelled), None, None)]
        return last, Ladder(before, tuple(rungs), level, end, self.target, self._shift())

    def _judges(self) -> frozenset[int]:
        """Draw the studies that only judge, of corrected and of replayed patients each; never in doubt."""
        random = np.random.default_rng([self.settings.seed, key_of(self.organ)])
        share = self.settings.validation_share
        doubted = {doubt.study for doubt in self.doubts}
        new = [self.patients[n] for n in self.labelled if n not in self.old | doubted]
        old = [self.patients[n] for n in self.labelled if n in self.old and self.patients[n] not in new]
        judging = split(new, share, random)
        if not judging:
            return frozenset()
        judging |= split(old, share, random)
        return frozenset(n for n in self.labelled if self.patients[n] in judging) - doubted

    def _learning(self, judges: frozenset[int]) -> list[int]:
        """Return the studies of the patients that do not judge; a judge's study in doubt does neither."""
        judging = {self.patients[n] for n in judges}
        return [n for n in self.labelled if self.patients[n] not in judging]

    def _before(self, judges: frozenset[int]) -> Rung:
        if not self.pulled:
            return Rung(None, 0, None, None, None)
        return self._scored(None, 0, self.first, judges)

    def _rung(self, level: Level, judges: frozenset[int]) -> tuple[Rung, Head]:
        """Fit a level to the patients that do not judge."""
        learning = self._learning(judges)

        def judge(head: Head) -> float | None:
            return self._scored(level, 0, head, judges, soft=True).score

        found = self._fit(f"{self.organ}-{level}-{len(self.doubts)}", level, learning, judge)
        return self._scored(level, found.steps, found.head, judges), found.head

    def _doubt(self, head: Head) -> bool:
        """Let corrected studies that contradict the others count for less; tell whether there are any.

        A study in which the organ is said not to be contradicts none that shows it.
        """
        shows = self.voxels.study[self.voxels.truth >= self.threshold].unique().tolist()
        found = self._dsc(head, [n for n in self.labelled if n not in self.old and n in shows])
        known = {n: dsc for n, dsc in found.items() if dsc is not None}
        if len(known) < FEWEST_TO_AGREE or np.median(list(known.values())) < AGREES:
            return False
        median = float(np.median(list(known.values())))
        self.doubts = [
            Doubt(self.organ, n, "contradicts-the-others", {"dsc": round(dsc, 3), "median": round(median, 3)})
            for n, dsc in known.items()
            if dsc <= CONTRADICTS
        ]
        self.voxels = self.voxels.weighing({d.study: CONTRADICTING_WEIGHT for d in self.doubts})
        return bool(self.doubts)

    def _shift(self) -> float | None:
        """Return how far the organ's features in corrected studies lie from those in replayed ones."""
        moments = []
        for studies in ([n for n in self.labelled if n not in self.old], sorted(self.old)):
            rows = self.voxels.of(studies)
            rows = rows[self.voxels.truth[rows] >= self.threshold]
            if not len(rows):
                return None
            features = self.voxels.taps.features[rows].double()
            weight = self.voxels.weight[rows].double()[:, None]
            mean = (weight * features).sum(0) / weight.sum()
            moments.append((mean, (weight * (features - mean) ** 2).sum(0) / weight.sum()))
        (new, new_spread), (old, old_spread) = moments
        spread = ((new_spread + old_spread) / 2).clamp_min(1e-12)
        return float(((new - old) ** 2 / spread).mean().sqrt())

    def _fit(
        self,
        name: str,
        level: Level,
        studies: Sequence[int],
        judge: Callable[[Head], float | None] | None = None,
    ) -> Fit:
        start = with_taps(self.first, level_spec(level, self.first.spec, self.contract))
        found = fit(
            name, self.organ, start, self.pulled, self.voxels, studies, self.settings, self.checkpoints,
            self.tally, judge, self.every, self.told.step,
        )  # fmt: skip
        self.told.done += self.settings.steps
        self.steps += found.taken
        return found

    def _scored(
        self, level: Level | None, steps: int, head: Head, judges: frozenset[int], soft: bool = False
    ) -> Rung:
        learning = self._learning(judges)
        return Rung(
            level,
            steps,
            None if soft else self._mean(head, learning),
            self._mean(head, [n for n in judges if n not in self.old], soft),
            self._mean(head, [n for n in judges if n in self.old], soft),
        )

    def _mean(self, head: Head, studies: Sequence[int], soft: bool = False) -> float | None:
        return mean_dsc(self._dsc(head, sorted(studies), soft))

    def _dsc(self, head: Head, studies: Sequence[int], soft: bool = False) -> dict[int, float | None]:
        device = torch.device(self.settings.device)
        on_device = head if device.type == "cpu" else copy.deepcopy(head).to(device)  # the caller's stays
        return study_dsc(on_device, self.voxels, studies, self.threshold, self.tally, soft)


def _first(organ: str, heads: Mapping[str, Head], contract: ModelContract, settings: TuningSettings) -> Head:
    """Return the incumbent's head, or one for a new organ, as wide and with as many members as the others."""
    if organ in heads:
        return heads[organ]
    others = max((head.spec for head in heads.values()), key=lambda spec: spec.members, default=None)
    spec = HeadSpec(contract.feature_channels)
    if others is not None and others.form == spec.form:
        spec = HeadSpec(contract.feature_channels, others.hidden, members=others.members)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1_000_003 * settings.seed + key_of(organ))
        return build_head(spec).requires_grad_(False).eval()
