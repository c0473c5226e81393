"""``config.pbtxt`` of every model in Triton's repository, generated from the contract.

Each setting has its reason beside it, in the file that Triton reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.contract import (
    AFFINE_INPUT,
    DISAGREEMENT_OUTPUT,
    FRACTIONS_INPUT,
    GLOBAL_FEATURE_OUTPUT,
    GRID_OUTPUT,
    HEAD_LOGIT,
    HEAD_SPREAD,
    MASK_OUTPUTS,
    MEMBER_DISAGREEMENT_OUTPUT,
    MEMBER_ORGAN_OUTPUT,
    PROBABILITY_OUTPUT,
    RELEASE_DIGEST_OUTPUT,
    SAMPLE_OUTPUTS,
    SEGMENTER,
    TRUNK_COARSE,
    TRUNK_FEATURES,
    TRUNK_GLOBAL,
    TRUNK_INPUT,
    VOLUME_INPUT,
    WINDOW_ORIGIN_OUTPUT,
    ModelContract,
)
from services.inference.engine import serving_profile

Shapes = Mapping[str, Sequence[int]]
"""By name of a tensor its fixed shape, the batch of one included."""

GENERATED = "# Generated from the contract of a release; what is changed here is lost.\n"


def triton_config(threads: int) -> str:
    """Return the configuration of the segmenter for the target `python`, with so many threads."""
    return segmenter_config({"threads": str(threads), "serving_profile": serving_profile(threads)})


def segmenter_config(parameters: Mapping[str, str]) -> str:
    """Return the configuration of the segmenter, for any target.

    Parameters
    ----------
    parameters
        What the model must find itself to be: ``serving_profile``, and what it needs to check that.

    Returns
    -------
    str
        Protobuf text. It says nothing about one release, so that all releases share it.
    """
    values = "\n".join(_parameter(key, value) for key, value in parameters.items())
    return f"""\
{GENERATED}name: "{SEGMENTER}"
backend: "python"

# One volume is one request. Windows are batched by nobody: bits repeat only at a fixed shape.
max_batch_size: 0

# -1: the grid of each study, the organs and windows of each release, and what is worth sending differ.
input [
  {{ name: "{VOLUME_INPUT}" data_type: TYPE_INT16 dims: [ -1, -1, -1 ] optional: true }},  # HU (k, j, i)
  {{ name: "{FRACTIONS_INPUT}" data_type: TYPE_FP32 dims: [ -1, -1, -1 ] optional: true }},  # in its place
  {{ name: "{AFFINE_INPUT}" data_type: TYPE_FP64 dims: [ 4, 4 ] optional: true }}  # where it is a whole CT
]
output [
{_segmenter_outputs()}
]

# One process per release: more would only share the same cores, and studies wait their turn.
instance_group [ {{ count: 1 kind: KIND_CPU }} ]

# Every version folder is a release that may be asked for by number; rollback needs the old one loaded.
version_policy {{ all {{ }} }}

