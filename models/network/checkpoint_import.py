"""Public checkpoints of text-driven multi-organ networks, taken apart into trunk and private heads.

Written from the published formula; see `import_checkpoint`. A plain SegResNet is taken apart as well: its
last 1x1x1 convolution has one channel an organ.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.contract import ModelContract
from models.errors import Refused
from models.network.heads import Head, HeadSpec, build_head
from models.network.imported_trunks import SegResNetTrunk, TextDrivenSwin, TextDrivenTrunk, TextDrivenUNet
from models.network.prediction import torch_predict
from models.network.trunk import Trunk
from models.windows import scale_hu

PUBLISHED_ORGANS = (
    "spleen", "right_kidney", "left_kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta",
    "postcava", "portal_and_splenic_vein", "pancreas", "right_adrenal_gland", "left_adrenal_gland",
    "duodenum", "hepatic_vessels", "right_lung", "left_lung", "colon", "intestine", "rectum", "bladder",
    "prostate", "left_femoral_head", "right_femoral_head", "coeliac_trunk", "kidney_tumour", "liver_tumour",
    "pancreas_tumour", "hepatic_vessel_tumour", "lung_tumour", "colon_tumour", "kidney_cyst",
)  # fmt: skip
"""The 32 classes of the published checkpoints, in their order."""

SPACING_MM = (1.5, 1.5, 1.5)
HU_WINDOW = (-175.0, 250.0)
WINDOW = (96, 96, 96)
OVERLAP = 0.5
THRESHOLD = 0.5
"""As published for all classes; a probability is the sigmoid of its own logit, and classes may overlap."""

LICENCE = "Published weights of this kind are CC BY-NC-ND 4.0: no commercial use, nothing adapted is shared."
"""Said at import and kept in the release; which licence a file has, its owner says."""

_LEVELS = ("64", "128", "256", "512")
"""How the published U-Net names its levels, whatever their width."""

MOST_CHANNELS = 512
MOST_DEEPEST = 1024
MOST_BLOCKS = 16
"""More channels for the heads, of the deepest map, or blocks a level, is no network of these kinds, and is
not built to find out: a few bytes could ask for any amount of memory."""

_NAMED = 6
"""Most names of tensors in one sentence; the measured values have all."""


@dataclass(frozen=True, eq=False)
class ImportedNetwork:
    """A checkpoint as trunk and private heads, float32, frozen.

    Parameters
    ----------
    kind
        The trunk's, e.g. ``text_driven_unet``.
    trunk, heads
        Heads by organ, in the file's order.
    contract
        Grid, window and thresholds as published.
    """

    kind: str
    trunk: Trunk
    heads: Mapping[str, Head]
    contract: ModelContract

    def logits(self, hu: NDArray[np.int16]) -> dict[str, NDArray[np.float32]]:
        """Evaluate any one window in torch, so that others can check what was imported.

        Parameters
        ----------
        hu
            Hounsfield units, axes (k, j, i): head, posterior, left; 1.5 mm voxels. Sides must be
            multiples of the trunk's ``stride``.

        Returns
        -------
        dict
            By organ, float32 logits, axes (k, j, i).
        """
        scaled = scale_hu(hu, self.contract.hu_window)[None, None]
        logits = torch_predict(self.trunk, self.heads, self.contract)(scaled).logits
        return dict(zip(self.contract.organs, logits, strict=True))


def import_checkpoint(path: Path, organs: Sequence[str] | None = None) -> ImportedNetwork:
    """Read a checkpoint exactly, as trunk and one private head an organ.

    Parameters
    ----------
    path
        A file of ``torch.save``: tensors by name, alone or under ``net``, with or without ``module.``.
    organs
        Keys of the file's classes, in its order. None: `PUBLISHED_ORGANS`, for a text-driven network only.

    Returns
    -------
    ImportedNetwork
        It answers as the published formula does, to rounding.

    Raises
    ------
    Refused
        `unsafe-checkpoint` if the file asks for anything but weights (nothing of it is run);
        `unreadable-checkpoint`; `unknown-network`; `checkpoint-mismatch`, with the names of tensors that
        are missing, unknown or of another shape; `bad-weights` if a tensor holds what is no finite number;
        `unknown-classes` if the classes are not those of the list.

    Notes
    -----
    Source: Liu et al., "CLIP-Driven Universal Model", ICCV 2023, arXiv:2301.00785, section 3.2. A
    controller makes a head's weights of the global feature x and the embedding e of the organ's name,
    ``theta = W [x; e] + b``. It is linear and e is a constant, so each organ gets a copy of W's part for
    x and a constant of its own, ``theta = W_x x + (W_e e + b)``: the same head, which no other organ shares.
    """
    tensors = read_tensors(path)
    if any(name.startswith("convInit.") for name in tensors):
        return _plain(tensors, organs)
    if "controller.weight" not in tensors or "organ_embedding" not in tensors:
        raise Refused(
            "unknown-network",
            "the file is neither a text-driven network nor a SegResNet; "
            f"it begins with {', '.join(list(tensors)[:3])}",
            {"tensors": len(tensors)},
        )
    return _text_driven(tensors, PUBLISHED_ORGANS if organs is None else tuple(organs))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name, without wrappers' prefixes; no code of the file is run.

    Raises
    ------
    Refused
        `unsafe-checkpoint`, `unreadable-checkpoint`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it may not be able to read, before it says so
            content = torch.load(path, map_location="cpu", weights_only=True)
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
        detail = f"the file is no PyTorch checkpoint ({type(error).__name__})"
        raise Refused("unreadable-checkpoint", detail) from error
    inner = content.get("net", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or not inner or not all(isinstance(t, Tensor) for t in inner.values()):
        raise Refused("unreadable-checkpoint", "the file holds no tensors by name, alone or under `net`")
    tensors = {_plain_name(str(name)): tensor for name, tensor in inner.items()}
    if len(tensors) != len(inner):
        detail = "names of its tensors differ in a prefix only; which are meant is not known"
        raise Refused("unreadable-checkpoint", detail, {"tensors": len(inner), "names": len(tensors)})
    odd = [name for name, tensor in tensors.items() if not _is_dense(tensor)]
    if odd:
        detail = f"not plain tensors, or larger than what is stored of them: {', '.join(odd[:_NAMED])}"
        raise Refused("unreadable-checkpoint", detail, {"tensors": odd})
    return tensors


def _is_dense(tensor: Tensor) -> bool:
    """Tell whether a tensor's values are all in the file; a few bytes can claim to be any number of them."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _plain_name(name: str) -> str:
    """Return a tensor's name without the prefix of parallel training; backbones are under ``backbone.``."""
    name = name.removeprefix("module.")
    return f"backbone.{name}" if re.match(r"swinViT\.|encoder\d|decoder\d|down_tr|up_tr", name) else name


