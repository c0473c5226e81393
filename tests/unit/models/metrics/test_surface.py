from __future__ import annotations

import numpy as np
import pytest

from models.metrics.surface import surface_agreement

SPACING = (3.0, 1.0, 1.0)


def block(start: tuple[int, int, int], side: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((20, 40, 40), dtype=bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, side, strict=True))] = True
    return mask


def test_equal_masks_agree_wholly():
    mask = block((4, 10, 10), (8, 15, 15))
    agreement = surface_agreement(mask, mask, SPACING, 0.0)
    assert agreement is not None
    assert (agreement.nsd, agreement.hd95_mm) == (1.0, 0.0)


def test_a_shift_along_a_coarse_axis_is_measured_in_millimetres():
    ours, theirs = block((4, 10, 10), (8, 15, 15)), block((6, 10, 10), (8, 15, 15))
    agreement = surface_agreement(ours, theirs, SPACING, 3.0)
    assert agreement is not None
    assert agreement.hd95_mm == 6.0  # two slices of 3 mm
    assert 0.3 < agreement.nsd < 0.8
    wide = surface_agreement(ours, theirs, SPACING, 6.0)
    assert wide is not None
    assert wide.nsd == 1.0


def test_a_mask_at_the_edge_of_the_array_is_as_good_as_any():
    inner = surface_agreement(block((5, 5, 5), (6, 9, 9)), block((5, 5, 7), (6, 9, 9)), SPACING, 1.0)
    outer = surface_agreement(block((0, 0, 0), (6, 9, 9)), block((0, 0, 2), (6, 9, 9)), SPACING, 1.0)
    assert inner == outer


def test_an_empty_mask_is_as_far_as_the_grid_is_wide():
    empty = np.zeros((20, 40, 40), dtype=bool)
    one_sided = surface_agreement(empty, block((4, 10, 10), (8, 15, 15)), SPACING, 3.0)
    assert one_sided is not None
    assert one_sided.nsd == 0.0
    assert one_sided.hd95_mm == pytest.approx(np.sqrt(60**2 + 40**2 + 40**2))
    assert surface_agreement(empty, empty, SPACING, 3.0) is None
