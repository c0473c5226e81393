"""What tuning and calibration take from a kept case: a reader's word, on the model grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flows.calibration.measure import calibrate_organs
from models.bounds.conformal import fewest_cases
from models.corrections.ledger import HybridLabel, Provenance
from models.errors import Refused
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.volume import Volume
from services.cases.store import CaseContent
from services.cases.tuning_study import tuning_study
from tests.support.learning import ORGANS, small_release
from tests.support.paper_releases import paper_contract


def _content(*labels: HybridLabel) -> CaseContent:
    """A case of 8 mm voxels whose CT has voxels of 4 mm."""
    axes = np.eye(4)[[2, 1, 0, 3]]  # k to the head, j to posterior, i to the left
    model = Geometry((4, 4, 4), axes @ np.diag([8.0, 8.0, 8.0, 1.0]))
    ct = Geometry((7, 7, 7), axes @ np.diag([4.0, 4.0, 4.0, 1.0]))
    hu = np.zeros((4, 4, 4), np.int16)
    return CaseContent(Volume(hu, model), ct, {}, dict(zip(ORGANS, labels, strict=False)))


def test_only_a_readers_word_is_labelled_and_overpaint_counts_little():
    inside = np.zeros((7, 7, 7), bool)
    inside[:, :, :4] = True
    provenance = np.full((7, 7, 7), Provenance.READER, np.uint8)
    provenance[:3] = Provenance.OVERPAINT
    ours = np.full((7, 7, 7), Provenance.MODEL, np.uint8)
    content = _content(HybridLabel.of(inside, ours), HybridLabel.of(inside, provenance))
    study = tuning_study(content, ORGANS, paper_contract(ORGANS, 8.0))
    assert set(study.truth) == set(study.weight) == {"stomach"}
    assert study.truth["stomach"][2, 2].tolist() == [255, 252, 56, 0]
    assert study.weight["stomach"][:, 0, 0].tolist() == [64, 105, 253, 255]


@pytest.mark.parametrize("provenance", [Provenance.MODEL, Provenance.OVERPAINT])
def test_a_model_voxel_learns_only_what_was_vouched_for_of_its_ct_voxels(provenance):
    """One 1 mm slice is the reader's word, in the middle of model voxels of 3 mm."""
    axes = np.eye(4)[[2, 1, 0, 3]]
    ct = Geometry((10, 10, 10), axes)
    model = Geometry((4, 4, 4), axes @ np.diag([3.0, 3.0, 3.0, 1.0]))
    inside = np.ones((10, 10, 10), bool)
    inside[6, :5] = False  # erased by the reader on this slice
    whose = np.full((10, 10, 10), Provenance.MODEL, np.uint8)
    whose[6] = provenance or Provenance.READER
    whose[6, :5] = Provenance.READER
    content = CaseContent(
        Volume(np.zeros((4, 4, 4), np.int16), model), ct, {}, {"liver": HybridLabel.of(inside, whose)}
    )
    study = tuning_study(content, ["liver"], paper_contract(["liver"], 3.0))
    truth, weight = study.truth["liver"], study.weight["liver"]
    assert 60 < weight[2, 0, 0] < 128, "part of the voxel is vouched for"
    assert truth[2, 0].tolist() == [0, 0, 0, 0], "that part is background; the rest is our own result"
    assert truth[2, 3].tolist() == [255, 255, 255, 255]
    assert not weight[0].any()
    assert not truth[weight == 0].any()


class _TellsTheTruth:
    """An engine whose answer is the left half, at a probability of 0.8."""

    profile = "any"

    def segment(self, hu, sampled=False, ct=None):
        probability = np.zeros((len(ORGANS), *hu.shape), np.float16)
        probability[..., :2] = 0.8
        nothing = np.zeros((1, 3))
        return Segmentation(probability, probability, nothing.astype(np.float32), nothing.astype(np.int32))


@pytest.mark.parametrize(("lacking", "calibrated"), [(0, {"liver"}), (1, set())])
def test_an_organ_is_calibrated_on_enough_cases_or_not_at_all(lacking, calibrated):
    inside = np.zeros((7, 7, 7), bool)
    inside[:, :, :3] = True
    truth = HybridLabel.of(inside, np.full((7, 7, 7), Provenance.READER, np.uint8))
    unseen = HybridLabel.of(inside, np.full((7, 7, 7), Provenance.MODEL, np.uint8))
    release = small_release()[2]
    with pytest.raises(Refused, match="other-grid"):
        calibrate_organs(release, _TellsTheTruth(), ("liver",), [_content(truth, unseen)])
    release = replace(release, contract=replace(release.contract, spacing_mm=(8.0, 8.0, 8.0)))
    cases = [_content(truth, unseen)] * (fewest_cases(0.9) - lacking)
    found = calibrate_organs(release, _TellsTheTruth(), ("liver", "stomach"), cases)
    assert set(found) == calibrated
