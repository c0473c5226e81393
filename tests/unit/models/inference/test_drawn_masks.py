"""Masks that travel come back as they were, and what is no packing of masks is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inference.drawn_masks import pack_masks, unpack_masks
from models.masks import BoxedMask

SHAPE = (5, 7, 19)


@given(seeds=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.5])), max_size=4))
def test_masks_come_back(seeds):
    masks = {
        n: BoxedMask.of(np.random.default_rng(seed).random(SHAPE) < share)
        for n, (seed, share) in enumerate(seeds)
    }
    assert unpack_masks(*pack_masks(masks), SHAPE) == masks


def test_no_packing_of_masks_is_refused():
    box, bits = pack_masks({0: BoxedMask.of(np.ones(SHAPE, dtype=bool))})
    for boxes, bytes_, shape in (
        (box, bits[:-1], SHAPE),
        (box, np.append(bits, np.uint8(0)), SHAPE),
        (box, bits, (4, 7, 19)),
        (box - 1, bits, SHAPE),
        (box[:, [3, 4, 5, 0, 1, 2]], bits, SHAPE),
    ):
        with pytest.raises(ValueError, match=r"mask|box"):
            unpack_masks(boxes, bytes_, shape)
