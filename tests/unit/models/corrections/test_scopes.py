"""Where a correction is truth, and that it is nothing outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.corrections import ledger as corrections
from models.corrections.ledger import OrganState, Provenance
from models.corrections.scopes import Scope, truth_region
from models.geometry import Geometry
from models.masks import BoxedMask
from tests.unit.models.corrections.test_ledger import boxed

SHAPE = (4, 5, 5)
GRID = Geometry(SHAPE, np.diag([5.0, 2.0, 2.0, 1.0]))


def box(*slices: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[slices] = True
    return mask


LIVER = box(slice(0, 4), slice(1, 4), slice(1, 3))
GROWN = LIVER | box(slice(2, 3), slice(1, 2), slice(3, 4))


def ledger(sent, returned, accepted=frozenset()):
    return corrections.ledger(boxed(sent), boxed(returned), GRID, accepted)


def labels(scope: Scope, sent, returned, regions=None, accepted=frozenset()):
    entries = ledger(sent, returned, accepted)
    return corrections.hybrid_labels(boxed(sent), boxed(returned), entries, scope, boxed(regions or {}))


def test_the_whole_organ_is_truth_by_default():
    whole = labels(Scope.ORGAN, {"liver": LIVER}, {"liver": GROWN})["liver"]
    assert whole.weight.sum() == np.prod(SHAPE)
    sent, returned = boxed({"liver": LIVER}), boxed({"liver": GROWN})
    default = corrections.hybrid_labels(sent, returned, corrections.ledger(sent, returned, GRID))["liver"]
    assert np.array_equal(whole.provenance, default.provenance)


def test_only_the_slices_that_were_touched_are_truth():
    label = labels(Scope.SLICES, {"liver": LIVER}, {"liver": GROWN})["liver"]
    assert label.weight.sum(axis=(1, 2)).tolist() == [0, 0, 25, 0]
    assert (label.provenance[:2] == Provenance.MODEL).all()


def test_only_the_review_regions_and_what_was_edited_are_truth():
    region = box(slice(0, 2), slice(0, 2), slice(0, 2))
    label = labels(Scope.REGIONS, {"liver": LIVER}, {"liver": GROWN}, {"liver": region})["liver"]
    assert np.array_equal(label.weight > 0, region | (GROWN ^ LIVER))
    assert labels(Scope.REGIONS, {"liver": LIVER}, {"liver": GROWN})["liver"].weight.sum() == 1


def test_a_slice_on_which_only_a_neighbours_brush_passed_was_not_looked_at():
    kidney = box(slice(0, 2), slice(0, 1), slice(0, 3))
    trimmed = kidney & ~box(slice(0, 1), slice(0, 1), slice(2, 3))  # slice 0: taken by the liver; slice 1:
    trimmed[1, 0, 0] = False  # erased by the reader
    grown = LIVER | box(slice(0, 1), slice(0, 1), slice(2, 3))
    label = labels(
        Scope.SLICES, {"liver": LIVER, "left_kidney": kidney}, {"liver": grown, "left_kidney": trimmed}
    )["left_kidney"]
    assert label.weight[0].sum() == 0.25
    assert label.weight[1].sum() == 25


def test_what_was_accepted_by_an_act_is_accepted_whole_and_the_rest_is_nothing():
    sent = {"liver": LIVER, "spleen": GROWN, "aorta": GROWN}
    for scope in Scope:
        done = labels(scope, sent, sent, {"aorta": LIVER}, accepted=frozenset({"spleen"}))
        assert [float(done[organ].weight.sum()) for organ in sent] == [0, np.prod(SHAPE), 0]


def test_masks_on_two_grids_are_a_mistake():
    with pytest.raises(ValueError, match="is not"):
        truth_region(Scope.REGIONS, *(BoxedMask.of(mask) for mask in (LIVER, LIVER, LIVER[:2])))


masks = arrays(bool, SHAPE)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(Scope), st.lists(st.tuples(masks, masks, masks), min_size=1, max_size=3))
def test_nothing_outside_the_scope_weighs_anything_and_every_edited_voxel_is_inside(scope, organs):
    sent = {f"organ{n}": before for n, (before, _, _) in enumerate(organs)}
    returned = {f"organ{n}": after for n, (_, after, _) in enumerate(organs)}
    regions = {f"organ{n}": region for n, (_, _, region) in enumerate(organs)}
    entries = ledger(sent, returned)
    done = labels(scope, sent, returned, regions)
    gained = np.logical_or.reduce([returned[o] & ~sent[o] for o in sent])
    for entry in entries:
        label, edited = done[entry.organ], sent[entry.organ] ^ returned[entry.organ]
        overpainted = sent[entry.organ] & ~returned[entry.organ] & gained
        touched = edited & ~overpainted
        allowed = {
            Scope.ORGAN: np.ones(SHAPE, bool),
            Scope.SLICES: edited | touched.any(axis=(1, 2))[:, None, None],
            Scope.REGIONS: edited | regions[entry.organ],
        }[scope]
        if entry.state is not OrganState.EDITED or entry.only_overpainted:
            allowed = overpainted
        assert not label.weight[~allowed].any()
        assert (label.weight[touched] == 1).all()
        assert (label.weight[overpainted] == 0.25).all()
        assert (label.weight[allowed & ~overpainted] == 1).all()
        assert np.array_equal(label.inside.dense(), returned[entry.organ])