def _text_driven(tensors: dict[str, Tensor], organs: tuple[str, ...]) -> ImportedNetwork:
    sizes = {"precls_conv.0.weight": 1, "precls_conv.2.weight": 5, "GAP.3.weight": 5, "organ_embedding": 2}
    for name, axes in sizes.items():
        if name not in tensors or tensors[name].ndim != axes:
            _mismatch({name}, set(), [])
    width, features, context = (len(tensors[name]) for name in list(sizes)[:3])
    if max(width, features, context) > MOST_CHANNELS:
        detail = f"{width} last channels, {features} for the heads, a global feature of {context}"
        raise Refused("unknown-network", detail, {"most_channels": MOST_CHANNELS})
    embeddings = tensors["organ_embedding"]
    swin = any(name.startswith("backbone.swinViT.") for name in tensors)
    _require_depth(width * (16 if swin else 8))
    try:
        trunk: TextDrivenTrunk = (TextDrivenSwin if swin else TextDrivenUNet)(width, features, context)
    except ValueError as error:
        raise Refused(
            "unknown-network", f"no such network has {width} last channels", {"width": width}
        ) from error
    spec = HeadSpec(features, hidden=features, global_channels=context, form="text-driven")
    theta = build_head(spec).state_dict()["theta.weight"].shape[0]
    published = _swin_name if swin else _unet_name
    names = {own: published(own) for own in trunk.state_dict()}
    shapes = {names[own]: tensor.shape for own, tensor in trunk.state_dict().items()}
    shapes |= {
        "organ_embedding": embeddings.shape,
        "controller.weight": torch.Size((theta, 2 * context, 1, 1, 1)),
        "controller.bias": torch.Size((theta,)),
        "text_to_vision.weight": torch.Size((context, embeddings.shape[1])),
        "text_to_vision.bias": torch.Size((context,)),
    }
    if not swin:  # kept by the published norms, used by none of them
        for name in [name for name in shapes if name.endswith("bn1.weight")]:
            stem = name.removesuffix("weight")
            shapes |= {f"{stem}running_mean": shapes[name], f"{stem}running_var": shapes[name]}
            shapes[f"{stem}num_batches_tracked"] = torch.Size(())
    _require(tensors, shapes)
    _load(trunk, {own: tensors[name] for own, name in names.items()})
    _one_class_each(organs, len(embeddings))

    controller, bias = tensors["controller.weight"].double().flatten(1), tensors["controller.bias"].double()
    text = functional.linear(
        embeddings.double(),
        tensors["text_to_vision.weight"].double(),
        tensors["text_to_vision.bias"].double(),
    ).relu()
    heads = {}
    for organ, embedding in zip(organs, text, strict=True):
        heads[organ] = build_head(spec)
        constant = controller[:, context:] @ embedding + bias
        _load(heads[organ], {"theta.weight": controller[:, :context], "theta.bias": constant})
    return ImportedNetwork(str(trunk.spec["kind"]), trunk, heads, _contract(trunk, organs))


