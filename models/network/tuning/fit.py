"""One fit of one head: AdamW on sampled voxels, looks at patients that only judge, kept at every look."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.errors import TrainingDiverged
from models.network.heads import Head
from models.network.training.losses import segmentation_loss
from models.network.training.state import Keep, whole_state, write_state
from models.network.training.train import warm_cosine
from models.network.tuning.flops import FlopTally
from models.network.tuning.samples import OrganVoxels, key_of
from models.network.voxel_taps import VoxelTaps
from models.tuning.settings import LOOKS, TuningSettings

CHUNK = 1 << 16
"""Voxels judged at a time."""

VOXELS_A_WINDOW = 16
"""Voxels of a step that are drawn of one window, where a head makes its weights anew for each window."""

Judge = Callable[[Head], float | None]
"""Scores a head on patients it does not learn from, higher is better; None if there are none."""


class Checkpoints:
    """What fits have come to, in a folder, so that a killed run goes on where it was.

    Parameters
    ----------
    folder
        Belongs to one run: same trunk, heads, studies and settings. None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, name: str) -> dict[str, Any] | None:
        """Return what was saved under a name; None if nothing whole was, and the fit begins anew."""
        if self._folder is None:
            return None
        try:
            return whole_state((self._folder / f"{name}.pt").read_bytes())
        except FileNotFoundError:
            return None

    def save(self, name: str, state: Mapping[str, object]) -> None:
        """Keep a state of tensors and plain values; whoever is killed meanwhile finds the one before."""
        if self._folder is not None:
            write_state(Keep(self._folder / f"{name}.pt"), state)


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit came to.

    Parameters
    ----------
    head
        As it was at the best look; frozen.
    steps
        Until then.
    taken
        Steps taken in all, by this process.
    curve
        Mean loss since the point before, by step.
    """

    head: Head
    steps: int
    taken: int
    curve: tuple[tuple[int, float], ...]


def fit(
    name: str,
    organ: str,
    start: Head,
    pulled: bool,
    voxels: OrganVoxels,
    studies: Sequence[int],
    settings: TuningSettings,
    checkpoints: Checkpoints,
    tally: FlopTally,
    judge: Judge | None = None,
    every: int = 20,
    told: Callable[[int, float], None] = lambda step, loss: None,
) -> Fit:
    """Minimise the loss over some studies' voxels.

    Parameters
    ----------
    name
        Of its checkpoint.
    organ
        Gives the draws of batches.
    start
        Where the head begins; it is not changed. Members learn together, each from its own loss.
    pulled
        Whether it is pulled back to where it began.
    voxels, studies
        What is learnt, from which studies.
    settings
        How.
    checkpoints, tally
        Where it is kept, and what it takes.
    judge
        Looked at `LOOKS` times; the best look counts, and `patience` looks without a gain end the fit.
        None: the last step counts.
    every, told
        Steps between two points of the curve, and who is told of them.

    Returns
    -------
    Fit
        The same whether or not it was cut short and taken up again.

    Raises
    ------
    TrainingDiverged
        If the loss is no finite number any more.
    """
    device = torch.device(settings.device)
    last = settings.steps
    look_every = max(1, settings.steps // LOOKS)
    units = voxels.units(studies)
    count = min(max(1, settings.batch_voxels // voxels.unit), len(units))
    together = VOXELS_A_WINDOW if start.spec.form == "text-driven" and voxels.unit == 1 else 1
    taps, truth, weight = voxels.seen_by(start.spec), voxels.truth, voxels.weight
    head = copy.deepcopy(start).to(device).train().requires_grad_(True)
    beginning = [parameter.detach().clone() for parameter in head.parameters()]
    optimiser = torch.optim.AdamW(head.parameters(), settings.learning_rate, weight_decay=0.0)
    draws = torch.Generator().manual_seed(1_000_003 * settings.seed + key_of(organ))
    state: dict[str, Any] = {
        "step": 0, "losses": [], "curve": [], "best": None, "best_step": 0, "worse": 0,
        "kept": head.state_dict(), "ended": False,
    }  # fmt: skip
    before = checkpoints.load(name)
    if before is not None:
        head.load_state_dict(before.pop("head"))
        optimiser.load_state_dict(before.pop("optimiser"))
        draws.set_state(before.pop("draws"))
        state = before
    begun_at = state["step"]
    while state["step"] < last and not state["ended"]:
        step = state["step"] = state["step"] + 1
        rate = settings.learning_rate * warm_cosine(step - 1, settings.warm_up, settings.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        drawn = voxels.draw(units, count, together, draws)
        index, seen = voxels.rows(drawn), voxels.seen(taps, drawn)

        def loss_of(seen: VoxelTaps = seen, index: Tensor = index) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = voxels.odds(head.members_on_voxels(seen), index)
            loss = segmentation_loss(logits, truth[index][:, None].expand_as(logits), weight[index][:, None])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            return loss.detach()

        loss = tally.run(f"step {start.spec} {len(index)} {seen.windows}", loss_of)
        if not torch.isfinite(loss):
            raise TrainingDiverged(f"{organ}, step {step}: the loss is no finite number")
        optimiser.step()
        if pulled:
            with torch.no_grad():
                for parameter, begun in zip(head.parameters(), beginning, strict=True):
                    parameter.lerp_(begun, rate * settings.decay)
        state["losses"].append(float(loss))
        if step % every == 0 or step == last:
            mean = float(np.mean(state["losses"]))
            state["curve"].append([step, mean])
            state["losses"] = []
            told(step, mean)
        if step % look_every == 0 or step == last:
            _look(head, judge, state, settings.patience)
            checkpoints.save(
                name,
                {**state, "head": head.state_dict(), "optimiser": optimiser.state_dict(),
                 "draws": draws.get_state()},
            )  # fmt: skip
    head.load_state_dict(state["kept"])
    curve = tuple((int(step), float(loss)) for step, loss in state["curve"])
    return Fit(head.cpu().requires_grad_(False).eval(), state["best_step"], state["step"] - begun_at, curve)


def _look(head: Head, judge: Judge | None, state: dict[str, Any], patience: int) -> None:
    """Compare the head with the best look before, and end the fit where nothing is gained any more."""
    score = None if judge is None else judge(head)
    if score is None or state["best"] is None or score > state["best"]:
        state.update(best=score, best_step=state["step"], worse=0)
        state["kept"] = {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}
    else:
        state["worse"] += 1
        state["ended"] = state["worse"] >= patience


def study_dsc(
    head: Head,
    voxels: OrganVoxels,
    studies: Sequence[int],
    threshold: float,
    tally: FlopTally,
    soft: bool = False,
) -> dict[int, float | None]:
    """Estimate a head's DSC in some studies from their sampled voxels.

    Sums over a study's voxels, each over the probability with which it was drawn, are unbiased for the
    sums over all voxels, so that their ratio is the DSC to the sampling error. A voxel that two windows
    saw counts in both.

    Parameters
    ----------
    head
        On the voxels' device.
    voxels, studies
        Where it is measured.
    threshold
        From which probability, and from which share of a voxel, it belongs to the organ.
    tally
        Told what it takes.
    soft
        Whether probabilities and shares are taken as they are: a head that is on its way to an organ it
        does not find yet is told from one that is not.

    Returns
    -------
    dict
        By study; None where neither label nor answer hold a voxel that counts.
    """
    rows = voxels.of(studies)
    taps = voxels.seen_by(head.spec)
    limit = float(np.log(threshold / (1 - threshold)))
    device = rows.device.type
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        logits = []
        for part in voxels.units(studies).split(CHUNK // voxels.unit):
            seen = voxels.seen(taps, part)
            name = f"judge {head.spec} {len(part)} {seen.windows}"
            logits.append(tally.run(name, partial(head.on_voxels, seen)))
    logit = torch.cat(logits) if logits else torch.zeros(0)
    odds, margin = voxels.odds(logit[:, None], rows)[:, 0].double(), voxels.margin(logit, rows).double()
    truth, weight, study = voxels.truth[rows], voxels.weight[rows].double(), voxels.study[rows]
    answer = torch.sigmoid(odds) if soft else (margin >= limit).double()
    label = truth.double() if soft else (truth >= threshold).double()
    found: dict[int, float | None] = {}
    for number in studies:
        here = study == number
        both = (weight * answer * label)[here].sum()
        size = (weight * (answer + label))[here].sum()
        found[number] = float(2 * both / size) if size > 0 else None
    return found


def mean_dsc(found: Mapping[int, float | None]) -> float | None:
    """Return the mean over the studies where there is a DSC."""
    known = [dsc for dsc in found.values() if dsc is not None]
    return float(np.mean(known)) if known else None
