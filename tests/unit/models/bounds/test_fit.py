from __future__ import annotations

import json

import numpy as np
import pytest

from models.bounds.acquisition_facts import FACTS
from models.bounds.band import PROBABILITIES
from models.bounds.certificate import fewest_certified
from models.bounds.fit import OrganCase, StudyCase, fit_calibration, fit_organ
from models.bounds.reliability import count_voxels
from models.bounds.uncertainty import entropy
from models.calibration import AS_SERVED, Calibration, OrganCalibration, Reliability


def organ_case(rng: np.random.Generator, overconfidence: float = 2.0) -> OrganCase:
    """Voxels that err as often as they say once their logits are halved, and the DSC that comes of it."""
    logit = rng.normal(0, 2 + rng.random(), 20_000)
    inside = rng.random(logit.size) < 1 / (1 + np.exp(-logit))
    served = (1 / (1 + np.exp(-overconfidence * logit))).astype(np.float16)
    mask = served >= 0.5
    dsc = 2 * np.count_nonzero(mask & inside) / (np.count_nonzero(mask) + np.count_nonzero(inside))
    missed = np.linspace(0.05, 0.0, len(PROBABILITIES))
    return OrganCase(count_voxels(served, inside), dsc, missed, None, float(entropy(served).mean()))


def study(rng: np.random.Generator, *organs: str) -> StudyCase:
    facts = {fact.name: 10 + rng.random() for fact in FACTS}
    return StudyCase({organ: organ_case(rng) for organ in organs}, rng.normal(size=16), facts)


def test_after_calibration_the_confidence_is_the_dsc_and_little_is_subtracted():
    rng = np.random.default_rng(0)
    fitted = fit_organ(0.92, [organ_case(rng) for _ in range(40)], 0.5)
    assert fitted.reliability.slope == pytest.approx(0.5, abs=0.02)
    assert fitted.reliability.bias == pytest.approx(0.0, abs=0.02)
    assert abs(fitted.quantile) < 0.02
    as_served, calibrated = fitted.calibration_error
    assert as_served > 0.08
    assert calibrated < 0.02


def test_an_organ_found_too_rarely_stays_uncalibrated():
    rng = np.random.default_rng(1)
    cases = [organ_case(rng) for _ in range(9)]
    nowhere = OrganCase(count_voxels(np.zeros(9, np.float16), np.zeros(9)), 0.0, np.ones(49))
    assert fit_organ(0.92, cases, 0.5) is not None
    assert fit_organ(0.92, [*cases[1:], *[nowhere] * 30], 0.5) is None


def test_a_certificate_needs_22_cases_and_a_band_19():
    rng = np.random.default_rng(2)
    cases = [organ_case(rng) for _ in range(22)]
    # These organs have a DSC near 0.88: over the pancreas's target, under the liver's.
    assert fewest_certified() == 22
    assert fit_organ(0.75, cases, 0.5).certificate.cases == 22
    assert fit_organ(0.75, cases[1:], 0.5).certificate is None
    assert fit_organ(0.92, cases, 0.5).certificate is None
    assert fit_organ(0.75, cases[:20], 0.5).band_probability is not None
    assert fit_organ(0.75, cases[:18], 0.5).band_probability is None


def test_a_calibration_survives_json_and_names_only_organs_with_enough_cases():
    rng = np.random.default_rng(3)
    cases = [study(rng, "pancreas", *["gallbladder"] * (n < 8)) for n in range(30)]
    calibration = fit_calibration(
        "python/cpu", cases, {"pancreas": 0.5, "gallbladder": 0.5}, {"pancreas": 0.75, "gallbladder": 0.75}
    )
    assert list(calibration.organs) == ["pancreas"]
    certificate = calibration.organs["pancreas"].certificate
    assert certificate.delta == 0.05, "two organs share the probability that any certificate is wrong"
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


def test_a_calibration_made_before_there_were_facts_reads_as_it_was_written():
    rng = np.random.default_rng(4)
    cases = [study(rng, "pancreas") for _ in range(12)]
    new = fit_calibration("python/cpu", cases, {"pancreas": 0.5}, {"pancreas": 0.75}).to_json()
    old = {"profile": "p", "organs": {"liver": {"quantile": 0.1, "confidence": 0.9, "cases": 20}}}
    old["domain"] = new["domain"]
    read = Calibration.from_json(old)
    assert read.organs["liver"] == OrganCalibration(0.1, 0.9, 20)
    assert read.organs["liver"].reliability == AS_SERVED == Reliability()
    assert read.facts is None
    assert json.dumps(read.to_json()) == json.dumps(old)
