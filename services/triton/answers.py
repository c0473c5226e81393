"""What Triton's segmenter answers, as tensors by name, and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.contract import (
    DISAGREEMENT_OUTPUT,
    GLOBAL_FEATURE_OUTPUT,
    GRID_OUTPUT,
    MASK_OUTPUTS,
    MEMBER_DISAGREEMENT_OUTPUT,
    MEMBER_ORGAN_OUTPUT,
    PROBABILITY_OUTPUT,
    RELEASE_DIGEST_OUTPUT,
    SAMPLE_OUTPUTS,
    WINDOW_ORIGIN_OUTPUT,
)
from models.errors import ServingRejected
from models.geometry import Geometry
from models.inference.compact import DISAGREEMENT_RANGE, PARTS, PackedField, unpack
from models.inference.drawn_masks import unpack_masks
from models.inference.sampled_features import SampledFeatures
from models.inference.segmentation import Drawn, Segmentation

Get = Callable[[str], NDArray | None]
"""The array of an output; None where the answer has none of that name."""

_FIELDS = (PROBABILITY_OUTPUT, DISAGREEMENT_OUTPUT)


def requested_outputs(sampled: bool) -> list[str]:
    """Return the outputs to ask for; what is not named is not computed."""
    packed = [name.format(part) for name in (*_FIELDS, MEMBER_DISAGREEMENT_OUTPUT) for part in PARTS]
    plain = [MEMBER_ORGAN_OUTPUT, GLOBAL_FEATURE_OUTPUT, WINDOW_ORIGIN_OUTPUT, RELEASE_DIGEST_OUTPUT]
    plain += [GRID_OUTPUT, *MASK_OUTPUTS]
    return [*packed, *plain, *(SAMPLE_OUTPUTS if sampled else ())]


def segmentation_in(get: Get, shape: tuple[int, int, int], sampled: bool) -> Segmentation:
    """Return the segmentation an answer holds, checked against the question.

    A server with numpy 2 answers with empty tensors, and says nothing of it.

    Parameters
    ----------
    get
        Gives the answer's outputs.
    shape
        Of the volume asked about, (k, j, i).
    sampled
        Whether features were asked for.

    Raises
    ------
    ServingRejected
        If something is missing, mistyped or does not fit.
    """
    feature = _given(get, GLOBAL_FEATURE_OUTPUT, np.float32)
    origin = _given(get, WINDOW_ORIGIN_OUTPUT, np.int32)
    digest = _given(get, RELEASE_DIGEST_OUTPUT, np.uint8)
    if feature.ndim != 2 or origin.shape != (len(feature), 3):
        raise ServingRejected(f"the server answered {feature.shape} features for {origin.shape} windows")
    drawn = _drawn(get, shape)
    on = shape if drawn is None else drawn.geometry.shape
    probability = _field(get, PROBABILITY_OUTPUT, on, 1.0)
    disagreement = _field(get, DISAGREEMENT_OUTPUT, on, DISAGREEMENT_RANGE)
    if disagreement.shape != probability.shape:
        raise ServingRejected(f"the server answered {probability.shape} and {disagreement.shape}")
    return Segmentation(
        probability,
        disagreement,
        feature,
        origin,
        digest.tobytes().hex(),
        _members(get, probability.shape),
        _samples(get) if sampled else None,
        drawn,
    )


def _drawn(get: Get, shape: tuple[int, int, int]) -> Drawn | None:
    """Return the masks that were decided on the server; None of a release without a recipe."""
    if get(GRID_OUTPUT) is None:
        return None
    grid = _given(get, GRID_OUTPUT, np.float64)
    types = (np.int32, np.uint8, np.int32, np.uint8)
    box, bits, grid_box, grid_bits = (
        _typed(get, name, dtype) for name, dtype in zip(MASK_OUTPUTS, types, strict=True)
    )
    try:
        k, j, i, _ = grid[4].astype(int).tolist()
        geometry = Geometry((k, j, i), grid[:4])
        on_ct = unpack_masks(box, bits, shape)
        on_grid = unpack_masks(grid_box, grid_bits, geometry.shape)
    except (ValueError, IndexError) as error:
        raise ServingRejected(f"the server's masks: {error}") from error
    if on_ct.keys() != on_grid.keys():
        raise ServingRejected("the server's masks on the CT and beside it are of other organs")
    return Drawn(geometry, on_ct, on_grid)


def _field(get: Get, name: str, shape: tuple[int, int, int], full: float) -> NDArray[np.float16]:
    parts = {part: _typed(get, name.format(part), dtype) for part, dtype in PARTS.items()}
    if parts["box"].ndim != 2 or parts["box"].shape[1] != 6 or not len(parts["box"]):
        raise ServingRejected(f"the server's {name.format('box')} is {parts['box'].shape}")
    try:
        return unpack(PackedField(**parts), shape, full)
    except ValueError as error:
        raise ServingRejected(f"the server's {name.format('code')}: {error}") from error


def _members(get: Get, shape: tuple[int, ...]) -> dict[int, NDArray[np.float16]]:
    """Return the members' disagreement by channel; empty where no head has members."""
    names = [MEMBER_ORGAN_OUTPUT, *(MEMBER_DISAGREEMENT_OUTPUT.format(part) for part in PARTS)]
    if all(get(name) is None for name in names):
        return {}
    channels = _given(get, MEMBER_ORGAN_OUTPUT, np.int32)
    spreads = _field(get, MEMBER_DISAGREEMENT_OUTPUT, (shape[1], shape[2], shape[3]), DISAGREEMENT_RANGE)
    if len(spreads) != len(channels) or not set(channels.tolist()) <= set(range(shape[0])):
        raise ServingRejected("the server's answer says of its members what does not fit its organs")
    return dict(zip(channels.tolist(), spreads, strict=True))


def _samples(get: Get) -> SampledFeatures:
    types = (np.int32, np.int32, np.float32, np.float16)
    window, index, weight, taps = (
        _given(get, name, dtype) for name, dtype in zip(SAMPLE_OUTPUTS, types, strict=True)
    )
    if taps.ndim != 2 or not len(window) == len(index) == len(weight) == len(taps):
        raise ServingRejected("the server's sampled features are not as many as their voxels")
    return SampledFeatures(window, index, weight, taps)


def _given(get: Get, name: str, dtype: type) -> NDArray:
    """Return an output that is never empty."""
    array = _typed(get, name, dtype)
    if array.size == 0:
        raise ServingRejected(f"the server's answer has an empty {name}")
    return array


def _typed(get: Get, name: str, dtype: type) -> NDArray:
    array = get(name)
    if array is None or array.dtype != dtype:
        raise ServingRejected(f"the server's answer has a missing or mistyped {name}")
    return array