# What the model must find itself to be; it refuses to load in another profile.
{values}
"""


def _segmenter_outputs() -> str:
    packed = {PROBABILITY_OUTPUT: "every organ", DISAGREEMENT_OUTPUT: "every organ"}
    packed[MEMBER_DISAGREEMENT_OUTPUT] = "organs whose heads have members, if any"
    parts = {"box": ("INT32", "-1, 6"), "code": ("UINT8", "-1"), "exact": ("FP16", "-1")}
    tensors = [
        (name.format(part), kind, dims, whose)
        for name, whose in packed.items()
        for part, (kind, dims) in parts.items()
    ]
    tensors += [
        (MEMBER_ORGAN_OUTPUT, "INT32", "-1", "their channels"),
        (GLOBAL_FEATURE_OUTPUT, "FP32", "-1, -1", "(window, feature)"),
        (WINDOW_ORIGIN_OUTPUT, "INT32", "-1, 3", "(window, 3)"),
        (RELEASE_DIGEST_OUTPUT, "UINT8", "32", "SHA-256 of release.json"),
    ]
    tensors.append((GRID_OUTPUT, "FP64", "5, 4", "where probabilities of a CT lie: affine, then shape"))
    for name in MASK_OUTPUTS:
        kind = ("INT32", "-1, 6") if name.endswith("box") else ("UINT8", "-1")
        tensors.append((name, *kind, "masks that were decided on the server"))
    kinds = (("INT32", "-1"), ("INT32", "-1"), ("FP32", "-1"), ("FP16", "-1, -1"))
    for name, kind_dims in zip(SAMPLE_OUTPUTS, kinds, strict=True):
        tensors.append((name, *kind_dims, "for tuning, only where asked for by name"))
    lines = [
        f'  {{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] }}{"," * (n < len(tensors))}  # {axes}'
        for n, (name, kind, dims, axes) in enumerate(tensors, 1)
    ]
    return "\n".join(lines)


def trunk_config(name: str, contract: ModelContract, backend: str) -> str:
    """Return the configuration of a trunk on a GPU: ``onnxruntime`` or ``tensorrt``."""
    window = {TRUNK_INPUT: (1, 1, *contract.window_shape)}
    return _network_config(name, backend, window, trunk_shapes(contract))


def trunk_shapes(contract: ModelContract) -> dict[str, tuple[int, ...]]:
    """Return the outputs of the contract's trunk for one window, in the graph's order."""
    k, j, i = contract.window_shape
    shapes: dict[str, tuple[int, ...]] = {TRUNK_FEATURES: (1, contract.feature_channels, k, j, i)}
    for level, channels in enumerate(contract.coarse_channels, 1):
        shapes[TRUNK_COARSE.format(level)] = (1, channels, k >> level, j >> level, i >> level)
    return {**shapes, TRUNK_GLOBAL: (1, contract.global_channels)}


def head_config(name: str, inputs: Shapes, outputs: Shapes) -> str:
    """Return the configuration of a head on a GPU.

    Always ONNX Runtime: a head is small, and no engine needs to be built for it at a promotion.
    """
    return _network_config(name, "onnxruntime", inputs, outputs)


def window_config(
    name: str,
    contract: ModelContract,
    trunk: str,
    heads: Mapping[str, str],
    taps: Mapping[str, Sequence[str]],
    members: Sequence[str],
) -> str:
    """Return the configuration of the ensemble that answers one window: the trunk, then every head.

    Parameters
    ----------
    name
        Of the ensemble.
    contract
        Organs and window.
    trunk, heads
        Names of the models; heads by organ.
    taps
        By organ the trunk's outputs that the head uses.
    members
        Organs whose heads have members.
    """
    k, j, i = contract.window_shape
    used = {TRUNK_GLOBAL, *(tap for organ in contract.organs for tap in taps[organ])}
    steps = [_step(trunk, {TRUNK_INPUT: TRUNK_INPUT}, {tap: tap for tap in sorted(used)})]
    for organ in contract.organs:
        tensors = (HEAD_LOGIT, HEAD_SPREAD) if organ in members else (HEAD_LOGIT,)
        given = {tensor: f"{tensor}_{organ}" for tensor in tensors}
        steps.append(_step(heads[organ], {tap: tap for tap in taps[organ]}, given))
    shape = {TRUNK_GLOBAL: (1, contract.global_channels)}
    outputs = [
        _tensor(tensor, shape.get(tensor, (1, 1, k, j, i))) for tensor in window_outputs(contract, members)
    ]
    return f"""\
{GENERATED}name: "{name}"
platform: "ensemble"

# One window at a time: bits repeat only at a fixed shape.
max_batch_size: 0
input [ {_tensor(TRUNK_INPUT, (1, 1, k, j, i))} ]
output [
  {_joined(outputs)}
]

# Features pass from the trunk to the heads inside the server, on the GPU. Loading this loads its parts;
# those that another release has loaded stay as they are.
ensemble_scheduling {{ step [
  {_joined(steps)}
] }}
"""


def window_outputs(contract: ModelContract, members: Sequence[str]) -> list[str]:
    """Return the names of the ensemble's outputs: the global feature, and by organ what its head gives."""
    logits = [f"{HEAD_LOGIT}_{organ}" for organ in contract.organs]
    return [
        TRUNK_GLOBAL,
        *logits,
        *(f"{HEAD_SPREAD}_{organ}" for organ in contract.organs if organ in members),
    ]


def _network_config(name: str, backend: str, inputs: Shapes, outputs: Shapes) -> str:
    file = "model.plan" if backend == "tensorrt" else "model.onnx"
    return f"""\
{GENERATED}name: "{name}"
backend: "{backend}"
default_model_filename: "{file}"

# Shapes are fixed and windows are batched by nobody: bits repeat only at a fixed shape.
max_batch_size: 0
input [
  {_joined([_tensor(tensor, shape) for tensor, shape in inputs.items()])}
]
output [
  {_joined([_tensor(tensor, shape) for tensor, shape in outputs.items()])}
]

# One instance a GPU: a window fills it, and a second would only take its memory.
instance_group [ {{ count: 1 kind: KIND_GPU }} ]
{ONNXRUNTIME_PARAMETERS if backend == "onnxruntime" else ""}"""


ONNXRUNTIME_PARAMETERS = """
# 1: cuDNN's algorithms by its own rule. The default tries them out and takes the fastest, which may be
# another one at the next start, with other last bits.
parameters { key: "cudnn_conv_algo_search" value { string_value: "1" } }

# 1: memory grows by what is asked for, not to the next power of two; many heads share one GPU.
parameters { key: "arena_extend_strategy" value { string_value: "1" } }
"""


def _tensor(name: str, shape: Sequence[int]) -> str:
    return f'{{ name: "{name}" data_type: TYPE_FP32 dims: [ {", ".join(map(str, shape))} ] }}'


def _step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    maps = [f'input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs.items()]
    maps += [f'output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs.items()]
    return f'{{ model_name: "{model}" model_version: 1 {" ".join(maps)} }}'


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def _joined(items: Sequence[str]) -> str:
    return ",\n  ".join(items)
