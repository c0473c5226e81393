"""The short way back gives the labels of the long one: each logit on each voxel, then the largest."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Geometry
from models.nnunet.grid import NetworkGrid
from models.nnunet.turn import Turn
from models.nnunet.way_back import class_labels, private_mask, region_masks

STRAIGHT = Turn((0, 1, 2), (False, False, False))


def long_way(logits: NDArray[np.float16], shape: tuple[int, ...]) -> NDArray[np.float16]:
    factors = [new / old for new, old in zip(shape, logits.shape[1:], strict=True)]
    zoomed = [
        ndimage.zoom(logit.astype(np.float64), factors, order=1, mode="nearest", grid_mode=True)
        for logit in logits
    ]
    return np.stack(zoomed).astype(np.float16)


def between(network: tuple[int, ...], ct: tuple[int, ...]) -> NetworkGrid:
    box = (slice(0, ct[0]), slice(0, ct[1]), slice(0, ct[2]))
    return NetworkGrid(Geometry(ct, np.eye(4)), STRAIGHT, box, network, None, None)


SIDES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    network=SIDES,
    ct=SIDES,
    size=st.sampled_from([1e-6, 1e-3, 1.0, 300.0]),
    apart=st.sampled_from([0.0, 2.0**-11, 2.0**-9, 1.0]),
    rounded=st.booleans(),
)
def test_labels_are_those_of_the_long_way_even_where_classes_are_alike_or_nearly_so(
    seed, network, ct, size, apart, rounded
):
    rng = np.random.default_rng(seed)
    common = rng.normal(0, size, network)
    logits = common * (1 + apart * rng.normal(0, 1, (4, *network)))
    logits = (np.round(logits * 4) / 4 if rounded else logits).astype(np.float16)
    assert np.array_equal(class_labels(logits, between(network, ct)), long_way(logits, ct).argmax(axis=0))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    network=SIDES,
    ct=SIDES,
    number=st.integers(0, 3),
    tuned=st.sampled_from([0.0, 2.0**-10, 0.5]),
    rounded=st.booleans(),
)
def test_a_head_of_its_own_takes_what_it_has_more_of_than_every_frozen_class(
    seed, network, ct, number, tuned, rounded
):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (4, *network))
    own = logits[number] + tuned * rng.normal(0, 1, network)
    logits, own = ((np.round(x * 4) / 4 if rounded else x).astype(np.float16) for x in (logits, own))
    grid = between(network, ct)
    found = private_mask(own, logits, number, grid)
    with_own = logits.copy()
    with_own[number] = own  # the lowest of equal ones is the largest, whoever else is tuned
    assert np.array_equal(found, long_way(with_own, ct).argmax(axis=0) == number)
    if not tuned:
        assert np.array_equal(found, class_labels(logits, grid) == number)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), network=SIDES, ct=SIDES, size=st.sampled_from([1e-7, 1.0]))
def test_regions_are_where_the_sigmoid_of_the_long_ways_logits_is_over_a_half(seed, network, ct, size):
    logits = np.random.default_rng(seed).normal(0, size, (3, *network)).astype(np.float16)
    found = np.stack(list(region_masks(logits, between(network, ct))))
    sigmoid = torch.from_numpy(long_way(logits, ct)).float().sigmoid().numpy()
    assert np.array_equal(found, sigmoid > 0.5)


def test_more_classes_than_a_byte_counts_keep_their_numbers():
    logits = np.zeros((300, 2, 2, 2), dtype=np.float16)
    logits[299] = 1
    assert class_labels(logits, between((2, 2, 2), (3, 3, 3))).min() == 299
