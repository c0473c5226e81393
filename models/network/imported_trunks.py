"""Trunks of public checkpoints: networks trained elsewhere, brought under our interface unchanged.

They were trained on volumes in RAS order, axes (right, anterior, head); our windows are (head,
posterior, left). Each turns the window on the way in and its maps on the way out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from monai.networks.layers.factories import Norm
from monai.networks.nets import SegResNet, SwinUNETR
from monai.networks.nets.swin_unetr import PatchMergingV2
from torch import Tensor, nn
from torch.nn import functional

from models.network.norm import ExportedGroupNorm, ExportedInstanceNorm, window_mean
from models.network.trunk import Trunk, TrunkOutput

INSTANCE_EXPORTED = "organloop_instance_exported"
"""Name under which MONAI's blocks find `ExportedInstanceNorm`."""

GROUP_EXPORTED = "organloop_group_exported"
"""Name under which MONAI's blocks find `ExportedGroupNorm`."""

for _name, _norm in ((INSTANCE_EXPORTED, ExportedInstanceNorm), (GROUP_EXPORTED, ExportedGroupNorm)):
    if _name.upper() not in Norm.names:
        Norm.add_factory_callable(_name, lambda dim, norm=_norm: norm)

GROUPS = 16
"""Groups of the norms before the last features and the global feature."""

MERGED = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))
"""Which of eight neighbours a token is merged from, as the published weights expect them.

MONAI before 1.5 took two neighbours twice and two never, and the weights were trained so. Later
versions take each once: with the same names and shapes, and other features.
"""


def to_ras(maps: Tensor) -> Tensor:
    """Turn (batch, channel, head, posterior, left) into (batch, channel, right, anterior, head)."""
    return maps.permute(0, 1, 4, 3, 2).flip((2, 3))


def from_ras(maps: Tensor) -> Tensor:
    """Turn (batch, channel, right, anterior, head) into (batch, channel, head, posterior, left)."""
    return maps.flip((2, 3)).permute(0, 1, 4, 3, 2)


class RasTrunk(Trunk):
    """A trunk whose network works in RAS order."""

    def forward(self, window: Tensor) -> TrunkOutput:
        """Return everything the heads may use, in our order."""
        answer = self.in_ras(to_ras(window))
        return TrunkOutput(
            from_ras(answer.features), tuple(map(from_ras, answer.coarse)), answer.global_feature
        )

    @abstractmethod
    def in_ras(self, window: Tensor) -> TrunkOutput:
        """Do the same with axes (batch, channel, right, anterior, head)."""


