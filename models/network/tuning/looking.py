"""What the incumbent's networks make of one window: in torch, or in the engine that serves them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network.heads import Head
from models.network.trunk import Trunk, TrunkOutput
from models.network.tuning.flops import FlopTally

Seen = tuple[TrunkOutput, Mapping[str, NDArray[np.float32]]]
"""What heads may use, and by organ the incumbent's logits, axes (k, j, i). Holds until the next window."""

Sees = Callable[[NDArray[np.float32]], Seen]
"""Told a scaled window, float32 (1, 1, k, j, i)."""

Look = Callable[[NDArray[np.float32], Collection[str]], Seen]
"""Told a scaled window, float32 (k, j, i), and the organs of which logits are wanted."""


def nobody(done: int, total: int) -> None:
    """Tell nobody how far it is."""


def looking(
    trunk: Trunk,
    incumbents: Mapping[str, Head | None],
    device: torch.device,
    tally: FlopTally,
    sees: Sees | None,
) -> Look:
    """Return what looks at windows, and adds what that costs.

    Parameters
    ----------
    trunk, incumbents
        The networks; a new organ has none.
    device
        Where torch computes.
    tally
        Told what torch's graph of the same networks costs, whoever answers.
    sees
        Who answers in torch's place; None: torch.
    """
    if device.type != "cpu":
        trunk = copy.deepcopy(trunk).to(device)  # the caller's stays where it is
    heads = {organ: head for organ, head in incumbents.items() if head is not None}

    def in_torch(window: NDArray[np.float32], organs: Collection[str]) -> Seen:
        output = tally.run("window", partial(_through, trunk, window, device))
        asked = {organ: heads[organ] for organ in organs if organ in heads}
        found = {o: tally.run(f"head {head.spec}", partial(head, output)) for o, head in asked.items()}
        return output, {organ: logit[0, 0].numpy() for organ, logit in found.items()}

    def in_engine(window: NDArray[np.float32], organs: Collection[str]) -> Seen:
        tally.count("window", partial(_through, trunk, window, device))
        output, logits = sees(window[None, None])  # type: ignore[misc]  # chosen only where there is one
        for organ in organs:
            if organ in heads:
                tally.count(f"head {heads[organ].spec}", partial(heads[organ], output))
        return output, {organ: logits[organ] for organ in organs if organ in heads}

    return in_torch if sees is None else in_engine


def _through(trunk: Trunk, window: NDArray[np.float32], device: torch.device) -> TrunkOutput:
    given: Tensor = torch.from_numpy(window[None, None]).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        output = trunk(given.contiguous(memory_format=torch.channels_last_3d))
    return TrunkOutput(
        output.features.float().cpu(),
        tuple(maps.float().cpu() for maps in output.coarse),
        output.global_feature.float().cpu(),
        None if output.frozen is None else output.frozen.float().cpu(),
    )
