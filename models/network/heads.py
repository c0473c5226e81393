"""Heads: the private network of one organ, on what the trunk exposes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.contract import TRUNK_COARSE, TRUNK_FEATURES, TRUNK_GLOBAL
from models.errors import InvalidRelease
from models.network.trunk import TrunkOutput
from models.network.voxel_taps import HALO, VoxelTaps, given


@dataclass(frozen=True)
class HeadSpec:
    """Which taps a head has; what is not named here does not exist and costs nothing.

    Parameters
    ----------
    feature_channels
        Channels of the trunk's last features.
    hidden
        Width of the head.
    neighbourhood
        Whether there is a 3x3x3 tap on the last features.
    coarse
        By level (1 = half resolution, ...) the channels of each coarser map that is tapped, finest
        first.
    global_channels
        Length of the global feature if it is tapped, else 0.
    form
        Kind of head (`HEAD_FORMS`).
    members
        Networks of this shape side by side, each with its own weights; the logit is the mean of theirs.
    block
        Channels of the private last block, two 3x3x3 convolutions on the last features, or 0.
    """

    feature_channels: int
    hidden: int = 8
    neighbourhood: bool = False
    coarse: tuple[tuple[int, int], ...] = ()
    global_channels: int = 0
    form: str = "convolutional"
    members: int = 1
    block: int = 0

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values; one member and no block are not said, as before there could be any."""
        values = asdict(self)
        if self.members == 1:
            del values["members"]
        if not self.block:
            del values["block"]
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HeadSpec:
        """Rebuild from `to_json`; an unknown field raises TypeError."""
        return cls(**{**data, "coarse": tuple((int(level), int(n)) for level, n in data["coarse"])})


class Head(nn.Module, ABC):
    """One organ's network: `TrunkOutput` to logits, axes (batch, 1, k, j, i)."""

    spec: HeadSpec
    neighbourhood: nn.Conv3d | None
    coarse: nn.ModuleDict
    block: PrivateBlock | None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the trunk's outputs it uses, in the trunk's order."""
        maps = tuple(TRUNK_COARSE.format(level) for level, _ in self.spec.coarse)
        return (TRUNK_FEATURES, *maps, *((TRUNK_GLOBAL,) if self.spec.global_channels else ()))

    def forward(self, trunk: TrunkOutput) -> Tensor:
        """Return the logit of every voxel: the mean over the members."""
        logits = self.members(trunk)
        return logits if self.spec.members == 1 else logits.mean(1, keepdim=True)

    def on_voxels(self, taps: VoxelTaps) -> Tensor:
        """Return the logits, shape (voxel,), of single voxels: what `forward` gives there, to rounding."""
        return self.members_on_voxels(taps).mean(1)

    @abstractmethod
    def members(self, trunk: TrunkOutput) -> Tensor:
        """Return every member's logits, axes (batch, member, k, j, i)."""

    @abstractmethod
    def members_on_voxels(self, taps: VoxelTaps) -> Tensor:
        """Return every member's logits of single voxels, axes (voxel, member).

        Raises
        ------
        ValueError
            If the taps do not hold what the head uses.
        """

    def _make_taps(self, width: int) -> None:
        """Make the optional taps, which add to the first layer of a head."""
        spec = self.spec
        self.neighbourhood = (
            nn.Conv3d(spec.feature_channels, width, 3, padding=1, bias=False) if spec.neighbourhood else None
        )
        self.coarse = nn.ModuleDict({str(n): nn.Conv3d(c, width, 1, bias=False) for n, c in spec.coarse})
        self.block = PrivateBlock(spec, width) if spec.block else None

    def _with_taps(self, total: Tensor, trunk: TrunkOutput) -> Tensor:
        """Add what the optional taps see to the first layer, axes (batch, width, k, j, i)."""
        if self.neighbourhood is not None:
            total = total + self.neighbourhood(trunk.features)
        if self.block is not None:
            total = total + self.block(functional.pad(trunk.features, [HALO] * 6))
        for level, projection in self.coarse.items():
            projected = projection(trunk.coarse[int(level) - 1])
            total = total + functional.interpolate(
                projected, scale_factor=2.0 ** int(level), mode="trilinear", align_corners=False
            )
        return total

    def _with_voxel_taps(self, total: Tensor, taps: VoxelTaps) -> Tensor:
        """Add what the optional taps see to the first layer, axes (voxel, width)."""
        if self.block is not None:
            total = total + _by_voxel(self.block(given(taps.surround)))
        if self.neighbourhood is not None and taps.surround is not None:
            inner = taps.surround[(slice(None), slice(None), *[slice(1, -1)] * 3)]
            total = total + _by_voxel(functional.conv3d(inner, self.neighbourhood.weight))
        elif self.neighbourhood is not None:
            kernel = self.neighbourhood.weight.permute(0, 2, 3, 4, 1).flatten(1)
            total = total + functional.linear(given(taps.neighbourhood), kernel)
        for level, projection in self.coarse.items():
            weight: Tensor = projection.weight  # type: ignore[assignment]
            total = total + functional.linear(taps.coarse[int(level)], weight.flatten(1))
        return total


