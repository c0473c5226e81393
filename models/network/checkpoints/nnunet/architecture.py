"""How a plans file describes its network, in the format of today and in that before nnU-Net 2.3."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from pydantic import FiniteFloat

from models.errors import Refused
from models.network.checkpoints.nnunet.documents import Document, typed
from models.network.nnunet_networks import ONES, Axes, NnunetArchitecture

_KINDS: dict[str, Literal["plain_conv_unet", "residual_encoder_unet"]] = {
    "PlainConvUNet": "plain_conv_unet",
    "ResidualEncoderUNet": "residual_encoder_unet",
}
_MODULES = (
    "dynamic_network_architectures.architectures.unet.",
    "dynamic_network_architectures.architectures.residual_unet.",
)
_CONVOLUTION = ("torch.nn.modules.conv.Conv3d", "torch.nn.Conv3d")
_FLAT = ("torch.nn.modules.conv.Conv2d", "torch.nn.Conv2d")
_NORM = ("torch.nn.modules.instancenorm.InstanceNorm3d", "torch.nn.InstanceNorm3d")
_ACTIVATION = ("torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU")

MOST_STAGES = 12
MOST_FEATURES = 4096
MOST_LAYERS = 64
MOST_SIDE = 31
"""Stages, channels, layers a stage, and sides of a kernel: beyond these no network is built to find out."""

_ByAxis = int | tuple[int, ...]
_ByStage = int | tuple[int, ...]


@dataclass(frozen=True)
class _Norm:
    """Arguments of instance norm; the defaults are torch's."""

    eps: FiniteFloat = 1e-5
    affine: bool = False


@dataclass(frozen=True)
class _Activation:
    """Arguments of the leaky ReLU; the default is torch's."""

    negative_slope: FiniteFloat = 0.01
    inplace: bool = False


@dataclass(frozen=True)
class _Arguments:
    """Arguments of nnU-Net's network classes; defaults are theirs."""

    n_stages: int
    features_per_stage: _ByStage
    conv_op: str
    kernel_sizes: int | tuple[_ByAxis, ...]
    strides: int | tuple[_ByAxis, ...]
    n_conv_per_stage_decoder: _ByStage
    n_conv_per_stage: _ByStage | None = None
    n_blocks_per_stage: _ByStage | None = None
    conv_bias: bool = False
    norm_op: str | None = None
    norm_op_kwargs: dict[str, object] | None = None
    dropout_op: str | None = None
    dropout_op_kwargs: dict[str, object] | None = None
    nonlin: str | None = None
    nonlin_kwargs: dict[str, object] | None = None
    deep_supervision: bool = False  # the predictor turns it off
    nonlin_first: bool = False


@dataclass(frozen=True)
class _Architecture:
    """``architecture`` of a configuration."""

    network_class_name: str
    arch_kwargs: dict[str, object]


@dataclass(frozen=True)
class _Flat:
    """The same before nnU-Net 2.3: fields of the configuration itself."""

    UNet_class_name: str
    UNet_base_num_features: int
    unet_max_num_features: int
    n_conv_per_stage_encoder: tuple[int, ...]
    n_conv_per_stage_decoder: _ByStage
    pool_op_kernel_sizes: tuple[_ByAxis, ...]
    conv_kernel_sizes: tuple[_ByAxis, ...]


def read_architecture(configuration: Document) -> NnunetArchitecture:
    """Return how the network of a configuration, its inheritance resolved, is built.

    Raises
    ------
    Refused
        `unknown-architecture` if it is none of the two U-Nets, or built of other layers; `two-dimensional`;
        `unreadable-plans`.
    """
    if "architecture" in configuration:
        said = typed(_Architecture, configuration["architecture"], "architecture of plans.json")
        module, _, name = said.network_class_name.rpartition(".")
        known = f"{module}." in _MODULES
    elif "UNet_class_name" in configuration:
        said = _from_flat(typed(_Flat, configuration, "plans.json"))
        name, known = said.network_class_name, True
    else:
        detail = "plans.json describes no network, in the format of today or the one before nnU-Net 2.3"
        raise Refused("unreadable-plans", detail, {"fields": sorted(configuration)})
    if not known or name not in _KINDS:
        detail = f"the network is a {said.network_class_name}; {' and '.join(_KINDS)} are read"
        raise Refused("unknown-architecture", detail, {"network": said.network_class_name})
    arguments = _read_arguments(said.arch_kwargs)
    wanted, other = arguments.n_conv_per_stage, arguments.n_blocks_per_stage
    if name == "ResidualEncoderUNet":
        wanted, other = other, wanted
    if wanted is None or other is not None:
        raise _unknown(f"a {name} has convolutions or blocks of its own kind a stage, and only these")
    return _built(_KINDS[name], arguments, wanted)


