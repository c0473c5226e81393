"""Public text-driven networks as they are published: names and shapes of their weights, and their formula.

Plain torch on tensors by name, windows in RAS order (x, y, z); it shares nothing with the importer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]

CLASSES, TEXT, CONTEXT, FEATURES, THETA = 32, 512, 256, 8, 153
SIDE, SHIFT = 7, 3  # of an attention window of the Swin network, tokens
NEIGHBOURS = ("000", "100", "010", "001", "101", "010", "001", "111")  # as its tokens were merged


def unet_state(width: int = 64, seed: int = 0) -> State:
    """Return random weights under the published names; `width` is 64 in the published file."""
    shapes: dict[str, tuple[int, ...]] = {}

    def pair(stem: str, into: int, middle: int, out: int) -> None:
        for n, (a, b) in enumerate(((into, middle), (middle, out))):
            shapes[f"{stem}.ops.{n}.conv1.weight"] = (b, a, 3, 3, 3)
            shapes[f"{stem}.ops.{n}.conv1.bias"] = (b,)
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{stem}.ops.{n}.bn1.{name}"] = (b,)
            shapes[f"{stem}.ops.{n}.bn1.num_batches_tracked"] = ()

    for name, into, out in (("64", 1, 1), ("128", 1, 2), ("256", 2, 4), ("512", 4, 8)):
        first = 1 if name == "64" else into * width
        pair(f"backbone.down_tr{name}", first, out * width // 2, out * width)
    for name, n in (("256", 4), ("128", 2), ("64", 1)):
        stem = f"backbone.up_tr{name}"
        shapes[f"{stem}.up_conv.weight"] = (2 * n * width, 2 * n * width, 2, 2, 2)
        shapes[f"{stem}.up_conv.bias"] = (2 * n * width,)
        pair(stem, 3 * n * width, n * width, n * width)
    return _random(shapes, width, 8 * width, seed)


def swin_state(size: int = 48, seed: int = 0) -> State:
    """Return random weights under the published names; `size` is 48 in the published file."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)

    def linear(name: str, into: int, out: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into), (out,)

    def residual(name: str, into: int, out: int) -> None:
        shapes[f"{name}.conv1.conv.weight"] = (out, into, 3, 3, 3)
        shapes[f"{name}.conv2.conv.weight"] = (out, out, 3, 3, 3)
        if into != out:
            shapes[f"{name}.conv3.conv.weight"] = (out, into, 1, 1, 1)

    vit = "backbone.swinViT"
    shapes[f"{vit}.patch_embed.proj.weight"] = (size, 1, 2, 2, 2)
    shapes[f"{vit}.patch_embed.proj.bias"] = (size,)
    for stage in range(4):
        channels = size << stage
        for n in range(2):
            block = f"{vit}.layers{stage + 1}.0.blocks.{n}"
            norm(f"{block}.norm1", channels)
            shapes[f"{block}.attn.relative_position_bias_table"] = ((2 * SIDE - 1) ** 3, 3 << stage)
            shapes[f"{block}.attn.relative_position_index"] = (SIDE**3, SIDE**3)
            linear(f"{block}.attn.qkv", channels, 3 * channels)
            linear(f"{block}.attn.proj", channels, channels)
            norm(f"{block}.norm2", channels)
            linear(f"{block}.mlp.linear1", channels, 4 * channels)
            linear(f"{block}.mlp.linear2", 4 * channels, channels)
        shapes[f"{vit}.layers{stage + 1}.0.downsample.reduction.weight"] = (2 * channels, 8 * channels)
        norm(f"{vit}.layers{stage + 1}.0.downsample.norm", 8 * channels)
    for name, into, out in ((1, 0, 1), (2, 1, 1), (3, 2, 2), (4, 4, 4), (10, 16, 16)):
        residual(f"backbone.encoder{name}.layer", into * size or 1, out * size)
    for name, into, out in ((5, 16, 8), (4, 8, 4), (3, 4, 2), (2, 2, 1), (1, 1, 1)):
        shapes[f"backbone.decoder{name}.transp_conv.conv.weight"] = (into * size, out * size, 2, 2, 2)
        residual(f"backbone.decoder{name}.conv_block", 2 * out * size, out * size)
    return _random(shapes, size, 16 * size, seed)


