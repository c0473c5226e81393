"""The weights of a checkpoint, without the other names they have, put into the network that the plans say."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.errors import Refused
from models.network.checkpoints.file import require_dense, require_tensors
from models.network.nnunet_networks import NnunetArchitecture, NnunetTrunk

_WRAPPERS = re.compile(r"(?:module\.|_orig_mod\.)+")
"""Before each name: of a network trained in parallel, or compiled."""

_ENCODER_AGAIN = "decoder.encoder."
"""The decoder holds the encoder, whose tensors so have a second name."""

_ALIASES = {".all_modules.0.": ".conv.", ".all_modules.1.": ".norm."}
"""A block holds its layers by name and in a row."""

_OUTPUT = re.compile(r"decoder\.seg_layers\.(\d{1,2})\.(weight|bias)")

_NAMED = 6


def read_weights(weights: object) -> dict[str, Tensor]:
    """Return a state dict's tensors, each under one name.

    Parameters
    ----------
    weights
        ``network_weights`` of a checkpoint.

    Returns
    -------
    dict
        Float32 tensors. Names are those of the file without wrappers' prefixes; of a tensor's several
        names the one that says what it is.

    Raises
    ------
    Refused
        `unreadable-checkpoint` if these are no tensors by name; `bad-weights` if one is not float32;
        `contradictory-checkpoint` if two names of one tensor hold different numbers.
    """
    if not isinstance(weights, Mapping) or not weights:
        raise Refused("unreadable-checkpoint", "the checkpoint holds no weights by name")
    named = {str(name): tensor for name, tensor in weights.items() if isinstance(tensor, Tensor)}
    if len(named) != len(weights):
        raise Refused("unreadable-checkpoint", "not all of its weights are tensors with a name")
    require_dense(named)
    odd = [f"{name} is {tensor.dtype}" for name, tensor in named.items() if tensor.dtype != torch.float32]
    if odd:
        raise Refused("bad-weights", f"weights are float32: {', '.join(odd[:_NAMED])}", {"tensors": odd})
    tensors: dict[str, Tensor] = {}
    for name, tensor in named.items():
        plain = _plain_name(name)
        if plain in tensors and not _same(tensors[plain], tensor):
            detail = f"{plain} has several names in the checkpoint, and other numbers under {name}"
            raise Refused("contradictory-checkpoint", detail, {"tensor": plain, "name": name})
        tensors.setdefault(plain, tensor)
    return tensors


def build(
    architecture: NnunetArchitecture, tensors: Mapping[str, Tensor], classes: int
) -> tuple[NnunetTrunk, nn.Conv3d, int]:
    """Build a network of these weights, frozen, in evaluation mode.

    Nothing is built of what the plans claim until the file has every tensor of it.

    Parameters
    ----------
    architecture
        What the plans say.
    tensors
        Of `read_weights`.
    classes
        Channels of the logits.

    Returns
    -------
    tuple
        The trunk; its last 1x1x1 convolution, one row a channel; and how many tensors of deep supervision
        were left out: outputs of coarser stages, which only training uses.

    Raises
    ------
    Refused
        `checkpoint-mismatch` with the names of tensors that are missing, unknown or of another shape;
        `bad-weights` if one holds what is no finite number.
    """
    last = len(architecture.features) - 2
    with torch.device("meta"):
        trunk = NnunetTrunk(architecture)
        head = nn.Conv3d(architecture.features[0], classes, 1)
    own = {name: f"decoder.seg_layers.{last}.{name}" for name in head.state_dict()}
    coarser = {name for name in tensors if (found := _OUTPUT.fullmatch(name)) and int(found[1]) < last}
    kept = {name: tensor for name, tensor in tensors.items() if name not in coarser}
    shapes = {name: tensor.shape for name, tensor in trunk.state_dict().items()}
    shapes |= {own[name]: tensor.shape for name, tensor in head.state_dict().items()}
    require_tensors(kept, shapes)
    whole = {name: tensor.contiguous() for name, tensor in kept.items()}
    trunk.load_state_dict({name: whole[name] for name in trunk.state_dict()}, assign=True)
    head.load_state_dict({name: whole[own[name]] for name in own}, assign=True)
    return trunk.requires_grad_(False).eval(), head.requires_grad_(False).eval(), len(coarser)


def _plain_name(name: str) -> str:
    plain = _WRAPPERS.sub("", name, count=1) if _WRAPPERS.match(name) else name
    if plain.startswith(_ENCODER_AGAIN):
        plain = plain.removeprefix("decoder.")
    for alias, meant in _ALIASES.items():
        plain = plain.replace(alias, meant)
    return plain


def _same(one: Tensor, other: Tensor) -> bool:
    """Tell whether tensors hold the same bits."""
    return one.shape == other.shape and torch.equal(one.view(torch.int32), other.view(torch.int32))
