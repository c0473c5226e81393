"""The experiments by name; each is done once and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.judgement.importance import importance_ml
from models.network.heads import Head
from models.network.training.train import Start, TrainingCase
from models.network.trunk import Trunk
from models.network.tuning.samples import TuningStudy
from models.tuning.replay import choose_replay
from models.tuning.settings import Level, TuningSettings
from tests.bench.continual import cohort, head_versions, shared_heads
from tests.bench.continual.cohort import SITES, Study
from tests.bench.continual.measuring import answer, measure
from tests.bench.continual.methods import (
    at_level,
    digests,
    hybrid,
    incumbent,
    say,
    settings,
    trained,
    training_case,
    tuned,
    tuning_study,
)
from tests.bench.continual.scale import REVISED, Scale, once

REPLAYED = 12
"""Studies of the old site that are replayed beside the revised ones."""

Found = dict[str, Any]
"""By site what `measure` gave, beside what it cost."""

LEVELS = (Level.HEAD, Level.COARSE, Level.NEIGHBOURHOOD)
"""Levels that only a head is made for."""

TOP = Level.NEIGHBOURHOOD
"""The level of the experiments that do not compare levels."""


class Experiments:
    """The experiments of one trunk at one scale."""

    def __init__(self, scale: Scale, trunk: str) -> None:
        self.scale, self.trunk = scale, trunk
        self.contract = scale.contract(trunk)

    @property
    def steps(self) -> Mapping[str, Callable[[], Found]]:
        """Every experiment in the order in which it is done."""
        scale, first = self.scale, self.scale.first
        both = first + scale.second
        short, long = scale.steps[self.trunk], scale.full_steps[self.trunk]
        named: dict[str, Callable[[], Found]] = {
            "incumbent": self._incumbent,
            **{f"tuned-{level}-1": lambda level=level: self._tuned(first, level) for level in LEVELS},
            f"tuned-{TOP}-2": lambda: self._tuned(both, TOP),
            "shared-incumbent": lambda: self._shared(tuned_on_revised=False),
            "shared-revised-1": lambda: self._shared(tuned_on_revised=True),
            "whole-revised-background-1": lambda: self._whole_revised(background=True),
            "whole-revised-1": lambda: self._whole_revised(background=False),
        }
        if self.trunk == "unet":
            named |= {
                "no-replay-1": lambda: self._tuned_on(self._new()[:first], replay=None),
                "replay-important-1": lambda: self._tuned_on(self._new()[:first], replay="important"),
                "partial-masked-1": lambda: self._partial(background=False),
                "partial-background-1": lambda: self._partial(background=True),
                "partial-whole-1": self._partial_whole,
                "many-sites": self._many_sites,
                **{f"only-{site}": lambda site=site: self._only(site) for site in SITES if site != "A"},
                "chosen-by-rule-1": self._chosen_by_rule,
                "revised-important-1": lambda: self._tuned_on(self._important(self._new(), first)),
                "revised-random-1": lambda: self._tuned_on(_drawn(self._new(), first, 1)),
                "revised-random-2": lambda: self._tuned_on(_drawn(self._new(), first, 2)),
                "tuned-block-1": lambda: self._tuned(first, Level.BLOCK),
                "tuned-ladder-1": lambda: self._tuned(first, None),
                "full-short-1": lambda: self._full(first, short),
                "full-uniform-1": lambda: self._full(first, short, balanced=False),
            }
        return named | {
            "whole-hybrid-1": self._whole_hybrid,
            "full-1": lambda: self._full(first, long),
            "full-2": lambda: self._full(both, long),
        }

    def result(self, name: str) -> Found:
        """Return one experiment, done if it has not been."""

        def compute() -> Found:
            say(f"{self.trunk} {name}")
            return self.steps[name]()

        return once(self._path(name), compute)

    def done(self, name: str) -> bool:
        """Tell whether an experiment has been done."""
        return self._path(name).exists()

    def _path(self, name: str) -> Path:
        return self.scale.folder / self.trunk / f"{name}.json"

    def _measured(self, network: Start, sites: Sequence[str] = ("A", "B"), **cost: Any) -> Found:
        trunk, heads = network
        by_site = {
            site: measure(trunk, heads, self.contract, cohort.tests(self.scale, site)) for site in sites
        }
        return {"sites": by_site, **cost}

    def _old(self) -> list[Study]:
        return cohort.old_site(self.scale)

    def _new(self) -> list[Study]:
        return cohort.new_site(self.scale)

    def _incumbent(self) -> Found:
        network, cost = incumbent(self.scale, self.trunk)
        return self._measured(network, tuple(SITES), cost=cost, digests=digests(network))

    def _full(self, revised: int, steps: int, balanced: bool = True) -> Found:
        """Full Training: from scratch, on every study of the new site."""
        scale = self.scale
        name = f"full-{revised}-{steps}" if balanced else f"full-uniform-{revised}-{steps}"
        cases = hybrid(scale, self.trunk, revised, balanced)
        how = settings(scale, self.trunk, steps)
        network, cost = trained(scale, self.trunk, name, cases, how, tests=cohort.tests(scale, "B"))
        return self._measured(network, cost=cost, studies=scale.cohort)

    def _whole_hybrid(self) -> Found:
        """The sustainer: the whole network from the incumbent's weights, on every study of the new site."""
        scale = self.scale
        how = settings(scale, self.trunk, scale.steps[self.trunk] // 3, 0.5)
        cases = hybrid(scale, self.trunk, scale.first)
        start, _ = incumbent(scale, self.trunk)
        network, cost = trained(
            scale, self.trunk, "whole-hybrid", cases, how, start, cohort.tests(scale, "B")
        )
        return self._measured(network, cost=cost, studies=scale.cohort)

    def _whole_revised(self, background: bool) -> Found:
        """The whole network from the incumbent's weights, on the revised organs of the revised studies."""
        scale = self.scale
        name = "whole-revised-background" if background else "whole-revised"
        how = settings(scale, self.trunk, scale.steps[self.trunk] // 3)
        start, _ = incumbent(scale, self.trunk)
        network, cost = trained(scale, self.trunk, name, self._revised_only(background), how, start)
        return self._measured(network, cost=cost, studies=scale.first)

    def _revised_only(self, background: bool) -> list[TrainingCase]:
        """Return the revised studies with four organs; the others unlabelled, or taken for background."""
        cases = []
        for study in self._new()[: self.scale.first]:
            labels = {organ: study.truth[organ] for organ in REVISED}
            if background:
                labels = {organ: labels.get(organ, np.zeros(study.hu.shape, bool)) for organ in study.truth}
            cases.append(training_case(study, labels))
        return cases

    def _shared(self, tuned_on_revised: bool) -> Found:
        """Shared heads on the same frozen trunk, fitted on the old site; then on the revised organs alone."""
        scale, contract = self.scale, self.contract
        (trunk, _), _ = incumbent(scale, self.trunk)
        torch.manual_seed(0)
        layers = shared_heads.SharedLayers(contract.feature_channels, 2 * scale.hidden, len(contract.organs))
        cases = [training_case(study, study.truth) for study in self._old()]
        shared_heads.fit(layers, trunk, cases, contract, scale.steps[self.trunk])
        if tuned_on_revised:
            layers.requires_grad_(True)
            shared_heads.fit(layers, trunk, self._revised_only(False), contract, scale.tuning_steps)
        return self._measured((trunk, shared_heads.heads_of(layers, contract, 2 * scale.hidden)))

    def _replayed(self, how: str | None) -> list[TuningStudy]:
        old = self._old()
        if how is None:
            return []
        chosen = self._important(old, REPLAYED) if how == "important" else _drawn(old, REPLAYED, 0)
        return [tuning_study(study, replayed=True) for study in chosen]

    def _tuned(self, revised: int, level: Level | None) -> Found:
        return self._tuned_on(self._new()[:revised], level, counted=revised == self.scale.first)

    def _tuned_on(
        self,
        revised: Sequence[Study],
        level: Level | None = TOP,
        replay: str | None = "random",
        counted: bool = False,
    ) -> Found:
        studies = [tuning_study(study) for study in revised] + self._replayed(replay)
        return self._from(studies, at_level(self.scale, level), len(revised), counted=counted)

    def _from(
        self,
        studies: Sequence[TuningStudy],
        how: TuningSettings,
        revised: int,
        sites: Sequence[str] = ("A", "B"),
        counted: bool = False,
    ) -> Found:
        start, _ = incumbent(self.scale, self.trunk)
        heads, cost = tuned(start, self.contract, studies, how, counted)
        network = (start[0], heads)
        return self._measured(network, sites, cost=cost, studies=revised, digests=digests(network))

    def _important(self, studies: Sequence[Study], count: int) -> list[Study]:
        """Return studies as replay chooses them: the incumbent's doubt on the revised organs, and variety."""
        (trunk, heads), _ = incumbent(self.scale, self.trunk)
        path = self.scale.folder / self.trunk / f"importance-{studies[0].name}-{len(studies)}.json"
        kept = once(path, lambda: {study.name: self._worth(study, trunk, heads) for study in studies})
        worth = np.array([kept[study.name][0] for study in studies])
        features = np.array([kept[study.name][1] for study in studies])
        return [studies[number] for number in choose_replay(worth, features, count)]

    def _worth(self, study: Study, trunk: Trunk, heads: Mapping[str, Head]) -> tuple[float, list[float]]:
        """Return how much of the revised organs is in doubt, millilitres, and where the study lies."""
        answered = answer(trunk, heads, self.contract, study)
        masks = answered.probability >= 0.5
        total = 0.0
        for number, organ in enumerate(self.contract.organs):
            if organ in REVISED:
                probability, spread = answered.probability[number], answered.disagreement[number]
                overlap = masks[number] & (masks.sum(0) > 1)
                total += importance_ml(probability, spread, overlap, self.contract.spacing_mm)
        return total, [float(one) for one in answered.global_feature.mean(0)]

    def _partial(self, background: bool) -> Found:
        """Half of the labels: each revised study has two of the four organs, the others nobody drew."""
        studies = []
        for number, study in enumerate(self._new()[: self.scale.first]):
            drawn = REVISED[:2] if number % 2 else REVISED[2:]
            one = tuning_study(study, drawn)
            if background:
                empty = np.zeros(study.hu.shape, np.uint8)
                one.truth.update({organ: empty for organ in REVISED if organ not in drawn})  # type: ignore[attr-defined]
            studies.append(one)
        return self._from(studies + self._replayed("random"), at_level(self.scale, TOP), len(studies))

    def _partial_whole(self) -> Found:
        """As many labels as in the half-labelled studies, in half as many studies with all four."""
        return self._tuned_on(self._new()[: self.scale.first // 2])

    def _only(self, site: str) -> Found:
        """Head versions: tuned on one site alone, for that site alone."""
        studies = [tuning_study(one) for one in self._of(site, self.scale.first)]
        return self._from(studies, at_level(self.scale, TOP), len(studies), tuple(SITES))

    def _chosen_by_rule(self) -> Found:
        """Head versions without being told the site: the incumbent's heads or those of B, by a rule."""
        start, _ = incumbent(self.scale, self.trunk)
        chosen = head_versions.choices(self.scale, start[0], self.contract)
        sites = head_versions.by_choice(self.result("incumbent"), self.result("only-B"), chosen)
        return {"sites": sites, "chosen": chosen}

    def _many_sites(self) -> Found:
        """One head for every site: as many revised studies, drawn from three sites, and replay of the old."""
        share = self.scale.first // 3
        studies = [tuning_study(one) for site in ("B", "C", "D") for one in self._of(site, share)]
        how = at_level(self.scale, TOP)
        return self._from(studies + self._replayed("random"), how, len(studies), tuple(SITES))

    def _of(self, site: str, count: int) -> list[Study]:
        return cohort.studies(self.scale, site, cohort.COHORT_SEED, count)


def _drawn(studies: Sequence[Study], count: int, seed: int) -> list[Study]:
    """Return some studies by the draw of a seed."""
    order = np.random.default_rng(seed).permutation(len(studies))[:count]
    return [studies[number] for number in order]


def run(experiments: Experiments, seconds: float) -> bool:
    """Do what has not been done yet; nothing is begun once so many seconds have passed.

    Returns
    -------
    bool
        Whether all is done.
    """
    began = time.monotonic()
    for name in experiments.steps:
        if not experiments.done(name):
            if time.monotonic() - began > seconds:
                return False
            experiments.result(name)
    return True
