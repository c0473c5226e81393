"""Members of a head: networks of one organ side by side, whose disagreement says how sure the head is.

Source: Lakshminarayanan et al. 2017, arXiv:1612.01474 (deep ensembles), here on one frozen trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.errors import InvalidRelease
from models.network.heads import Head, build_head


def with_spread(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is served of the members' logits.

    Parameters
    ----------
    logits
        Axes (batch, member, k, j, i).

    Returns
    -------
    logit, spread : Tensor
        Axes (batch, 1, k, j, i): mean of the logits, and standard deviation of the members'
        probabilities, 0..0.5.
    """
    probability = torch.sigmoid(logits)
    beside = probability - probability.mean(1, keepdim=True)
    return logits.mean(1, keepdim=True), torch.sqrt((beside * beside).mean(1, keepdim=True))


def join_members(heads: Sequence[Head]) -> Head:
    """Return one head whose members are those of the heads, in their order; frozen.

    Raises
    ------
    InvalidRelease
        If the heads differ in more than their number of members, or their form has no members.
    """
    alike = {replace(head.spec, members=1) for head in heads}
    if len(alike) != 1:
        raise InvalidRelease(f"heads of {len(alike)} kinds cannot be members of one")
    joined = build_head(replace(alike.pop(), members=sum(head.spec.members for head in heads)))
    states = [head.state_dict() for head in heads]
    # Every tensor begins with an axis that belongs to the member: its rows are the member's alone.
    joined.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})
    return joined.requires_grad_(False).eval()


def first_member(head: Head) -> Head:
    """Return a head of the first member alone, frozen."""
    count = head.spec.members
    alone = build_head(replace(head.spec, members=1))
    alone.load_state_dict({name: tensor.chunk(count)[0] for name, tensor in head.state_dict().items()})
    return alone.requires_grad_(False).eval()