def _plain(tensors: dict[str, Tensor], organs: Sequence[str] | None) -> ImportedNetwork:
    last = {"weight": "conv_final.2.conv.weight", "bias": "conv_final.2.conv.bias"}
    missing = {name for name in ("convInit.conv.weight", *last.values()) if name not in tensors}
    if missing:
        _mismatch(missing, set(), [])
    flat = {name for name in ("convInit.conv.weight", last["weight"]) if tensors[name].ndim != 5}
    if flat:
        _mismatch(set(), set(), [f"{name} is {tuple(tensors[name].shape)}" for name in sorted(flat)])
    filters, classes = len(tensors["convInit.conv.weight"]), len(tensors[last["weight"]])
    down, up = _blocks(tensors, "down_layers", first=1), _blocks(tensors, "up_layers", first=0)
    _require_depth(filters << max(len(down) - 1, len(up)))
    if max((*down, *up), default=0) > MOST_BLOCKS:
        raise Refused("unknown-network", f"{down} and {up} blocks", {"most_blocks": MOST_BLOCKS})
    try:
        trunk = SegResNetTrunk(filters, down, up)
    except ValueError as error:
        raise Refused(
            "unknown-network", f"no SegResNet has {filters} filters, {down} and {up} blocks"
        ) from error
    names = {own: own.removeprefix("net.") for own in trunk.state_dict()}
    shapes = {names[own]: tensor.shape for own, tensor in trunk.state_dict().items()}
    shapes |= {last["weight"]: torch.Size((classes, filters, 1, 1, 1)), last["bias"]: torch.Size((classes,))}
    _require(tensors, shapes)
    _load(trunk, {own: tensors[name] for own, name in names.items()})
    if organs is None:
        raise Refused(
            "unknown-classes",
            f"name the {classes} classes of this network, in its order",
            {"classes": classes},
        )
    _one_class_each(organs, classes)
    heads = {}
    for number, organ in enumerate(organs):
        heads[organ] = build_head(HeadSpec(filters, form="linear"))
        rows = {f"logit.{part}": tensors[name][number : number + 1] for part, name in last.items()}
        _load(heads[organ], rows)
    return ImportedNetwork("segresnet", trunk, heads, _contract(trunk, tuple(organs)))


