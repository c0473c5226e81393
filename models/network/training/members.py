"""Further members for heads that are there: other starts, other studies, the same frozen trunk.

Source: Lakshminarayanan et al. 2017, arXiv:1612.01474, with the bagging of Breiman, Machine Learning 24
(1996) 123, because on frozen features other starts alone make members that agree too much.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.body import body_mask
from models.contract import ModelContract
from models.inference.windows import cut, network_input, plan
from models.network.heads import Head, build_head
from models.network.members import join_members
from models.network.training.losses import segmentation_loss
from models.network.training.sampling import draw_sample, gather_taps
from models.network.training.train import TrainingCase, cut_truth, warm_cosine
from models.network.trunk import Trunk
from models.network.voxel_taps import VoxelTaps


@dataclass(frozen=True)
class MemberSettings:
    """How to train members.

    Parameters
    ----------
    members
        Members of each head when done, those it has among them.
    steps
        Optimiser steps of each new member.
    batch_voxels
        Voxels per step.
    window_voxels
        Voxels kept of each window, per organ.
    learning_rate
        Peak of AdamW's.
    warm_up
        Steps of linear warm-up, then a cosine to 0.
    seed
        Of samples, starts, studies and batches; each organ and member draws its own numbers.
    """

    members: int = 3
    steps: int = 400
    batch_voxels: int = 8192
    window_voxels: int = 2048
    learning_rate: float = 1e-2
    warm_up: int = 20
    seed: int = 0


def train_members(
    trunk: Trunk,
    heads: Mapping[str, Head],
    cases: Sequence[TrainingCase],
    contract: ModelContract,
    settings: MemberSettings,
    say: Callable[[str], None],
) -> dict[str, Head]:
    """Give every head further members; those it has stay as they are, and come first.

    Parameters
    ----------
    trunk, heads
        Frozen. They are not changed.
    cases
        Studies on the model grid, every organ labelled. Each new member learns from as many, drawn from
        them with replacement.
    contract
        Windows, organs, thresholds.
    settings
        How to train.
    say
        Told one line now and then.

    Returns
    -------
    dict
        By organ; the same for the same arguments and number of threads.
    """
    pools = {organ: _Pool(organ, heads[organ], contract) for organ in contract.organs}
    for number, case in enumerate(cases):
        _gather(trunk, number, case, pools, contract, settings)
        if (number + 1) % 16 == 0 or number + 1 == len(cases):
            say(f"features of {number + 1}/{len(cases)} phantoms")
    members = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # products this small are slower on two
    try:
        for organ, pool in pools.items():
            head = heads[organ]
            further = [_fit(pool, n, settings) for n in range(head.spec.members, settings.members)]
            members[organ] = join_members([head, *further])
            say(f"members of {organ}: {members[organ].spec.members}")
    finally:
        torch.set_num_threads(threads)
    return members


class _Pool:
    """What one organ's head sees of the sampled voxels of all studies, what is true there, and of whom."""

    def __init__(self, organ: str, head: Head, contract: ModelContract) -> None:
        self.organ = organ
        self.channel = contract.organs.index(organ)
        self.threshold = contract.thresholds[organ]
        self.head = head
        self.taps: list[VoxelTaps] = []
        self.truth: list[Tensor] = []
        self.weight: list[Tensor] = []
        self.study: list[int] = []


def _gather(
    trunk: Trunk,
    number: int,
    case: TrainingCase,
    pools: Mapping[str, _Pool],
    contract: ModelContract,
    settings: MemberSettings,
) -> None:
    """Sample the windows that serving evaluates of one study."""
    for origin in plan(body_mask(case.hu), case.body, contract):
        window = network_input(cut(case.hu, origin, contract.window_shape), contract)
        with torch.inference_mode():
            output = trunk(
                torch.from_numpy(window[None, None]).contiguous(memory_format=torch.channels_last_3d)
            )
            for pool in pools.values():
                truth = cut_truth(case.truth[pool.channel][None], origin, contract.window_shape)[:, 0]
                label = truth.reshape(window.shape) >= 255 * pool.threshold
                found = torch.sigmoid(pool.head(output))[0, 0].numpy() >= pool.threshold
                random = np.random.default_rng(
                    [settings.seed, number, *map(abs, origin), _key(pool.organ, 0)]
                )
                sample = draw_sample(found, label, settings.window_voxels, random)
                pool.taps.append(gather_taps(output, pool.head.spec, sample).half())
                pool.truth.append(torch.from_numpy(truth[sample.index]).float() / 255)
                pool.weight.append(torch.from_numpy(sample.weight))
                pool.study.append(number)


def _fit(pool: _Pool, member: int, settings: MemberSettings) -> Head:
    """Train one new member on its own draw of the studies."""
    key = _key(pool.organ, member) + 1_000_003 * settings.seed
    studies = np.unique(pool.study)
    drawn = np.random.default_rng(key).choice(studies, len(studies))
    parts = [part for study in drawn for part, of in enumerate(pool.study) if of == study]
    taps = VoxelTaps.joined([pool.taps[part] for part in parts])
    truth, weight = (torch.cat([rows[part] for part in parts]) for rows in (pool.truth, pool.weight))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        head = build_head(replace(pool.head.spec, members=1)).train()
    optimiser = torch.optim.AdamW(head.parameters(), settings.learning_rate, weight_decay=0.0)
    draws = torch.Generator().manual_seed(key)
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * warm_cosine(step, settings.warm_up, settings.steps)
        index = torch.randint(len(truth), (settings.batch_voxels,), generator=draws)
        logits = head.members_on_voxels(taps.rows(index))
        loss = segmentation_loss(logits, truth[index][:, None], weight[index][:, None])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return head.requires_grad_(False).eval()


def _key(organ: str, member: int) -> int:
    """Return a number that stands for a member in seeds, the same in every process."""
    return zlib.crc32(f"{organ} {member}".encode())