def published_file(state: State) -> dict[str, object]:
    """Return what is in a published file: names as parallel training leaves them, and what trained them.

    The Swin network's backbone has no prefix of its own there; the U-Net's has.
    """
    swin = any("swinViT" in name for name in state)
    net = {"module." + (name.removeprefix("backbone.") if swin else name): t for name, t in state.items()}
    optimiser = {"state": {0: {"step": 7, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    return {"net": net, "optimizer": optimiser, "scheduler": {"last_epoch": 7}, "epoch": 7}


def logits(state: Mapping[str, Tensor], window: Tensor) -> Tensor:
    """Evaluate the published formula on one scaled window, axes (x, y, z); returns (class, x, y, z)."""
    backbone = _swin if any("swinViT" in name for name in state) else _unet
    deepest, last = backbone(lambda name: state[f"backbone.{name}"], window[None, None])
    pooled = functional.relu(
        functional.group_norm(deepest, 16, state["GAP.0.weight"], state["GAP.0.bias"])
    ).mean((2, 3, 4), keepdim=True)
    x = functional.conv3d(pooled, state["GAP.3.weight"], state["GAP.3.bias"])
    z = functional.conv3d(
        functional.relu(
            functional.group_norm(last, 16, state["precls_conv.0.weight"], state["precls_conv.0.bias"])
        ),
        state["precls_conv.2.weight"],
        state["precls_conv.2.bias"],
    )
    answer = []
    for embedding in state["organ_embedding"].to(window.dtype):
        e = functional.relu(
            functional.linear(embedding, state["text_to_vision.weight"], state["text_to_vision.bias"])
        )
        both = torch.cat((x, e.reshape(1, -1, 1, 1, 1)), 1)
        theta = functional.conv3d(both, state["controller.weight"], state["controller.bias"]).flatten()
        a = functional.relu(functional.conv3d(z, theta[:64].reshape(8, 8, 1, 1, 1), theta[136:144]))
        b = functional.relu(functional.conv3d(a, theta[64:128].reshape(8, 8, 1, 1, 1), theta[144:152]))
        answer.append(functional.conv3d(b, theta[128:136].reshape(1, 8, 1, 1, 1), theta[152:])[0, 0])
    return torch.stack(answer)


Weight = Callable[[str], Tensor]


def _unet(w: Weight, x: Tensor) -> tuple[Tensor, Tensor]:
    def pair(stem: str, maps: Tensor) -> Tensor:
        for n in range(2):
            layer = f"{stem}.ops.{n}"
            maps = functional.conv3d(maps, w(f"{layer}.conv1.weight"), w(f"{layer}.conv1.bias"), padding=1)
            # Statistics of the batch, whatever was running: as the published class does in evaluation.
            maps = functional.batch_norm(
                maps, None, None, w(f"{layer}.bn1.weight"), w(f"{layer}.bn1.bias"), training=True
            )
            maps = functional.relu(maps)
        return maps

    skips = []
    for name in ("64", "128", "256"):
        x = pair(f"down_tr{name}", x)
        skips.append(x)
        x = functional.max_pool3d(x, 2)
    deepest = x = pair("down_tr512", x)
    for name in ("256", "128", "64"):
        stem = f"up_tr{name}"
        x = functional.conv_transpose3d(x, w(f"{stem}.up_conv.weight"), w(f"{stem}.up_conv.bias"), stride=2)
        x = pair(stem, torch.cat((x, skips.pop()), 1))
    return deepest, x


def _swin(w: Weight, x: Tensor) -> tuple[Tensor, Tensor]:
    def residual(stem: str, maps: Tensor) -> Tensor:
        out = functional.instance_norm(functional.conv3d(maps, w(f"{stem}.conv1.conv.weight"), padding=1))
        out = functional.leaky_relu(out, 0.01)
        out = functional.instance_norm(functional.conv3d(out, w(f"{stem}.conv2.conv.weight"), padding=1))
        if maps.shape[1] != out.shape[1]:
            maps = functional.instance_norm(functional.conv3d(maps, w(f"{stem}.conv3.conv.weight")))
        return functional.leaky_relu(out + maps, 0.01)

    def raised(n: int, maps: Tensor, skip: Tensor) -> Tensor:
        wide = functional.conv_transpose3d(maps, w(f"decoder{n}.transp_conv.conv.weight"), stride=2)
        return residual(f"decoder{n}.conv_block", torch.cat((wide, skip), 1))

    def shown(tokens: Tensor) -> Tensor:
        return functional.layer_norm(tokens, tokens.shape[-1:])[None].permute(0, 4, 1, 2, 3)

    embed = functional.conv3d(
        x, w("swinViT.patch_embed.proj.weight"), w("swinViT.patch_embed.proj.bias"), stride=2
    )
    tokens = embed[0].permute(1, 2, 3, 0)
    seen = [shown(tokens)]
    for stage in range(4):
        stem = f"swinViT.layers{stage + 1}.0"
        for n in range(2):
            tokens = _block(w, f"{stem}.blocks.{n}", tokens, 3 << stage, bool(n))
        offsets = [tuple(map(int, offset)) for offset in NEIGHBOURS]
        eight = torch.cat([tokens[a::2, b::2, c::2] for a, b, c in offsets], -1)
        eight = functional.layer_norm(
            eight, eight.shape[-1:], w(f"{stem}.downsample.norm.weight"), w(f"{stem}.downsample.norm.bias")
        )
        tokens = functional.linear(eight, w(f"{stem}.downsample.reduction.weight"))
        seen.append(shown(tokens))
    deepest = residual("encoder10.layer", seen[4])
    maps = raised(5, deepest, seen[3])
    for n, skip in ((4, seen[2]), (3, seen[1]), (2, seen[0]), (1, x)):
        maps = raised(n, maps, residual(f"encoder{n}.layer", skip))
    return deepest, maps


def _block(w: Weight, stem: str, tokens: Tensor, heads: int, shifted: bool) -> Tensor:
    """One Swin block on tokens (x, y, z, channel), window by window."""
    grid, channels = tokens.shape[:3], tokens.shape[3]
    sides = [min(SIDE, n) for n in grid]
    shifts = [SHIFT if shifted and n > SIDE else 0 for n in grid]
    x = functional.layer_norm(tokens, (channels,), w(f"{stem}.norm1.weight"), w(f"{stem}.norm1.bias"))
    full = [-(-n // side) * side for n, side in zip(grid, sides, strict=True)]
    padded = x.new_zeros(*full, channels)
    padded[: grid[0], : grid[1], : grid[2]] = x
    padded = padded.roll([-s for s in shifts], (0, 1, 2))
    region = torch.zeros(full)
    for number, parts in enumerate(product(*([0, 1, 2] for _ in full))):
        ends = [
            (slice(0, n - side), slice(n - side, n - s), slice(n - s, n))[part]
            for part, n, side, s in zip(parts, full, sides, shifts, strict=True)
        ]
        region[tuple(ends)] = number
    out = torch.empty_like(padded)
    count = sides[0] * sides[1] * sides[2]
    bias = w(f"{stem}.attn.relative_position_bias_table")[relative_index()[:count, :count]].permute(2, 0, 1)
    for corner in product(*(range(0, n, side) for n, side in zip(full, sides, strict=True))):
        here = tuple(slice(c, c + side) for c, side in zip(corner, sides, strict=True))
        qkv = functional.linear(
            padded[here].reshape(count, channels), w(f"{stem}.attn.qkv.weight"), w(f"{stem}.attn.qkv.bias")
        )
        q, k, v = qkv.reshape(count, 3, heads, channels // heads).permute(1, 2, 0, 3)
        score = q @ k.transpose(1, 2) / math.sqrt(channels // heads) + bias
        if any(shifts):
            own = region[here].flatten()
            score = score - 100.0 * (own[:, None] != own[None, :])
        mixed = (score.softmax(-1) @ v).transpose(0, 1).reshape(count, channels)
        mixed = functional.linear(mixed, w(f"{stem}.attn.proj.weight"), w(f"{stem}.attn.proj.bias"))
        out[here] = mixed.reshape(*sides, channels)
    out = out.roll(shifts, (0, 1, 2))[: grid[0], : grid[1], : grid[2]]
    tokens = tokens + out
    x = functional.layer_norm(tokens, (channels,), w(f"{stem}.norm2.weight"), w(f"{stem}.norm2.bias"))
    x = functional.gelu(functional.linear(x, w(f"{stem}.mlp.linear1.weight"), w(f"{stem}.mlp.linear1.bias")))
    return tokens + functional.linear(x, w(f"{stem}.mlp.linear2.weight"), w(f"{stem}.mlp.linear2.bias"))


def relative_index() -> Tensor:
    """Return for each pair of tokens of a 7x7x7 window the row of the bias table: their distance."""
    at = torch.tensor(list(product(range(SIDE), repeat=3)))
    away = at[:, None] - at[None, :] + SIDE - 1
    return (away * torch.tensor([(2 * SIDE - 1) ** 2, 2 * SIDE - 1, 1])).sum(-1)


def _random(backbone: Mapping[str, tuple[int, ...]], last: int, deepest: int, seed: int) -> State:
    shapes = {
        "organ_embedding": (CLASSES, TEXT),
        **backbone,
        "precls_conv.0.weight": (last,),
        "precls_conv.0.bias": (last,),
        "precls_conv.2.weight": (FEATURES, last, 1, 1, 1),
        "precls_conv.2.bias": (FEATURES,),
        "GAP.0.weight": (deepest,),
        "GAP.0.bias": (deepest,),
        "GAP.3.weight": (CONTEXT, deepest, 1, 1, 1),
        "GAP.3.bias": (CONTEXT,),
        "controller.weight": (THETA, 2 * CONTEXT, 1, 1, 1),
        "controller.bias": (THETA,),
        "text_to_vision.weight": (CONTEXT, TEXT),
        "text_to_vision.bias": (CONTEXT,),
    }
    draws = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=draws)
        if name.endswith("relative_position_index"):
            state[name] = relative_index()
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name == "organ_embedding":
            state[name] = (0.3 * values).half()
        elif name.endswith("running_var"):
            state[name] = values.abs() + 0.5
        elif len(shape) == 1:
            state[name] = 0.1 * values + (name.endswith("weight"))
        else:
            state[name] = values * math.sqrt(2 / math.prod(shape[1:]))
    state["controller.weight"] *= 0.5  # logits within some 12: of 20, float32 itself is 1e-4 from float64
    return state
