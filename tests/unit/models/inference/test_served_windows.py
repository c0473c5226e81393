"""The window as it is served: every bit as the plain way gives it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from models.inference.served_windows import _half, serve_windows
from models.inference.windows import Prediction, segment_windows
from models.resampling import AIR_HU
from tests.unit.models.inference.test_windows import constant, contract


def answered(window: np.ndarray) -> Prediction:
    """Answer two organs, one of voxels, one of places, in the air too; from certain to in between."""
    voxels = window[0, 0]
    place = np.indices(voxels.shape).sum(axis=0).astype(np.float32)
    logits = np.stack([(voxels - 0.62) * 90 + np.sin(place) * 2, np.sin(place * 0.8) * 9 + voxels])
    logits = logits.astype(np.float32)
    return Prediction(logits, np.full(3, voxels.mean()), {1: np.exp(-np.abs(logits[1])) / 2})


def patient(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Return a body with organs anywhere, also at the volume's faces, and where it ends inside of it."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2.0)
    hu = (field / field.std() * 120).astype(np.int16)
    for axis in range(3):
        side = np.moveaxis(hu, axis, 0)
        side[: rng.integers(0, 8)] = AIR_HU
        side[shape[axis] - rng.integers(0, 8) :] = AIR_HU
    hu[tuple(n // 2 for n in shape)] = 40
    return hu


def bits(answer) -> list:
    fields = [answer.probability, answer.disagreement, answer.global_feature, answer.window_origin]
    return [(f.dtype, f.shape, f.tobytes()) for f in (*fields, *answer.member_disagreement.values())]


@given(
    shape=st.tuples(st.integers(12, 70), st.integers(10, 34), st.integers(10, 34)),
    seed=st.integers(0, 10_000),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.8]),
    threshold=st.sampled_from([0.05, 0.3, 0.5, 0.8]),
    spacing=st.sampled_from([3.0, 20.0]),
)
@settings(max_examples=40, deadline=None)
def test_every_bit_is_what_the_whole_volume_blended_and_then_rounded_gives(
    shape, seed, overlap, threshold, spacing
) -> None:
    hu = patient(shape, seed)
    form = contract((8, 16, 16), overlap)
    form = replace(form, thresholds=dict.fromkeys(form.organs, threshold), spacing_mm=(spacing,) * 3)
    plain, served = (way(hu, form, answered, "digest") for way in (segment_windows, serve_windows))
    assert bits(plain) == bits(served)
    assert list(plain.member_disagreement) == list(served.member_disagreement) == [1]
    assert plain.release_digest == served.release_digest == "digest"


def test_slices_in_a_gap_deeper_than_a_window_stay_in_their_place() -> None:
    hu = np.full((90, 16, 32), AIR_HU, dtype=np.int16)
    hu[:, 2:14, 18:30] = 160
    hu[4:8, 2:14, 2:30] = 160
    hu[80:86, 2:14, 2:30] = 160
    form = contract(overlap=0.0)
    plain, served = (way(hu, form, answered) for way in (segment_windows, serve_windows))
    assert bits(plain) == bits(served)
    assert served.probability.any()


def test_a_volume_too_coarse_to_show_the_body_is_served_as_a_whole() -> None:
    hu = np.full((20, 24, 40), -1000, dtype=np.int16)
    plain, served = (way(hu, contract(), constant) for way in (segment_windows, serve_windows))
    assert bits(plain) == bits(served)
    assert served.probability.all()


def test_a_half_is_rounded_as_numpy_rounds_it() -> None:
    halves = np.arange(0x3C01, dtype=np.uint16).view(np.float16).astype(np.float32)  # every one from 0 to 1
    middle = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate([halves, middle, np.nextafter(middle, 0), np.nextafter(middle, 1)])
    assert np.array_equal(_half(values).view(np.uint16), values.astype(np.float16).view(np.uint16))