def _from_flat(flat: _Flat) -> _Architecture:
    """Return the older form as nnU-Net itself takes it over; what it had no field for was always the same."""
    stages = len(flat.n_conv_per_stage_encoder)
    if not 0 < stages <= MOST_STAGES:
        raise _unknown(f"{stages} stages")
    widths = [min(flat.UNet_base_num_features * 2**n, flat.unet_max_num_features) for n in range(stages)]
    plain = flat.UNet_class_name == "PlainConvUNet"
    return _Architecture(
        flat.UNet_class_name,
        {
            "n_stages": stages,
            "features_per_stage": widths,
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": flat.conv_kernel_sizes,
            "strides": flat.pool_op_kernel_sizes,
            "n_conv_per_stage" if plain else "n_blocks_per_stage": flat.n_conv_per_stage_encoder,
            "n_conv_per_stage_decoder": flat.n_conv_per_stage_decoder,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
        },
    )


def _read_arguments(written: dict[str, object]) -> _Arguments:
    """Return a network's arguments; one that is not known is refused, since it changes the network."""
    _only_known(_Arguments, {name: value for name, value in written.items() if value is not None}, "network")
    arguments = typed(_Arguments, written, "arch_kwargs of plans.json")
    if arguments.conv_op in _FLAT:
        raise two_dimensional()
    for what, found, known in (
        ("convolution", arguments.conv_op, _CONVOLUTION),
        ("norm", arguments.norm_op, _NORM),
        ("activation", arguments.nonlin, _ACTIVATION),
    ):
        if found not in known:
            raise _unknown(f"its {what} is {found}, {known[0]} is read")
    if arguments.dropout_op is not None or arguments.nonlin_first:
        raise _unknown("it has dropout, or its activation before the norm")
    return arguments


def _built(
    kind: Literal["plain_conv_unet", "residual_encoder_unet"], said: _Arguments, layers: _ByStage
) -> NnunetArchitecture:
    _only_known(_Norm, said.norm_op_kwargs or {}, "norm")
    _only_known(_Activation, said.nonlin_kwargs or {}, "activation")
    norm = typed(_Norm, said.norm_op_kwargs or {}, "norm_op_kwargs of plans.json")
    activation = typed(_Activation, said.nonlin_kwargs or {}, "nonlin_kwargs of plans.json")
    if not norm.affine or norm.eps <= 0:
        raise _unknown(f"its norm has no scale of its own, or an eps of {norm.eps}")
    stages = said.n_stages
    if not 2 <= stages <= MOST_STAGES:
        raise _unknown(f"{stages} stages; 2 to {MOST_STAGES} are read")
    architecture = NnunetArchitecture(
        kind,
        features=_by_stage(said.features_per_stage, stages, "features", MOST_FEATURES),
        kernels=_by_axis(said.kernel_sizes, stages, "kernels"),
        strides=_by_axis(said.strides, stages, "strides"),
        encoder=_by_stage(layers, stages, "layers down", MOST_LAYERS),
        decoder=_by_stage(said.n_conv_per_stage_decoder, stages - 1, "layers up", MOST_LAYERS),
        bias=said.conv_bias,
        eps=norm.eps,
        slope=activation.negative_slope,
    )
    if any(side % 2 == 0 for sides in architecture.kernels for side in sides):
        raise _unknown(f"kernels have even sides: {architecture.kernels}")
    if architecture.strides[0] != ONES:
        raise _unknown(f"its answer is coarser than its window, by {architecture.strides[0]}")
    return architecture


def _by_stage(said: _ByStage, stages: int, what: str, most: int) -> tuple[int, ...]:
    each = (said,) * stages if isinstance(said, int) else said
    if len(each) != stages or not all(1 <= one <= most for one in each):
        raise _unknown(f"{what} are {said} for {stages} stages, each 1 to {most}")
    return each


def _by_axis(said: int | tuple[_ByAxis, ...], stages: int, what: str) -> tuple[Axes, ...]:
    each = (said,) * stages if isinstance(said, int) else said
    if len(each) != stages:
        raise _unknown(f"{len(each)} {what} for {stages} stages")
    return tuple(_axes(one, what) for one in each)


def _axes(said: _ByAxis, what: str) -> Axes:
    sides = (said,) * 3 if isinstance(said, int) else said
    if len(sides) == 2:
        raise two_dimensional()
    if len(sides) != 3 or not all(1 <= side <= MOST_SIDE for side in sides):
        raise _unknown(f"{what} are {said}; three sides of 1 to {MOST_SIDE} are read")
    return sides[0], sides[1], sides[2]


def _only_known(
    kind: type[_Arguments] | type[_Norm] | type[_Activation], written: dict[str, object], what: str
) -> None:
    unknown = sorted(set(written) - {one.name for one in fields(kind)})
    if unknown:
        raise _unknown(f"arguments of its {what} that are not read: {', '.join(unknown)}", unknown=unknown)


def two_dimensional() -> Refused:
    """Return the refusal of a network that sees one slice at a time."""
    return Refused("two-dimensional", "the configuration is 2d; a 3d configuration is served")


def _unknown(detail: str, **measured: object) -> Refused:
    return Refused("unknown-architecture", f"the network cannot be built exactly: {detail}", measured)
