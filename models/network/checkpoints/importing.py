"""Public checkpoints of text-driven multi-organ networks, taken apart into trunk and private heads.

Written from the published formula; see `import_checkpoint`. A plain SegResNet is taken apart as well: its
last 1x1x1 convolution has one channel an organ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.contract import ModelContract
from models.errors import Refused
from models.inference.windows import network_input
from models.network.checkpoints.file import mismatch, read_tensors, require_tensors
from models.network.heads import Head, HeadSpec, build_head
from models.network.imported_trunks import SegResNetTrunk, TextDrivenSwin, TextDrivenTrunk, TextDrivenUNet
from models.network.prediction import torch_predict
from models.network.trunk import Trunk

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

LEFT_OUT = "-"
"""In place of a class's key: the file has it, the release does not."""

LICENCE = "Published weights of this kind are CC BY-NC-ND 4.0: no commercial use, nothing adapted is shared."
"""Of text-driven networks; said at import, kept in the release. Which licence a file has, its owner says."""

ASSUMED = (
    "Taken for granted, since weights do not tell: ReLU, group norm of 8 groups, a sigmoid for each class, "
    "RAS, 1.5 mm voxels, -175 to 250 HU. Compare its answer on a window of your own before it serves."
)
"""Of a plain SegResNet. Said at import and kept in the release."""

_LEVELS = ("64", "128", "256", "512")
"""How the published U-Net names its levels, whatever their width."""

MOST_CHANNELS = 512
MOST_DEEPEST = 1024
MOST_BLOCKS = 16
"""More channels for the heads, of the deepest map, or blocks a level, is no network of these kinds, and is
not built to find out: a few bytes could ask for any amount of memory."""


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
    said
        What whoever lets it serve must know: `LICENCE` or `ASSUMED`.
    """

    kind: str
    trunk: Trunk
    heads: Mapping[str, Head]
    contract: ModelContract
    said: str

    def logits(self, hu: NDArray[np.int16]) -> dict[str, NDArray[np.float32]]:
        """Evaluate any one window in torch, so that others can check what was imported.

        Parameters
        ----------
        hu
            Hounsfield units, axes (k, j, i): head, posterior, left; 1.5 mm voxels. Sides must be
            multiples of how much coarser the trunk's coarsest map is.

        Returns
        -------
        dict
            By organ, float32 logits, axes (k, j, i).
        """
        scaled = network_input(hu, self.contract)[None, None]
        logits = torch_predict(self.trunk, self.heads, self.contract)(scaled).logits
        return dict(zip(self.contract.organs, logits, strict=True))


def import_checkpoint(path: Path, organs: Sequence[str] | None = None) -> ImportedNetwork:
    """Read a checkpoint exactly, as trunk and one private head an organ.

    Parameters
    ----------
    path
        A file of ``torch.save``: tensors by name, alone or under ``net``, with or without ``module.``.
    organs
        Keys of the file's classes, in its order. None: `PUBLISHED_ORGANS`, for a text-driven network only;
        there `LEFT_OUT` leaves a class out.

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


def _text_driven(tensors: dict[str, Tensor], organs: tuple[str, ...]) -> ImportedNetwork:
    sizes = {"precls_conv.0.weight": 1, "precls_conv.2.weight": 5, "GAP.3.weight": 5, "organ_embedding": 2}
    for name, axes in sizes.items():
        if name not in tensors or tensors[name].ndim != axes:
            raise mismatch(missing={name})
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
    require_tensors(tensors, shapes)
    _load(trunk, {own: tensors[name] for own, name in names.items()})
    _one_class_each(organs, len(embeddings))
    wanted = tuple(organ for organ in organs if organ != LEFT_OUT)

    controller, bias = tensors["controller.weight"].double().flatten(1), tensors["controller.bias"].double()
    text = functional.linear(
        embeddings.double(),
        tensors["text_to_vision.weight"].double(),
        tensors["text_to_vision.bias"].double(),
    ).relu()
    heads = {}
    for organ, embedding in zip(organs, text, strict=True):
        if organ == LEFT_OUT:
            continue
        heads[organ] = build_head(spec)
        constant = controller[:, context:] @ embedding + bias
        _load(heads[organ], {"theta.weight": controller[:, :context], "theta.bias": constant})
    return ImportedNetwork(str(trunk.spec["kind"]), trunk, heads, _contract(trunk, wanted), LICENCE)


