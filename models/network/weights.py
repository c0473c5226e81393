"""Trunks and heads as safetensors files, and back.

The file is the truth: a trunk that was trained here is rounded to half precision when written, so
whatever is trained, calibrated or measured afterwards starts from what was read back. An imported one is
kept as it came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from models.errors import InvalidRelease
from models.network.heads import Head, HeadSpec, build_head
from models.network.trunk import Trunk
from models.network.trunk_kinds import build_trunk

TRUNK_FORMAT = "organloop-trunk-1"
HEAD_FORMAT = "organloop-head-1"
METADATA_KEY = "organloop"
"""One metadata entry only: safetensors writes several in no fixed order, and equal must be equal bytes."""


def trunk_to_bytes(trunk: Trunk, *, exact: bool = False) -> bytes:
    """Return a trunk's file; equal trunks, equal bytes.

    Parameters
    ----------
    trunk
        Any trunk; tables of indices stay the whole numbers they are.
    exact
        Whether kernels are kept in float32, as norms and biases always are, instead of float16.
    """
    tensors = {
        name: tensor.detach().to(torch.float16 if tensor.ndim > 1 and not exact else torch.float32)
        if tensor.is_floating_point()
        else tensor.detach()
        for name, tensor in trunk.state_dict().items()
    }
    return _to_bytes(tensors, {"format": TRUNK_FORMAT, "spec": dict(trunk.spec)})


def head_to_bytes(head: Head) -> bytes:
    """Return a head's file, float32; equal heads, equal bytes."""
    tensors = {name: tensor.detach() for name, tensor in head.state_dict().items()}
    return _to_bytes(tensors, {"format": HEAD_FORMAT, "spec": head.spec.to_json()})


def trunk_from_bytes(content: bytes) -> Trunk:
    """Read a trunk, frozen, float32, in evaluation mode.

    Raises
    ------
    InvalidRelease
        If the file is not a trunk, or a tensor is missing, of another shape or not finite.
    """
    spec, tensors = _from_bytes(content, TRUNK_FORMAT)
    trunk = build_trunk(spec)
    _load(trunk, tensors)
    return trunk


def head_from_bytes(content: bytes) -> Head:
    """Read a head, frozen, float32, in evaluation mode.

    Raises
    ------
    InvalidRelease
        If the file is not a head, or a tensor is missing, of another shape or not finite.
    """
    data, tensors = _from_bytes(content, HEAD_FORMAT)
    try:
        spec = HeadSpec.from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRelease(f"a head's taps cannot be read: {error}") from error
    head = build_head(spec)
    _load(head, tensors)
    return head


def _to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> bytes:
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(contiguous, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def _from_bytes(content: bytes, expected: str) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = json.loads(header["__metadata__"][METADATA_KEY])
        found, spec = metadata["format"], metadata["spec"]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InvalidRelease(f"not a weights file of ours: {error}") from error
    if found != expected:
        raise InvalidRelease(f"the file is {found!r}, not {expected!r}")
    return spec, tensors


def _load(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    if set(own) != set(tensors):
        raise InvalidRelease(f"tensors missing or unknown: {sorted(set(own) ^ set(tensors))}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise InvalidRelease(f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}")
        if not torch.isfinite(tensor).all():
            raise InvalidRelease(f"{name} holds values that are no finite numbers")
    module.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()})
    module.requires_grad_(False).eval()