def _contract(trunk: Trunk, organs: tuple[str, ...]) -> ModelContract:
    return ModelContract(
        organs=organs,
        spacing_mm=SPACING_MM,
        hu_window=HU_WINDOW,
        window_shape=WINDOW,
        overlap=OVERLAP,
        thresholds=dict.fromkeys(organs, THRESHOLD),
        feature_channels=trunk.feature_channels,
        coarse_channels=trunk.coarse_channels,
        global_channels=trunk.global_channels,
        trunk=trunk.spec,
    )


def _shared_name(own: str) -> str | None:
    """Return the published name of a tensor beside the backbone; None for one of the backbone's."""
    return (
        own.replace("pooled.2.", "GAP.3.").replace("pooled.", "GAP.")
        if own.startswith(("precls", "pooled"))
        else None
    )


def _unet_name(own: str) -> str:
    shared = _shared_name(own)
    if shared:
        return shared
    part, level, *rest = own.split(".")
    if part == "doubled":
        return f"backbone.up_tr{_LEVELS[int(level)]}.up_conv.{rest[0]}"
    layer, kind, tensor = rest
    stem = f"backbone.{'down' if part == 'down' else 'up'}_tr{_LEVELS[int(level)]}"
    return f"{stem}.ops.{layer}.{('conv1', 'bn1')[int(kind)]}.{tensor}"


def _swin_name(own: str) -> str:
    return _shared_name(own) or own.replace("net.", "backbone.", 1)


def _blocks(tensors: Mapping[str, Tensor], part: str, first: int) -> tuple[int, ...]:
    """Return the residual blocks of each level, counted from the names."""
    found = [re.match(rf"{part}\.(\d{{1,2}})\.(\d{{1,2}})\.conv1\.", name) for name in tensors]
    numbers = [(int(m[1]), int(m[2])) for m in found if m]
    levels = max((level for level, _ in numbers), default=-1) + 1
    return tuple(
        max((block for at, block in numbers if at == level), default=first - 1) + 1 - first
        for level in range(levels)
    )


def _require_depth(channels: int) -> None:
    if channels > MOST_DEEPEST:
        detail = f"its deepest map would have {channels} channels"
        raise Refused("unknown-network", detail, {"channels": channels, "most_channels": MOST_DEEPEST})


def _one_class_each(organs: Sequence[str], classes: int) -> None:
    if len(organs) != classes or len(set(organs)) != classes:
        raise Refused(
            "unknown-classes",
            f"the file has {classes} classes, {len(set(organs))} different ones are named",
            {"classes": classes, "named": len(set(organs))},
        )


def _require(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Require exactly these tensors in exactly these shapes, all of finite numbers."""
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(shape)}"
        for name, shape in shapes.items()
        if name in tensors and tensors[name].shape != shape
    ]
    missing, unknown = shapes.keys() - tensors.keys(), tensors.keys() - shapes.keys()
    if missing or unknown or wrong:
        _mismatch(missing, unknown, wrong)
    bad = [name for name, tensor in tensors.items() if tensor.is_complex() or not tensor.isfinite().all()]
    if bad:
        raise Refused("bad-weights", f"no finite numbers in {', '.join(bad[:_NAMED])}", {"tensors": bad})


def _mismatch(missing: set[str] | Any, unknown: set[str] | Any, wrong: list[str]) -> None:
    parts = {"missing": sorted(missing), "unknown": sorted(unknown), "of another shape": wrong}
    said = [
        f"{len(names)} {what}: {', '.join(names[:_NAMED])}{' ...' if len(names) > _NAMED else ''}"
        for what, names in parts.items()
        if names
    ]
    raise Refused(
        "checkpoint-mismatch",
        f"the file's tensors are not those of the network: {'; '.join(said)}",
        {what.replace(" ", "_"): names for what, names in parts.items()},
    )


def _load(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set a module's tensors; a table of indices must be the one it has."""
    own = module.state_dict()
    values = {name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}
    for name, tensor in own.items():
        if not tensor.is_floating_point() and not torch.equal(tensor, values[name]):
            _mismatch(set(), set(), [f"{name} holds other indices"])
    module.load_state_dict(values)
    module.requires_grad_(False).eval()
