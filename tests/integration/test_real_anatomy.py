"""The rules and the resampling on whole organs: a phantom's, and a real patient's (a label map: no truth)."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from models.geometry import Geometry
from models.judgement.reasons import Reason
from models.judgement.shape_and_side import broken_rules, measure
from models.metrics.dsc import dsc
from models.phantom.case import make_case
from models.resampling import model_grid, resample
from tests.support.on_ct import on_ct

LABELS = {
    "spleen": 1, "right_kidney": 2, "left_kidney": 3, "gallbladder": 4, "liver": 5, "stomach": 6,
    "pancreas": 7, "aorta": 52, "postcava": 63,
}  # fmt: skip


def there_and_back(mask: np.ndarray, geometry: Geometry) -> float:
    """Return the DSC of a mask with itself after it went to a finer grid and came back."""
    grid = model_grid(geometry, tuple(mm * 2 / 3 for mm in geometry.spacing_mm))
    back = on_ct(resample(mask, geometry, grid, outside=0.0), grid, geometry) >= 0.5
    return dsc(back, mask)


def test_a_mask_survives_the_way_to_the_model_grid_and_back():
    phantom = make_case("A", 6, spacing_mm=(6.0, 5.0, 5.0))
    for organ in ("liver", "aorta", "gallbladder"):
        assert there_and_back(phantom.truth[organ], phantom.volume.geometry) > 0.93, organ


@pytest.fixture(scope="module")
def anatomy(test_data):
    """The organs' masks with axes (k, j, i), and their geometry."""
    folder = test_data("ct-organs-nifti", "organs that no formula drew, a hip implant, cuts on five of them")
    image = nibabel.load(folder / "example_seg_fast_force_split.nii.gz")
    labels = np.asarray(image.dataobj).transpose(2, 1, 0)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    geometry = Geometry(labels.shape, to_lps[:, [2, 1, 0, 3]])
    return {organ: labels == value for organ, value in LABELS.items()}, geometry


def test_a_real_anatomy_breaks_no_rule_but_where_the_map_is_in_pieces(anatomy):
    masks, geometry = anatomy
    whole = tuple(slice(0, n) for n in geometry.shape)
    shapes = {organ: measure(mask, whole, geometry) for organ, mask in masks.items()}
    broken = {organ: codes for organ, codes in broken_rules(shapes, geometry).items() if codes}
    assert broken == {"pancreas": (Reason.FRAGMENTED,)}  # two pieces of 10 and 9 ml
    cut = {organ for organ, shape in shapes.items() if shape.cut}
    assert cut == {"spleen", "liver", "stomach", "aorta", "postcava"}


def test_a_real_organ_survives_the_way_to_the_model_grid_and_back(anatomy):
    masks, geometry = anatomy
    assert geometry.spacing_mm == pytest.approx((3.0, 3.0, 3.0))
    for organ in ("liver", "aorta", "gallbladder"):
        assert there_and_back(masks[organ], geometry) > 0.93, organ
