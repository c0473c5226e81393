"""Ways to learn: Full Training, the whole network on revised organs, and private heads on a frozen trunk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from models.body import body_mask
from models.contract import ModelContract
from models.masks import bounding_box
from models.network.heads import Head
from models.network.training.state import Keep, read_state
from models.network.training.train import Progress, Start, TrainingCase, TrainingSettings, train, untrained
from models.network.tuning.samples import TuningStudy
from models.network.tuning.tune import tune_heads
from models.network.weights import head_from_bytes, head_to_bytes, trunk_from_bytes, trunk_to_bytes
from models.organs import ORGANS
from models.release import sha256_hex
from models.tuning.settings import Level, TuningSettings
from tests.bench.continual import cohort
from tests.bench.continual.cohort import Study
from tests.bench.continual.measuring import answer, flops, means, measure, timed
from tests.bench.continual.scale import KEPT, REVISED, Scale, device

SNAPSHOTS = 8
"""How often Full Training is measured on its way."""

SNAPSHOT_STUDIES = 10
"""Test studies it is measured on then."""

Labels = Mapping[str, np.ndarray]
"""By organ a bool mask, axes (k, j, i); an organ that is not named is not labelled."""


def training_case(study: Study, labels: Labels) -> TrainingCase:
    """Return a study as training wants it; organs without a label take no part."""
    nothing = np.zeros(study.hu.shape, bool)
    truth = 255 * np.stack([labels.get(organ, nothing) for organ in ORGANS]).astype(np.uint8)
    told = np.array([255 if organ in labels else 0 for organ in ORGANS], np.uint8)
    weight = np.broadcast_to(told[:, None, None, None], truth.shape)
    body = bounding_box(body_mask(study.hu))
    assert body is not None
    return TrainingCase(study.hu, truth, body, None if told.all() else weight)


def settings(scale: Scale, trunk: str, steps: int, share: float = 1.0) -> TrainingSettings:
    """Return how a network of this scale is trained; `share` of the usual learning rate."""
    return TrainingSettings(
        steps=steps, learning_rate=share * scale.learning_rate[trunk], hidden=scale.hidden
    )


def say(text: str) -> None:
    """Tell where things are."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def trained(
    scale: Scale,
    trunk: str,
    name: str,
    cases: Sequence[TrainingCase],
    how: TrainingSettings,
    start: Start | None = None,
    tests: Sequence[Study] = (),
) -> tuple[Start, dict[str, Any]]:
    """Train a network, or read what was trained, and say what it cost.

    Parameters
    ----------
    scale, trunk, name
        Under which it is kept.
    cases, how, start
        As `train` wants them.
    tests
        Where it is measured on the way; none: not at all.

    Returns
    -------
    network, cost
        What is read back from its files; ``steps``, ``cpu_seconds``, ``wall_seconds``, ``flops_a_step``, and
        ``curve``, pairs of steps and the mean DSC of the revised organs.
    """
    contract, folder = scale.contract(trunk), scale.folder / trunk / "networks" / name
    if not (folder / "cost.pt").exists():
        keep = Keep(folder / "state.pt", every=max(1, how.steps // SNAPSHOTS))
        clock, curve, begun = [0.0, 0.0], [], read_state(keep)
        if begun is not None:
            clock, curve = torch.load(folder / "clock.pt")

        def told(at: Progress) -> None:
            say(f"{trunk} {name}: step {at.step}/{at.steps}, loss {at.loss:.3f}")
            clock[0], clock[1] = spent.wall_now(), spent.cpu_now()
            if tests:
                curve.append((at.step, snapshot(keep, contract, scale, tests)))
            torch.save((list(clock), list(curve)), folder / "clock.pt")
            spent.paused(clock)

        spent = _Clock(clock)
        network, heads = train(
            cases, contract, how, told, keep.every, start=start, keep=keep, device=device()
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trunk").write_bytes(trunk_to_bytes(network))
        for organ in contract.organs:
            (folder / organ).write_bytes(head_to_bytes(heads[organ]))
        single = TrainingSettings(steps=1, hidden=how.hidden)
        cost = {
            "steps": how.steps,
            "wall_seconds": clock[0],
            "cpu_seconds": clock[1],
            "flops_a_step": flops(lambda: train(cases[:1], contract, single, lambda _: None, start=start)),
            "curve": curve,
        }
        torch.save(cost, folder / "cost.pt")
        keep.path.unlink()
    heads = {organ: head_from_bytes((folder / organ).read_bytes()) for organ in contract.organs}
    return (trunk_from_bytes((folder / "trunk").read_bytes()), heads), torch.load(folder / "cost.pt")


class _Clock:
    """Wall and processor time of training alone, without the snapshots in between."""

    def __init__(self, before: Sequence[float]) -> None:
        self.paused(before)

    def paused(self, before: Sequence[float]) -> None:
        self.wall = time.perf_counter() - before[0]
        self.cpu = time.process_time() - before[1]

    def wall_now(self) -> float:
        return time.perf_counter() - self.wall

    def cpu_now(self) -> float:
        return time.process_time() - self.cpu


def snapshot(keep: Keep, contract: ModelContract, scale: Scale, tests: Sequence[Study]) -> float:
    """Return the mean DSC of the revised organs of a run as it is kept."""
    state = read_state(keep)
    assert state is not None
    trunk, heads = untrained(contract, TrainingSettings(hidden=scale.hidden))
    modules = torch.nn.ModuleList([trunk, *heads.values()])
    modules.load_state_dict(state["weights"])
    modules.requires_grad_(False).eval()
    return means(measure(trunk, heads, contract, tests[:SNAPSHOT_STUDIES]), REVISED)


def incumbent(scale: Scale, trunk: str) -> tuple[Start, dict[str, Any]]:
    """Return the release that serves: trained on the old site with all organs labelled."""
    cases = [training_case(study, study.truth) for study in cohort.old_site(scale)]
    return trained(scale, trunk, "incumbent", cases, settings(scale, trunk, scale.steps[trunk]))


def predicted(scale: Scale, trunk: str) -> list[tuple[Study, Labels]]:
    """Return the cohort of the new site with the incumbent's masks of the organs that nobody revises."""
    (network, heads), _ = incumbent(scale, trunk)
    contract = scale.contract(trunk)
    labelled = []
    for study in cohort.new_site(scale):
        path = scale.folder / trunk / "predicted" / f"{study.name}.npz"
        if not path.exists():
            probability = answer(network, heads, contract, study).probability
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, mask=probability >= 0.5)
        with np.load(path) as kept:
            masks = dict(zip(contract.organs, kept["mask"], strict=True))
        labelled.append((study, {organ: masks[organ] for organ in KEPT}))
    return labelled


def hybrid(scale: Scale, trunk: str, revised: int, balanced: bool = True) -> list[TrainingCase]:
    """Return all studies of the new site: five organs by the incumbent, four by readers where revised.

    Balanced, a revised study comes so often that every second window is of one; else four organs are
    learnt from one window in seventeen.
    """
    cases: list[TrainingCase] = []
    for number, (study, labels) in enumerate(predicted(scale, trunk)):
        if number >= revised:
            cases.append(training_case(study, labels))
            continue
        often = (scale.cohort - revised) // revised if balanced else 1
        cases += often * [training_case(study, {**labels, **_revised(study)})]
    return cases


def _revised(study: Study) -> Labels:
    return {organ: study.truth[organ] for organ in REVISED}


def tuning_study(study: Study, organs: Sequence[str] = REVISED, replayed: bool = False) -> TuningStudy:
    """Return a study as tuning wants it, with the truth of some organs."""
    truth = {organ: 255 * study.truth[organ].astype(np.uint8) for organ in organs}
    return TuningStudy(study.hu, truth, patient=study.name, replayed=replayed)


def tuned(
    network: Start,
    contract: ModelContract,
    studies: Sequence[TuningStudy],
    how: TuningSettings,
    counted: bool = False,
) -> tuple[dict[str, Head], dict[str, Any]]:
    """Tune the private heads of the revised organs; return all heads, and what it cost.

    Operations are counted in a second run of the same: counting takes time.
    """
    trunk, heads = network
    with timed() as taken:
        result = tune_heads(trunk, heads, studies, REVISED, contract, how, lambda _: None)
    cost = {
        "wall_seconds": taken.wall,
        "cpu_seconds": taken.cpu,
        "measured": asdict(result.cost),
        "parameters": {o: sum(p.numel() for p in h.parameters()) for o, h in result.heads.items()},
        "ladders": {organ: asdict(ladder) for organ, ladder in result.ladders.items()},
    }
    if counted:
        again = tune_heads(trunk, heads, studies, REVISED, contract, how, lambda _: None, count_flops=True)
        cost["counted"] = asdict(again.cost)
    return {**heads, **result.heads}, cost


def at_level(scale: Scale, level: Level | None) -> TuningSettings:
    """Return how heads of this scale are tuned at one level; None climbs the ladder as far as by default."""
    return TuningSettings(level=level, steps=scale.tuning_steps, device=device())


def digests(network: Start) -> dict[str, str]:
    """Return the SHA-256 of the trunk's file and of each head's."""
    trunk, heads = network
    files = {"trunk": trunk_to_bytes(trunk, exact=True)}
    return {name: sha256_hex(content) for name, content in files.items()} | {
        organ: sha256_hex(head_to_bytes(head)) for organ, head in heads.items()
    }
