"""A network of nnU-Net as a trunk, private heads and a contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from models.contract import LABELLED, ModelContract
from models.errors import Refused
from models.network.checkpoints.importing import LEFT_OUT
from models.network.checkpoints.nnunet.labels import BACKGROUND
from models.network.checkpoints.nnunet.reading import NnunetNetwork
from models.network.heads import Head, HeadSpec, build_head
from models.network.planned_trunk import PlannedTrunk, planned_trunk
from models.organs import ALIASES, KEYS
from models.recipe import DIRECTIONS, Conflicts, Intensity, NnunetRecipe, Wrapping

ALL_HU = (-1024.0, 3071.0)
"""What a CT holds, where a network takes Hounsfield units as they are."""


@dataclass(frozen=True)
class Asked:
    """What no file of nnU-Net says of how its network is asked.

    Parameters
    ----------
    axes
        Where x, y and z of the files lead that it was trained on, three letters of RLAPIS: ``RAS``.
    step
        Share of a window from one to the next.
    mirrored
        Whether windows are mirrored, if it was trained so.
    wrapping
        What is done round nnU-Net.
    conflicts
        What becomes of a voxel that a tuned organ claims, and another had at import.
    """

    axes: str
    step: float = 0.5
    mirrored: bool = True
    wrapping: Wrapping = "none"
    conflicts: Conflicts = "overlap"


@dataclass(frozen=True, eq=False)
class TakenApart:
    """A network as what a release is made of.

    Parameters
    ----------
    trunk
        With the network's own logits.
    heads
        By organ, a row of its last convolution.
    contract
        With its recipe, but for the digests of the heads.
    left_out
        Names of classes that are not shown; they compete with the others as they did.
    """

    trunk: PlannedTrunk
    heads: Mapping[str, Head]
    contract: ModelContract
    left_out: tuple[str, ...]


def take_apart(
    network: NnunetNetwork,
    asked: Asked,
    organs: Sequence[str] | None = None,
    known: Collection[str] = KEYS,
) -> TakenApart:
    """Take a network apart; it answers as it did.

    Parameters
    ----------
    network
        As `models.network.checkpoints.nnunet.reading.read_nnunet` gives it.
    asked
        What its files do not say.
    organs
        Key of each class in the network's order, background left out; `LEFT_OUT` for one that is not shown.
        None: those whose names are known, or that the catalogue has another name for.
    known
        Keys of the catalogue, and of the further organs that the site has codes for.

    Raises
    ------
    Refused
        `unknown-organ`, `unknown-classes` if the list is none of its classes; `other-organ` if it calls a
        class by another key than the one its name is known by; `unknown-axes`; `no-conflict` if organs shall
        yield and are regions.
    """
    names = [channel.name for channel in network.labels.channels]
    own = [name for name in names if name != BACKGROUND]
    keys = [_key(name, known) for name in own] if organs is None else list(organs)
    unknown = sorted(set(keys) - {*known, LEFT_OUT})
    if unknown:
        detail = (
            f"neither the catalogue nor the file of ORGANLOOP_ORGANS has {', '.join(map(repr, unknown))}; "
            f"there are {', '.join(known)}"
        )
        raise Refused("unknown-organ", detail, {"organs": unknown})
    shown = [key for key in keys if key != LEFT_OUT]
    if len(keys) != len(own) or len(set(shown)) != len(shown) or not shown:
        raise Refused(
            "unknown-classes",
            f"the network has {len(own)} classes, such as {', '.join(own[:8])}; {len(keys)} keys are named, "
            f"{len(set(shown))} different organs",
            {"classes": own, "named": len(keys), "organs": len(set(shown))},
        )
    _require_own_names(own, keys, known)
    named = iter(keys)
    classes = tuple(None if name == BACKGROUND or (key := next(named)) == LEFT_OUT else key for name in names)
    plan = network.plan
    recipe = NnunetRecipe(
        axes=_axes(asked.axes, plan.transpose_forward),
        intensity=None
        if plan.intensity is None
        else Intensity(
            (plan.intensity.lowest, plan.intensity.highest), plan.intensity.mean, plan.intensity.deviation
        ),
        classes=classes,
        rule=network.labels.decision,
        step=asked.step,
        mirrored=network.mirrored if asked.mirrored else (),
        wrapping=asked.wrapping,
        conflicts=_conflicts(asked.conflicts, network),
    )
    trunk = planned_trunk(network.trunk, network.head)
    heads = {
        organ: _row(network.head.weight[n], network.head.bias, n) for n, organ in enumerate(classes) if organ
    }
    contract = ModelContract(
        organs=tuple(heads),
        spacing_mm=_canonical(plan.spacing_mm, recipe.axes),
        hu_window=recipe.intensity.clip_hu if recipe.intensity else ALL_HU,
        window_shape=plan.window,
        overlap=1 - asked.step,
        thresholds=dict.fromkeys(heads, LABELLED),
        feature_channels=trunk.feature_channels,
        coarse_channels=(),
        global_channels=trunk.global_channels,
        trunk=trunk.spec,
        antialias=False,
        recipe=recipe,
    )
    left_out = tuple(name for name, key in zip(own, keys, strict=True) if key == LEFT_OUT)
    return TakenApart(trunk, heads, contract, left_out)


def with_heads(contract: ModelContract, digests: Mapping[str, str]) -> ModelContract:
    """Return the contract whose recipe knows the heads that were imported, by their SHA-256."""
    if contract.recipe is None:
        raise ValueError("a contract without a recipe has no imported heads")
    return replace(contract, recipe=replace(contract.recipe, imported=dict(digests)))


def _key(name: str, known: Collection[str]) -> str:
    return name if name in known else ALIASES.get(name, LEFT_OUT)


def _require_own_names(names: Sequence[str], keys: Sequence[str], known: Collection[str]) -> None:
    """Require that no class is called by the key of another: the reference knows its number, not its key."""
    other = {
        name: key
        for name, key in zip(names, keys, strict=True)
        if key != LEFT_OUT and _key(name, known) not in (LEFT_OUT, key)
    }
    if other:
        told = ", ".join(f"{name} is {_key(name, known)}, not {key}" for name, key in other.items())
        raise Refused("other-organ", f"{told}; name the keys in the network's order", {"organs": other})


def _conflicts(asked: Conflicts, network: NnunetNetwork) -> Conflicts:
    if asked == "yield" and network.labels.decision == "regions":
        detail = (
            "its labels are regions, which lie in each other from the first; only organs of a softmax yield"
        )
        raise Refused("no-conflict", detail, {"labels": network.labels.decision})
    return asked


def _axes(files: str, transpose: Sequence[int]) -> str:
    """Return where the network's axes lead: files are read as (z, y, x), then transposed."""
    letters = files.upper()
    if len(letters) != 3 or {DIRECTIONS[c][0] for c in letters if c in DIRECTIONS} != {0, 1, 2}:
        raise Refused(
            "unknown-axes",
            f"axes are three letters of three directions, as RAS is, not {files!r}",
            {"axes": files},
        )
    read = letters[::-1]
    return "".join(read[axis] for axis in transpose)


def _canonical(spacing_mm: Sequence[float], axes: str) -> tuple[float, float, float]:
    """Return millimetres along (head, posterior, left) from those along the network's axes."""
    along = {DIRECTIONS[letter][0]: side for letter, side in zip(axes, spacing_mm, strict=True)}
    return along[2], along[1], along[0]


def _row(weight: torch.Tensor, bias: torch.Tensor | None, number: int) -> Head:
    head = build_head(HeadSpec(len(weight), form="linear"))
    value = torch.zeros(()) if bias is None else bias[number]
    head.load_state_dict({"logit.weight": weight[None], "logit.bias": value[None]})
    return head.requires_grad_(False).eval()
