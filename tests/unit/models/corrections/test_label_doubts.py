from __future__ import annotations

import numpy as np
import pytest

from models.corrections.label_doubts import label_doubt
from models.corrections.ledger import HybridLabel, Provenance
from models.geometry import Geometry

AXES = np.eye(4)[[2, 1, 0, 3]]
CT = Geometry((20, 40, 40), AXES @ np.diag([5.0, 5.0, 5.0, 1.0]))
"""Voxels of 0.125 ml."""


def _label(box: tuple[slice, ...], whole: bool = True) -> HybridLabel:
    inside = np.zeros(CT.shape, bool)
    inside[box] = True
    provenance = np.full(CT.shape, Provenance.READER, np.uint8)
    if not whole:
        provenance[15:] = Provenance.MODEL
    return HybridLabel.of(inside, provenance)


@pytest.mark.parametrize(
    ("box", "code"),
    [
        (np.s_[5:15, 10:20, 10:20], None),  # 125 ml of spleen
        (np.s_[1:19, 1:39, 1:39], "absurd-volume"),  # 3 l of spleen
        (np.s_[5:7, 10:12, 10:12], "absurd-volume"),  # 1 ml of spleen
        (np.s_[0:2, 10:12, 10:12], None),  # 1 ml at the end of the scan
        (np.s_[5:5, 0:0, 0:0], None),  # deleted
    ],
)
def test_a_volume_that_no_patient_has_is_refused(box, code):
    found = label_doubt("spleen", _label(box), CT)
    assert (found and found.code) == code


def test_a_small_part_of_an_organ_is_no_absurdity():
    assert label_doubt("spleen", _label(np.s_[5:7, 10:12, 10:12], whole=False), CT) is None


def test_an_organ_beside_the_patient_is_refused_with_its_share():
    outside = np.zeros(CT.shape, bool)
    outside[:, :15] = True
    found = label_doubt("spleen", _label(np.s_[5:15, 10:20, 10:20]), CT, outside)
    assert (found.code, found.detail) == ("outside-body", "50% of it lie outside the body")