class PrivateBlock(nn.Module):
    """A last block of one organ's own: 3x3x3, ReLU, 3x3x3, on features with `HALO` voxels more a side.

    The second convolution starts at zero, so that the block changes nothing at first; the first starts at
    fixed draws, or the second would never learn.
    """

    def __init__(self, spec: HeadSpec, width: int) -> None:
        super().__init__()
        hidden = spec.block * spec.members
        self.first = nn.Conv3d(spec.feature_channels, hidden, 3)
        self.second = nn.Conv3d(hidden, width, 3, bias=False, groups=spec.members)

    def forward(self, features: Tensor) -> Tensor:
        """Return what is added to the first layer, axes (batch, width, k, j, i)."""
        added: Tensor = self.second(functional.relu(self.first(features)))
        return added


class ConvolutionalHead(Head):
    """Taps summed, ReLU, 1x1x1, ReLU, 1x1x1.

    The taps: 1x1x1 on the last features, always; 3x3x3 on the last features; 1x1x1 on each coarser
    map, then trilinear to full resolution; linear in the global feature. Only the first has a bias.
    Members lie side by side: the rows of a first layer are the first member's, then the next one's, and
    the later layers are grouped, so that no member sees another.

    Notes
    -----
    Source of the three-layer form: Liu et al., "CLIP-Driven Universal Model", ICCV 2023,
    arXiv:2301.00785, with the weights private to the organ instead of computed from text.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        members, width = spec.members, spec.members * spec.hidden
        self.features = nn.Conv3d(spec.feature_channels, width, 1)
        self._make_taps(width)
        self.context = nn.Linear(spec.global_channels, width, bias=False) if spec.global_channels else None
        self.hidden = nn.Conv3d(width, width, 1, groups=members)
        self.logit = nn.Conv3d(width, members, 1, groups=members)

    def members(self, trunk: TrunkOutput) -> Tensor:
        """Return every member's logits; see `Head.members`."""
        total = self._with_taps(self.features(trunk.features), trunk)
        if self.context is not None:
            total = total + self.context(trunk.global_feature)[:, :, None, None, None]
        return self.logit(functional.relu(self.hidden(functional.relu(total))))

    def members_on_voxels(self, taps: VoxelTaps) -> Tensor:
        """Return every member's logits of single voxels; see `Head.members_on_voxels`."""
        total = functional.linear(taps.features, self.features.weight.flatten(1), self.features.bias)
        total = self._with_voxel_taps(total, taps)
        if self.context is not None:
            total = total + self.context(given(taps.context))[given(taps.window)]
        for layer in (self.hidden, self.logit):
            kernels = torch.block_diag(*layer.weight.flatten(1).chunk(self.spec.members))
            total = functional.linear(functional.relu(total), kernels, layer.bias)
        return total


class TextDrivenHead(Head):
    """Three 1x1x1 layers whose weights are linear in the window's global feature.

    ``theta = A x + c`` holds, in this order, the kernels of the three layers, then their biases. What
    the text said of the organ is in A and c; no text is read any more.

    Notes
    -----
    Source: Liu et al., "CLIP-Driven Universal Model", ICCV 2023, arXiv:2301.00785, section 3.2, with
    ``W [x; e] + b`` written as ``W_x x + (W_e e + b)`` for each organ's constant e.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.hidden
        self.sizes = [spec.feature_channels * width, width * width, width, width, width, 1]
        self.theta = nn.Linear(spec.global_channels, sum(self.sizes))
        self._make_taps(width)

    def members(self, trunk: TrunkOutput) -> Tensor:
        """Return the logits of its one member; see `Head.members`."""
        batch, _, *grid = trunk.features.shape
        w1, w2, w3, b1, b2, b3 = self.theta(trunk.global_feature).split(self.sizes, 1)
        width = self.spec.hidden
        # Products of small matrices: engines have no convolution whose kernel is computed.
        total = w1.reshape(batch, width, -1) @ trunk.features.flatten(2) + b1[:, :, None]
        total = self._with_taps(total.reshape(batch, width, *grid), trunk).flatten(2)
        total = w2.reshape(batch, width, width) @ functional.relu(total) + b2[:, :, None]
        total = w3.reshape(batch, 1, width) @ functional.relu(total) + b3[:, :, None]
        return total.reshape(batch, 1, *grid)

    def members_on_voxels(self, taps: VoxelTaps) -> Tensor:
        """Return the logits of single voxels; see `Head.members_on_voxels`."""
        theta = self.theta(given(taps.context))[given(taps.window)]  # once a window, not once a voxel
        w1, w2, w3, b1, b2, b3 = theta.split(self.sizes, 1)
        width = self.spec.hidden
        total = (w1.unflatten(1, (width, -1)) @ taps.features[:, :, None])[:, :, 0] + b1
        total = functional.relu(self._with_voxel_taps(total, taps))
        total = (w2.unflatten(1, (width, width)) @ total[:, :, None])[:, :, 0] + b2
        return (w3 * functional.relu(total)).sum(1, keepdim=True) + b3


class LinearHead(Head):
    """One 1x1x1 layer: an organ's channel of a plain network's last convolution.

    Optional taps add to the logit.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        self.logit = nn.Conv3d(spec.feature_channels, 1, 1)
        self._make_taps(1)

    def members(self, trunk: TrunkOutput) -> Tensor:
        """Return the logits of its one member; see `Head.members`."""
        return self._with_taps(self.logit(trunk.features), trunk)

    def members_on_voxels(self, taps: VoxelTaps) -> Tensor:
        """Return the logits of single voxels; see `Head.members_on_voxels`."""
        total = functional.linear(taps.features, self.logit.weight.flatten(1), self.logit.bias)
        return self._with_voxel_taps(total, taps)


