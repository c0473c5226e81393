"""What a plans file says of one configuration: the grid, the intensities and the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from pydantic import FiniteFloat

from models.errors import Refused
from models.network.checkpoints.nnunet.architecture import read_architecture, two_dimensional
from models.network.checkpoints.nnunet.documents import Document, typed
from models.network.nnunet_networks import Axes, NnunetArchitecture

T = TypeVar("T", int, float)

READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient")
"""Those of nnU-Net for volumes with a geometry."""

PREPROCESSOR = "DefaultPreprocessor"
"""Transpose, crop to what is not 0, normalise, resample; in this order."""

LABEL_MANAGER = "LabelManager"
CT, NONE = "CTNormalization", "NoNormalization"

RESAMPLING = "resample_data_or_seg_to_shape"
_COARSE: dict[str, object] = {"is_seg": False, "order_z": 0, "force_separate_z": None}
RESAMPLED: Mapping[str, dict[str, object]] = {
    "resampling_fn_data": {**_COARSE, "order": 3},
    "resampling_fn_probabilities": {**_COARSE, "order": 1},
}
"""Arguments of the one way to resample that is read: images by cubic splines, logits linearly.

Along an axis that is more than three times coarser the nearest voxel is taken. nnU-Net plans no other way
unless it is asked to.
"""

MOST_VOXELS = 1 << 27
"""Of one window: eight times the largest that nnU-Net plans."""


@dataclass(frozen=True)
class CtIntensity:
    """Clip to `lowest` and `highest`, subtract `mean`, divide by `deviation`; Hounsfield units."""

    lowest: float
    highest: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class Plan:
    """One configuration of a plans file: all of it that nnU-Net's predictor reads.

    Parameters
    ----------
    dataset, plans, configuration
        Their names, for the record.
    reader
        Which of nnU-Net's readers made arrays of files, one of `READERS`. How these lay in the patient is a
        property of the training's files and stands nowhere.
    transpose_forward
        Axis n of the network is this axis of the reader's array.
    transpose_backward
        The inverse.
    spacing_mm
        Voxel size of the network's grid along its axes, millimetres.
    window
        Voxels of one window along the network's axes.
    intensity
        How a CT is normalised; None: not at all.
    architecture
        Of the network.
    """

    dataset: str
    plans: str
    configuration: str
    reader: str
    transpose_forward: Axes
    transpose_backward: Axes
    spacing_mm: tuple[float, float, float]
    window: Axes
    intensity: CtIntensity | None
    architecture: NnunetArchitecture


@dataclass(frozen=True)
class _Properties:
    """Intensities of what is no background, over the training's images."""

    mean: FiniteFloat
    std: FiniteFloat
    percentile_00_5: FiniteFloat
    percentile_99_5: FiniteFloat


@dataclass(frozen=True)
class _Written:
    """Fields of a plans file."""

    dataset_name: str
    plans_name: str
    image_reader_writer: str
    transpose_forward: tuple[int, ...]
    transpose_backward: tuple[int, ...]
    configurations: dict[str, dict[str, object]]
    label_manager: str = LABEL_MANAGER  # nnU-Net's own default
    foreground_intensity_properties_per_channel: dict[str, dict[str, object]] | None = None
    foreground_intensity_properties_by_modality: dict[str, dict[str, object]] | None = None


@dataclass(frozen=True)
class _Configuration:
    """Fields of one configuration, but for its network."""

    preprocessor_name: str
    patch_size: tuple[int, ...]
    spacing: tuple[FiniteFloat, ...]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    resampling_fn_data: str
    resampling_fn_data_kwargs: dict[str, object]
    resampling_fn_probabilities: str
    resampling_fn_probabilities_kwargs: dict[str, object]
    previous_stage: str | None = None


def read_plan(document: Document, configuration: str) -> Plan:
    """Return what a plans file says of a configuration.

    Raises
    ------
    Refused
        `cascade`, `two-dimensional`, `several-channels`, `mask-normalisation`, `unknown-normalisation`,
        `unknown-preprocessor`, `unknown-resampling`, `unknown-label-manager`, `unknown-reader`,
        `unknown-architecture`: what is not read exactly; `bad-plans` if what it says contradicts itself;
        `unreadable-plans` with the names of fields that are missing or of another type.
    """
    written = typed(_Written, document, "plans.json")
    for code, what, found, known in (
        ("unknown-label-manager", "label manager", written.label_manager, (LABEL_MANAGER,)),
        ("unknown-reader", "reader", written.image_reader_writer, READERS),
    ):
        _require_known(code, what, found, known)
    fields = _with_inherited(written.configurations, configuration)
    if fields.get("previous_stage") is not None:
        detail = (
            f"{configuration} refines what {fields['previous_stage']} found; name a network that needs none"
        )
        raise Refused("cascade", detail, {"previous_stage": fields["previous_stage"]})
    said = typed(_Configuration, fields, f"{configuration} of plans.json")
    _require_known("unknown-preprocessor", "preprocessor", said.preprocessor_name, (PREPROCESSOR,))
    _require_resampling(said)
    if len(said.patch_size) == 2:
        raise two_dimensional()
    architecture = read_architecture(fields)
    k, j, i = _three(said.spacing, "spacing")
    if min(k, j, i) <= 0:
        raise Refused("bad-plans", f"the spacing is {said.spacing}", {"spacing_mm": said.spacing})
    forward, backward = _transposes(written)
    return Plan(
        dataset=written.dataset_name,
        plans=written.plans_name,
        configuration=configuration,
        reader=written.image_reader_writer,
        transpose_forward=forward,
        transpose_backward=backward,
        spacing_mm=(k, j, i),
        window=_window(said, architecture),
        intensity=_intensity(written, said),
        architecture=architecture,
    )


