"""What a file of ``torch.save`` holds: tensors by name, read without running anything."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from models.errors import Refused
from models.network.checkpoints.proved import BEGINS, proved

_FLOATS = ("float32", "float16", "bfloat16", "float64")
"""What weights may be; whole numbers would be quantised ones, whose scale is not with them."""

_NAMED = 6
"""Most names of tensors in one sentence; the measured values have all."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name, without wrappers' prefixes; no code of the file is run.

    Raises
    ------
    Refused
        `unsafe-checkpoint`, `unreadable-checkpoint`, `damaged-checkpoint`. A file of PyTorch before 1.6
        has no checksums that could tell.
    """
    archive = path.read_bytes()
    content = load_values(proved(archive) if archive.startswith(BEGINS) else BytesIO(archive))
    inner = content.get("net", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or not inner or not all(isinstance(t, Tensor) for t in inner.values()):
        raise Refused("unreadable-checkpoint", "the file holds no tensors by name, alone or under `net`")
    tensors = {_plain_name(str(name)): tensor for name, tensor in inner.items()}
    if len(tensors) != len(inner):
        detail = "names of its tensors differ in a prefix only; which are meant is not known"
        raise Refused("unreadable-checkpoint", detail, {"tensors": len(inner), "names": len(tensors)})
    require_dense(tensors)
    return tensors


def load_values(source: BinaryIO) -> object:
    """Return what a file of ``torch.save`` holds, tensors in memory; no code of the file is run.

    Raises
    ------
    Refused
        `unsafe-checkpoint`, `unreadable-checkpoint`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it may not be able to read, before it says so
            content: object = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise Refused("unreadable-checkpoint", "the file is no PyTorch checkpoint") from error
        raise Refused(
            "unsafe-checkpoint",
            f"the file asks to run {wanted[1]}; a checkpoint holds tensors and plain values only",
            {"asks_for": wanted[1]},
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file fails anywhere in the reader
        raise Refused("unreadable-checkpoint", "the file is no PyTorch checkpoint, or damaged") from error
    return content


def require_dense(tensors: Mapping[str, Tensor]) -> None:
    """Require that all values of each tensor are in the file; a few bytes can claim to be any number."""
    odd = [name for name, tensor in tensors.items() if not _is_dense(tensor)]
    if odd:
        detail = f"not plain tensors, or larger than what is stored of them: {', '.join(odd[:_NAMED])}"
        raise Refused("unreadable-checkpoint", detail, {"tensors": odd})


def _is_dense(tensor: Tensor) -> bool:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _plain_name(name: str) -> str:
    """Return a tensor's name without the prefix of parallel training; backbones are under ``backbone.``."""
    name = name.removeprefix("module.")
    return f"backbone.{name}" if re.match(r"swinViT\.|encoder\d|decoder\d|down_tr|up_tr", name) else name


def require_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Require exactly these tensors in exactly these shapes, all of finite numbers."""
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(shape)}"
        for name, shape in shapes.items()
        if name in tensors and tensors[name].shape != shape
    ]
    missing, unknown = shapes.keys() - tensors.keys(), tensors.keys() - shapes.keys()
    if missing or unknown or wrong:
        raise mismatch(missing, unknown, wrong)
    kinds = {name: str(t.dtype).removeprefix("torch.") for name, t in tensors.items()}
    odd = [name for name in shapes if kinds[name] not in _FLOATS and not _counts(name)]
    if odd:
        said = ", ".join(f"{name} is {kinds[name]}" for name in odd[:_NAMED])
        raise Refused("bad-weights", f"weights are {', '.join(_FLOATS)} only: {said}", {"tensors": odd})
    bad = [name for name, tensor in tensors.items() if not tensor.float().isfinite().all()]
    if bad:
        detail = f"no finite numbers of 32 bits in {', '.join(bad[:_NAMED])}"
        raise Refused("bad-weights", detail, {"tensors": bad})


def _counts(name: str) -> bool:
    """Tell whether a tensor holds whole numbers: a table of indices, or how many batches a norm has seen."""
    return name.endswith(("relative_position_index", "num_batches_tracked"))


def mismatch(missing: Iterable[str] = (), unknown: Iterable[str] = (), wrong: Iterable[str] = ()) -> Refused:
    """Return the refusal of a file whose tensors are not those of a network, with their names."""
    parts = {"missing": sorted(missing), "unknown": sorted(unknown), "of another shape": list(wrong)}
    said = [
        f"{len(names)} {what}: {', '.join(names[:_NAMED])}{' ...' if len(names) > _NAMED else ''}"
        for what, names in parts.items()
        if names
    ]
    return Refused(
        "checkpoint-mismatch",
        f"the file's tensors are not those of the network: {'; '.join(said)}",
        {what.replace(" ", "_"): names for what, names in parts.items()},
    )
