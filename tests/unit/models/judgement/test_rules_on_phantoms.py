"""Every rule fires on a phantom built to break it, and not on the phantom as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.findings import OrganFinding
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.judgement.assess import assess
from models.judgement.reasons import Reason
from models.organs import ORGANS
from models.phantom.case import PhantomCase, make_case
from models.resampling import resample, to_model_grid
from models.volume import Volume
from tests.support.paper_releases import paper_contract, paper_release

CONTRACT = paper_contract(ORGANS, spacing_mm=5.0)
RELEASE = paper_release(CONTRACT)
Masks = dict[str, np.ndarray]
"""By organ the fraction of each voxel of the model grid, axes (k, j, i)."""


@pytest.fixture(scope="module")
def phantom() -> PhantomCase:
    return make_case("A", 8, spacing_mm=(5.0, 5.0, 5.0))


@pytest.fixture(scope="module")
def drawn(phantom) -> Masks:
    """What a perfect segmenter would answer."""
    grid = to_model_grid(phantom.volume, CONTRACT.spacing_mm).geometry
    return {
        organ: resample(mask, phantom.volume.geometry, grid, outside=0.0)
        for organ, mask in phantom.truth.items()
    }


def told(phantom: PhantomCase, masks: Masks, rows: slice = slice(None)) -> dict[str, OrganFinding]:
    """Say what is said of an answer on some slices of the phantom."""
    geometry = phantom.volume.geometry
    affine = np.array(geometry.affine)
    affine[:3, 3] = geometry.to_lps((rows.start or 0, 0, 0))
    hu = phantom.volume.hu[rows]
    volume = Volume(hu, Geometry(hu.shape, affine))
    model = to_model_grid(volume, CONTRACT.spacing_mm)
    probability = np.stack([masks[organ][rows] for organ in ORGANS]).astype(np.float16)
    answer = Segmentation(
        probability,
        np.zeros_like(probability),
        np.zeros((1, 16), np.float32),
        np.zeros((1, 3), np.int32),
        RELEASE.digest,
    )
    findings = assess(answer, model, volume.geometry, RELEASE, "any")
    return {finding.organ: finding for finding in findings.organs}


def ball(masks: Masks, at: tuple[int, int, int], voxels: float) -> np.ndarray:
    shape = masks["liver"].shape
    place = np.indices(shape) - np.array(at)[:, None, None, None]
    return (np.linalg.norm(place, axis=0) <= voxels).astype(np.float32)


def middle(mask: np.ndarray) -> tuple[int, int, int]:
    return tuple(np.argwhere(mask >= 0.5).mean(axis=0).round().astype(int))


def mirrored(masks: Masks) -> Masks:
    return masks | {organ: masks[organ][:, :, ::-1] for organ in ("liver", "gallbladder")}


def swapped(masks: Masks) -> Masks:
    return masks | {"left_kidney": masks["right_kidney"], "right_kidney": masks["left_kidney"]}


def in_pieces(masks: Masks) -> Masks:
    stomach = masks["stomach"].copy()
    k, _, i = middle(stomach)
    stomach[k - 2 : k + 2] = 0
    stomach[:, :, i - 1 : i + 1] = 0
    return masks | {"stomach": stomach}


def shrunk(masks: Masks) -> Masks:
    return masks | {"liver": ball(masks, middle(masks["liver"]), 6)}


def moved_out(masks: Masks) -> Masks:
    spleen = masks["spleen"]
    last = int(np.argwhere(spleen >= 0.5)[:, 2].max())
    return masks | {"spleen": np.roll(spleen, spleen.shape[2] - 1 - last, axis=2)}


def claimed_twice(masks: Masks) -> Masks:
    return masks | {"pancreas": np.maximum(masks["pancreas"], ball(masks, middle(masks["liver"]), 5.5))}


def far_away(masks: Masks) -> Masks:
    k, j, i = middle(masks["left_kidney"])
    return masks | {"gallbladder": ball(masks, (k - 6, j - 8, i), 2.2)}


def missed(masks: Masks) -> Masks:
    return masks | {"gallbladder": np.zeros_like(masks["gallbladder"])}


def missed_with_the_liver(masks: Masks) -> Masks:
    return missed(masks) | {"liver": np.zeros_like(masks["liver"])}


BREAKS: list[tuple[Reason, str, Callable[[Masks], Masks]]] = [
    (Reason.WRONG_SIDE, "liver", mirrored),
    (Reason.WRONG_SIDE, "left_kidney", swapped),
    (Reason.FRAGMENTED, "stomach", in_pieces),
    (Reason.VOLUME_OUT_OF_RANGE, "liver", shrunk),
    (Reason.OUTSIDE_BODY, "spleen", moved_out),
    (Reason.OVERLAPPING, "pancreas", claimed_twice),
    (Reason.NOT_ADJACENT, "gallbladder", far_away),
    (Reason.NOT_FOUND, "gallbladder", missed),
    (Reason.PRESENCE_NOT_CHECKED, "gallbladder", missed_with_the_liver),
]


def test_on_the_phantom_as_it_was_no_rule_fires(phantom, drawn):
    reasons = {organ: finding.reasons for organ, finding in told(phantom, drawn).items()}
    assert reasons == dict.fromkeys(ORGANS, ("uncalibrated",))


@pytest.mark.parametrize(("rule", "organ", "broken"), BREAKS, ids=[f"{r}-{o}" for r, o, _ in BREAKS])
def test_a_rule_fires_on_a_phantom_built_to_break_it(phantom, drawn, rule, organ, broken):
    assert rule in told(phantom, broken(drawn))[organ].reasons


@pytest.mark.parametrize(("face", "axis", "first"), [
    ("feet", 0, True), ("head", 0, False), ("front", 1, True), ("back", 1, False), ("right", 2, True),
    ("left", 2, False),
])  # fmt: skip
def test_an_organ_that_reaches_any_of_the_six_faces_is_cut(phantom, drawn, face, axis, first):
    liver = drawn["liver"]
    ends = np.argwhere(liver >= 0.5)[:, axis]
    shift = -int(ends.min()) if first else liver.shape[axis] - 1 - int(ends.max())
    assert not told(phantom, drawn)["liver"].cut_by_field_of_view
    assert told(phantom, drawn | {"liver": np.roll(liver, shift, axis)})["liver"].cut_by_field_of_view


def test_a_scan_that_ends_in_the_liver_cuts_it(phantom, drawn):
    dome = int(np.argwhere(drawn["liver"] >= 0.5)[:, 0].max())
    found = told(phantom, drawn, slice(0, dome - 2))
    assert found["liver"].cut_by_field_of_view
    assert not found["right_kidney"].cut_by_field_of_view


def test_each_rule_has_a_phantom_that_breaks_it():
    about_calibration = {
        Reason.OUT_OF_DOMAIN, Reason.BOUND_UNDER_HALF_TARGET, Reason.BOUND_UNDER_TARGET,
        Reason.UNCALIBRATED, Reason.RANDOM_AUDIT, Reason.NO_TARGET, Reason.DOUBTFUL_SLICES,
    }  # fmt: skip
    assert {rule for rule, _, _ in BREAKS} == set(Reason) - about_calibration


def test_an_audited_study_asks_for_review_of_every_organ_and_says_why(phantom, drawn):
    model = to_model_grid(phantom.volume, CONTRACT.spacing_mm)
    probability = np.stack([drawn[organ] for organ in ORGANS]).astype(np.float16)
    answer = Segmentation(
        probability, np.zeros_like(probability), np.zeros((1, 16), np.float32), np.zeros((1, 3), np.int32)
    )
    answer = replace(answer, release_digest=RELEASE.digest)
    findings = assess(answer, model, phantom.volume.geometry, RELEASE, "any", audited=True)
    assert findings.audited
    assert {finding.reasons for finding in findings.organs} == {("uncalibrated", "random-audit")}