def _with_inherited(configurations: Mapping[str, Document], name: str) -> Document:
    """Return a configuration's fields, those of what it inherits from beneath its own."""
    chain: list[str] = []
    fields: dict[str, object] = {}
    above: object = name
    while above is not None:
        if not isinstance(above, str) or above not in configurations or above in chain:
            detail = f"{above!r} is no configuration, or inherits from itself"
            raise Refused("bad-plans", detail, {"configurations": sorted(configurations), "chain": chain})
        chain.append(above)
        fields = {**configurations[above], **fields}
        above = configurations[above].get("inherits_from")
    return fields


def _require_known(code: str, what: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise Refused(code, f"the {what} is {found}; {', '.join(known)} is read", {"found": found})


def _require_resampling(said: _Configuration) -> None:
    for name, known in RESAMPLED.items():
        function, arguments = getattr(said, name), getattr(said, f"{name}_kwargs")
        if function != RESAMPLING or _exactly(arguments) != _exactly(known):
            detail = f"{name} is {function} with {arguments}; {RESAMPLING} with {known} is read"
            raise Refused("unknown-resampling", detail, {"function": function, "arguments": arguments})


def _exactly(arguments: Mapping[str, object]) -> str:
    """Return arguments as they compare: True is not 1."""
    return json.dumps(arguments, sort_keys=True)


def _transposes(written: _Written) -> tuple[Axes, Axes]:
    forward, backward = written.transpose_forward, written.transpose_backward
    orders = sorted(forward) == sorted(backward) == [0, 1, 2]
    if not orders or any(backward[axis] != n for n, axis in enumerate(forward)):
        detail = f"axes are turned by {forward} and back by {backward}, which is not the way back"
        raise Refused("bad-plans", detail, {"forward": forward, "backward": backward})
    return _three(forward, "axes"), _three(backward, "axes")


def _window(said: _Configuration, architecture: NnunetArchitecture) -> Axes:
    window, multiple = _three(said.patch_size, "patch_size"), architecture.window_multiple
    if any(side < 1 or side % one for side, one in zip(window, multiple, strict=True)):
        detail = (
            f"windows of {window} cannot be halved as the network does: sides are multiples of {multiple}"
        )
        raise Refused("bad-plans", detail, {"window": window, "multiple": multiple})
    if prod(window) > MOST_VOXELS:
        raise Refused("bad-plans", f"windows of {window}", {"window": window, "most_voxels": MOST_VOXELS})
    return window


def _intensity(written: _Written, said: _Configuration) -> CtIntensity | None:
    if len(said.normalization_schemes) != 1 or len(said.use_mask_for_norm) != 1:
        detail = f"images are normalised as {len(said.normalization_schemes)} channels; one CT is served"
        raise Refused("several-channels", detail, {"schemes": said.normalization_schemes})
    if said.use_mask_for_norm[0]:
        raise Refused("mask-normalisation", "images are normalised within a mask; whole CTs are served")
    scheme = said.normalization_schemes[0]
    _require_known("unknown-normalisation", "normalisation", scheme, (CT, NONE))
    if scheme == NONE:
        return None
    by_channel = (
        written.foreground_intensity_properties_per_channel
        or written.foreground_intensity_properties_by_modality
        or {}
    )
    one = typed(_Properties, by_channel.get("0"), "intensities of plans.json")
    if one.std <= 0 or one.percentile_00_5 >= one.percentile_99_5:
        detail = f"clipped to {one.percentile_00_5}..{one.percentile_99_5}, divided by {one.std}"
        raise Refused("bad-plans", f"no CT can be normalised so: {detail}", {"deviation": one.std})
    return CtIntensity(one.percentile_00_5, one.percentile_99_5, one.mean, one.std)


def _three(each: tuple[T, ...], what: str) -> tuple[T, T, T]:
    if len(each) != 3:
        raise Refused("bad-plans", f"{what} has {len(each)} axes, three are served", {"axes": len(each)})
    return each[0], each[1], each[2]