HEAD_FORMS: Mapping[str, type[Head]] = {
    "convolutional": ConvolutionalHead,
    "text-driven": TextDrivenHead,
    "linear": LinearHead,
}
"""Forms a head file may name."""


def build_head(spec: HeadSpec) -> Head:
    """Build an untrained head.

    Raises
    ------
    InvalidRelease
        If the form is unknown or the sizes do not fit.
    """
    form = HEAD_FORMS.get(spec.form)
    if form is None:
        raise InvalidRelease(f"no head of form {spec.form!r}; there are {', '.join(HEAD_FORMS)}")
    if spec.members < 1 or (spec.members > 1 and form is not ConvolutionalHead):
        raise InvalidRelease(f"a {spec.form} head cannot have {spec.members} members")
    try:
        return form(spec)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidRelease(f"head {spec} cannot be built: {error}") from error


def with_taps(head: Head, spec: HeadSpec) -> Head:
    """Return a copy of a head with more taps; what each new one adds is zero, so no output changes.

    Raises
    ------
    ValueError
        If the spec takes something away or changes a size.
    """
    richer = build_head(spec)
    own = head.state_dict()
    tensors = richer.state_dict()
    if any(name not in tensors or tensors[name].shape != tensor.shape for name, tensor in own.items()):
        raise ValueError(f"{spec} does not contain {head.spec}")
    richer.load_state_dict({n: own[n] if n in own else _beginning(n, t) for n, t in tensors.items()})
    return richer


def _beginning(name: str, tensor: Tensor) -> Tensor:
    """Return what a new tap starts at: zero, but for the first convolution of a private block."""
    if name != "block.first.weight":
        return torch.zeros_like(tensor)
    draws = torch.Generator().manual_seed(0)
    return torch.randn(tensor.shape, generator=draws) * (2 / tensor[0].numel()) ** 0.5


def joint_logits(heads: Sequence[ConvolutionalHead], features: Tensor) -> Tensor:
    """Run many heads without optional taps at once, as training from scratch needs it.

    The private weights are laid side by side (block-diagonal where a head must not see another), so
    that nine heads are three matrix products; every tensor stays its head's own and gets its own
    gradient.

    Parameters
    ----------
    heads
        Heads of equal width and one member that only have the first tap.
    features
        Axes (batch, channel, k, j, i).

    Returns
    -------
    Tensor
        Axes (batch, voxel, head), voxels in (k, j, i) order.
    """
    rows = features.permute(0, 2, 3, 4, 1).flatten(1, 3)
    first = functional.linear(
        rows,
        torch.cat([head.features.weight.flatten(1) for head in heads]),
        torch.cat([_bias(head.features) for head in heads]),
    )
    second = functional.linear(
        functional.relu(first),
        torch.block_diag(*[head.hidden.weight.flatten(1) for head in heads]),
        torch.cat([_bias(head.hidden) for head in heads]),
    )
    return functional.linear(
        functional.relu(second),
        torch.block_diag(*[head.logit.weight.flatten(1) for head in heads]),
        torch.cat([_bias(head.logit) for head in heads]),
    )


def _by_voxel(tiles: Tensor) -> Tensor:
    """Return axes (tile, width, k, j, i) as (voxel, width), tile after tile."""
    return tiles.permute(0, 2, 3, 4, 1).flatten(0, 3)


def _bias(layer: nn.Conv3d) -> Tensor:
    return given(layer.bias)