def _plain(tensors: dict[str, Tensor], organs: Sequence[str] | None) -> ImportedNetwork:
    last = {"weight": "conv_final.2.conv.weight", "bias": "conv_final.2.conv.bias"}
    missing = {name for name in ("convInit.conv.weight", *last.values()) if name not in tensors}
    if missing:
        raise mismatch(missing)
    flat = {name for name in ("convInit.conv.weight", last["weight"]) if tensors[name].ndim != 5}
    if flat:
        raise mismatch(wrong=[f"{name} is {tuple(tensors[name].shape)}" for name in sorted(flat)])
    filters, classes = len(tensors["convInit.conv.weight"]), len(tensors[last["weight"]])
    down, up = _blocks(tensors, "down_layers", first=1), _blocks(tensors, "up_layers", first=0)
    _require_depth(filters << max(len(down) - 1, len(up)))
    if max((*down, *up), default=0) > MOST_BLOCKS:
        raise Refused("unknown-network", f"{down} and {up} blocks", {"most_blocks": MOST_BLOCKS})
    if len(up) != len(down) - 1 or any(side % 2 ** len(up) for side in WINDOW):
        detail = (
            f"a SegResNet of {len(down)} levels down and {len(up)} up has no place in windows of {WINDOW}"
        )
        raise Refused("unknown-network", detail, {"down": len(down), "up": len(up)})
    try:
        trunk = SegResNetTrunk(filters, down, up)
    except ValueError as error:
        raise Refused(
            "unknown-network", f"no SegResNet has {filters} filters, {down} and {up} blocks"
        ) from error
    names = {own: own.removeprefix("net.") for own in trunk.state_dict()}
    shapes = {names[own]: tensor.shape for own, tensor in trunk.state_dict().items()}
    shapes |= {last["weight"]: torch.Size((classes, filters, 1, 1, 1)), last["bias"]: torch.Size((classes,))}
    require_tensors(tensors, shapes)
    _load(trunk, {own: tensors[name] for own, name in names.items()})
    if organs is None:
        raise Refused(
            "unknown-classes",
            f"name the {classes} classes of this network, in its order",
            {"classes": classes},
        )
    if LEFT_OUT in organs:
        detail = (
            "no class of a SegResNet can be left out: were it trained with a softmax, the others hang on it"
        )
        raise Refused("unknown-classes", detail, {"classes": classes})
    _one_class_each(organs, classes)
    heads = {}
    for number, organ in enumerate(organs):
        heads[organ] = build_head(HeadSpec(filters, form="linear"))
        rows = {f"logit.{part}": tensors[name][number : number + 1] for part, name in last.items()}
        _load(heads[organ], rows)
    return ImportedNetwork("segresnet", trunk, heads, _contract(trunk, tuple(organs)), ASSUMED)


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
        antialias=False,  # their CTs were sampled between voxels
        imported=True,
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
    named = [organ for organ in organs if organ != LEFT_OUT]
    if len(organs) != classes or len(set(named)) != len(named) or not named:
        raise Refused(
            "unknown-classes",
            f"the file has {classes} classes; {len(organs)} are named, {len(set(named))} different organs",
            {"classes": classes, "named": len(organs), "organs": len(set(named))},
        )


def _load(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set a module's tensors; a table of indices must be the one it has."""
    own = module.state_dict()
    values = {name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}
    for name, tensor in own.items():
        if not tensor.is_floating_point() and not torch.equal(tensor, values[name]):
            raise mismatch(wrong=[f"{name} holds other indices"])
    module.load_state_dict(values)
    module.requires_grad_(False).eval()