class TextDrivenTrunk(RasTrunk):
    """What text-driven heads look at: a few channels made from the last features, and a global feature.

    Parameters
    ----------
    last, deepest
        Channels of the backbone's last features and of its deepest map.
    features, global_channels
        Channels for the heads (8 as published), and length of the global feature (256).

    Notes
    -----
    Source: Liu et al., "CLIP-Driven Universal Model", ICCV 2023, arXiv:2301.00785, section 3.2.
    """

    def __init__(self, last: int, deepest: int, features: int, global_channels: int) -> None:
        super().__init__()
        self.feature_channels = features
        self.global_channels = global_channels
        self.precls_conv = nn.Sequential(
            ExportedGroupNorm(GROUPS, last), nn.ReLU(), nn.Conv3d(last, features, 1)
        )
        self.pooled = nn.Sequential(
            ExportedGroupNorm(GROUPS, deepest), nn.ReLU(), nn.Conv3d(deepest, global_channels, 1)
        )

    def in_ras(self, window: Tensor) -> TrunkOutput:
        """Return what the heads may use, axes (batch, channel, right, anterior, head)."""
        last, coarse, deepest = self.backbone(window)
        norm, relu, project = self.pooled
        summary = project(window_mean(relu(norm(deepest)))).flatten(1)
        return TrunkOutput(self.precls_conv(last), coarse, summary)

    @abstractmethod
    def backbone(self, window: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Return last features, coarser decoder maps (finest first) and the deepest map."""


class TextDrivenUNet(TextDrivenTrunk):
    """The 3D U-Net of 19 M parameters.

    Two 3x3x3 convolutions a level, each with instance norm and ReLU; halving is a maximum, doubling a
    transposed 2x2x2 convolution, and what is deeper comes first where maps are joined.

    Parameters
    ----------
    width
        Channels of the last features: 64 as published.
    features, global_channels
        See `TextDrivenTrunk`.

    Notes
    -----
    As published, every norm takes its statistics from the batch at hand, in evaluation too. With one
    window in the batch that is instance norm, and so it stays whatever else is in the batch.
    """

    def __init__(self, width: int = 64, features: int = 8, global_channels: int = 256) -> None:
        super().__init__(width, 8 * width, features, global_channels)
        self.spec = {
            "kind": "text_driven_unet", "width": width, "features": features,
            "global_channels": global_channels,
        }  # fmt: skip
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.coarse_channels = tuple(widths[1:])
        self.down = nn.ModuleList(
            nn.Sequential(_layer(into, out // 2), _layer(out // 2, out))
            for into, out in zip([1, *widths], widths, strict=False)
        )
        self.doubled = nn.ModuleList(nn.ConvTranspose3d(2 * n, 2 * n, 2, stride=2) for n in widths[:-1])
        self.up = nn.ModuleList(nn.Sequential(_layer(3 * n, n), _layer(n, n)) for n in widths[:-1])

    def backbone(self, window: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Return last features, coarser maps and the deepest map."""
        maps = [self.down[0](window)]
        for down in self.down[1:]:
            maps.append(down(functional.max_pool3d(maps[-1], 2)))
        deepest = maps.pop()
        decoded = [deepest]
        for level in range(len(maps) - 1, -1, -1):
            joined = torch.cat((self.doubled[level](decoded[0]), maps[level]), 1)
            decoded.insert(0, self.up[level](joined))
        return decoded[0], tuple(decoded[1:]), deepest


class TextDrivenSwin(TextDrivenTrunk):
    """Swin UNETR of 62 M parameters, with the token merging that its weights were trained with.

    Parameters
    ----------
    feature_size
        Channels of the last features: 48 as published.
    features, global_channels
        See `TextDrivenTrunk`.

    Notes
    -----
    Source: Hatamizadeh et al., "Swin UNETR", arXiv:2201.01266.
    """

    def __init__(self, feature_size: int = 48, features: int = 8, global_channels: int = 256) -> None:
        super().__init__(feature_size, 16 * feature_size, features, global_channels)
        self.spec = {
            "kind": "text_driven_swin", "feature_size": feature_size, "features": features,
            "global_channels": global_channels,
        }  # fmt: skip
        self.coarse_channels = (feature_size, 2 * feature_size, 4 * feature_size)
        self.net = SwinUNETR(
            in_channels=1,
            out_channels=1,
            feature_size=feature_size,
            norm_name=(INSTANCE_EXPORTED, {"affine": False}),
            downsample=PublishedMerging,  # type: ignore[arg-type]  # a class, as its own default is
        )
        del self.net.out

    def backbone(self, window: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Return last features, coarser maps and the deepest map."""
        net = self.net
        tokens = net.swinViT(window, net.normalize)
        deepest = net.encoder10(tokens[4])
        eighth = net.decoder4(net.decoder5(deepest, tokens[3]), net.encoder4(tokens[2]))
        quarter = net.decoder3(eighth, net.encoder3(tokens[1]))
        half = net.decoder2(quarter, net.encoder2(tokens[0]))
        return net.decoder1(half, net.encoder1(window)), (half, quarter, eighth), deepest


class PublishedMerging(PatchMergingV2):
    """Halve the grid of tokens by joining eight neighbours: those of `MERGED`, not each once."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of half the grid, axes (batch, x, y, z, channel); sides must be even."""
        joined = torch.cat([tokens[:, x::2, y::2, z::2] for x, y, z in MERGED], -1)
        return self.reduction(self.norm(joined))


class SegResNetTrunk(RasTrunk):
    """MONAI's SegResNet up to its last convolution, which is the heads'.

    Parameters
    ----------
    filters
        Channels of the last features.
    blocks_down, blocks_up
        Residual blocks a level, as MONAI takes them.

    Notes
    -----
    Source: Myronenko, arXiv:1810.11654. The global feature is the mean of the deepest map.
    """

    def __init__(
        self,
        filters: int = 16,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
        blocks_up: Sequence[int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        self.spec = {
            "kind": "segresnet", "filters": filters, "blocks_down": list(blocks_down),
            "blocks_up": list(blocks_up),
        }  # fmt: skip
        levels = len(blocks_up)
        self.feature_channels = filters
        self.coarse_channels = tuple(filters << level for level in range(1, levels + 1))
        self.global_channels = filters << levels
        self.net = SegResNet(
            init_filters=filters,
            blocks_down=tuple(blocks_down),
            blocks_up=tuple(blocks_up),
            norm=(GROUP_EXPORTED, {"num_groups": 8}),
        )
        del self.net.conv_final[2]

    def in_ras(self, window: Tensor) -> TrunkOutput:
        """Return what the heads may use, axes (batch, channel, right, anterior, head)."""
        net = self.net
        deepest, skips = net.encode(window)
        maps = [deepest]
        for raised, blocks, skip in zip(net.up_samples, net.up_layers, skips[-2::-1], strict=True):
            maps.insert(0, blocks(raised(maps[0]) + skip))
        return TrunkOutput(net.conv_final(maps[0]), tuple(maps[1:]), window_mean(deepest).flatten(1))


IMPORTED_TRUNKS: Mapping[str, type[Trunk]] = {
    "text_driven_unet": TextDrivenUNet,
    "text_driven_swin": TextDrivenSwin,
    "segresnet": SegResNetTrunk,
}
"""Kinds of trunk that are only imported."""


def _layer(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 3, padding=1),
        ExportedInstanceNorm(channels_out, affine=True),
        nn.ReLU(),
    )
