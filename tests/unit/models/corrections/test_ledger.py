"""The ledger of one correction, by hand-made masks and by random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.corrections import ledger as corrections
from models.corrections.ledger import HybridLabel, OrganState, Provenance, origin_of
from models.geometry import Geometry
from models.masks import BoxedMask

SHAPE = (4, 6, 6)
GRID = Geometry(SHAPE, np.diag([5.0, 2.0, 2.0, 1.0]))
EMPTY = np.zeros(SHAPE, dtype=bool)


def box(*slices: slice) -> np.ndarray:
    mask = EMPTY.copy()
    mask[slices] = True
    return mask


def boxed(masks: dict[str, np.ndarray]) -> dict[str, BoxedMask]:
    return {organ: BoxedMask.of(mask) for organ, mask in masks.items()}


def ledger(sent, returned, grid, accepted=frozenset()):
    return corrections.ledger(boxed(sent), boxed(returned), grid, accepted)


def mean_surface_mm(first, second, grid):
    return corrections.mean_surface_mm(BoxedMask.of(first), BoxedMask.of(second), grid)


LIVER = box(slice(1, 3), slice(1, 4), slice(1, 3))
KIDNEY = box(slice(1, 3), slice(1, 4), slice(3, 5))


def test_untouched_organs_are_not_reviewed_unless_accepted_by_an_act():
    sent = {"liver": LIVER, "left_kidney": KIDNEY}
    first, second = ledger(sent, sent, GRID, accepted={"liver"})
    assert (first.state, second.state) == (OrganState.ACCEPTED, OrganState.NOT_REVIEWED)
    assert (first.added_voxels, first.removed_voxels, first.surface_mm) == (0, 0, 0.0)


def test_an_edit_outweighs_an_act_of_acceptance():
    (entry,) = ledger({"liver": LIVER}, {"liver": EMPTY}, GRID, accepted={"liver"})
    assert entry.state is OrganState.EDITED
    assert entry.removed_voxels == 12
    assert entry.removed_ml == pytest.approx(12 * 0.02)
    assert entry.surface_mm is None


def test_voxels_a_neighbour_gained_are_lost_by_overpaint():
    grown = LIVER.copy()
    grown[1, 1, 3:5] = True
    shrunk = KIDNEY & ~grown
    shrunk[2, 3, 4] = False  # erased by the reader, gained by nobody
    liver, kidney = ledger(
        {"liver": LIVER, "left_kidney": KIDNEY}, {"liver": grown, "left_kidney": shrunk}, GRID
    )
    assert (liver.added_voxels, liver.removed_voxels, liver.by_overpaint_voxels) == (2, 0, 0)
    assert (kidney.added_voxels, kidney.removed_voxels, kidney.by_overpaint_voxels) == (0, 3, 2)
    assert not kidney.only_overpainted


def test_an_organ_that_did_not_come_back_is_not_reviewed():
    (entry,) = ledger({"liver": LIVER}, {}, GRID)
    assert entry.state is OrganState.NOT_REVIEWED
    assert entry.removed_voxels == 0


def test_an_organ_that_was_not_sent_is_added_whole():
    sent, added = ledger({"liver": LIVER}, {"liver": LIVER, "left_kidney": KIDNEY}, GRID)
    assert sent.state is OrganState.NOT_REVIEWED
    assert (added.organ, added.added_voxels, added.surface_mm) == ("left_kidney", 12, None)


def test_hybrid_labels_say_whose_word_each_voxel_is():
    grown = LIVER.copy()
    grown[1, 1, 3] = True
    sent = {"liver": LIVER, "left_kidney": KIDNEY, "spleen": box(slice(0, 1))}
    returned = {"liver": grown, "left_kidney": KIDNEY & ~grown, "spleen": sent["spleen"]}
    labels = corrections.hybrid_labels(boxed(sent), boxed(returned), ledger(sent, returned, GRID))
    assert (labels["liver"].provenance == Provenance.READER).all()
    kidney = labels["left_kidney"]
    assert kidney.provenance[1, 1, 3] == Provenance.OVERPAINT
    assert kidney.weight[1, 1, 3] == 0.25
    assert kidney.weight.sum() == 0.25, "the rest of the kidney is still our own result"
    assert labels["spleen"].weight.sum() == 0


def test_surface_distance_of_two_planes_is_their_distance():
    assert mean_surface_mm(box(slice(0, 1)), box(slice(2, 3)), GRID) == pytest.approx(10.0)


def test_surface_distance_is_measured_in_a_sheared_grid():
    affine = np.diag([5.0, 2.0, 2.0, 1.0])
    affine[1, 0] = 5.0  # each slice moves 5 mm to posterior
    first, second = box(slice(0, 1), slice(0, 1), slice(0, 1)), box(slice(1, 2), slice(0, 1), slice(0, 1))
    assert mean_surface_mm(first, second, Geometry(SHAPE, affine)) == pytest.approx(np.hypot(5, 5))


def test_a_mask_on_another_grid_is_a_mistake():
    with pytest.raises(ValueError, match="liver"):
        ledger({"liver": LIVER[:2]}, {}, GRID)


def test_origin_names_the_release_that_was_shown():
    assert origin_of(OrganState.EDITED, 3) == "edited-from-3"
    assert origin_of(OrganState.ACCEPTED, 1) == "accepted-from-1"
    assert origin_of(OrganState.NOT_REVIEWED, 1) is None


masks = arrays(bool, SHAPE)


@settings(max_examples=60, deadline=None)
@given(masks, arrays(np.uint8, SHAPE, elements=st.integers(0, len(Provenance) - 1)))
def test_a_label_is_the_arrays_it_was_made_of(inside, provenance):
    label = HybridLabel.of(inside, provenance)
    assert np.array_equal(label.inside.dense(), inside)
    assert np.array_equal(label.provenance, provenance)
    assert label.ground not in label.others


def test_a_label_that_is_nobodys_word_is_a_mistake():
    with pytest.raises(ValueError, match="nobody"):
        HybridLabel.of(EMPTY, np.full(SHAPE, len(Provenance), np.uint8))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(masks, masks), min_size=1, max_size=3))
def test_what_changed_is_exactly_what_was_added_and_removed(pairs):
    sent = {f"organ{n}": before for n, (before, _) in enumerate(pairs)}
    returned = {f"organ{n}": after for n, (_, after) in enumerate(pairs)}
    for entry in ledger(sent, returned, GRID):
        before, after = sent[entry.organ], returned[entry.organ]
        assert entry.added_voxels + entry.removed_voxels == np.count_nonzero(before ^ after)
        assert np.count_nonzero(before) + entry.added_voxels - entry.removed_voxels == np.count_nonzero(after)
        assert 0 <= entry.by_overpaint_voxels <= entry.removed_voxels
        assert (entry.state is OrganState.EDITED) == bool((before ^ after).any())


@settings(max_examples=20, deadline=None)
@given(masks, masks)
def test_surface_distance_does_not_depend_on_the_order(first, second):
    assert mean_surface_mm(first, second, GRID) == mean_surface_mm(second, first, GRID)
