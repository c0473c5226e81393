"""An organ that the incumbent lacks, from the gate over the promotion to what comes after it and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from flows.cases.keep import add_case
from flows.gate.gate_candidate import organ_rows
from flows.promotion import promote as promote_release
from flows.promotion.roll_back import rollback
from flows.segmentation.segment import segment
from flows.serving.serve import write
from models.corrections.ledger import INDEPENDENT
from models.documents import from_json
from models.errors import Refused
from models.gate.document import GateDocument
from models.network.heads import HeadSpec, build_head
from models.network.weights import head_to_bytes
from models.organs import organ
from models.phantom.case import make_case
from models.release import Release
from services.dicom.ct.phantom_series import write_phantom_series, write_truth
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.releases.evidence_packs import EvidencePacks
from services.releases.gate_reports import pictured
from services.wiring import Services
from tests.support.learning import SPACING, open_site
from tests.support.promotion import (
    InProcessEndpoint,
    add_gate_case,
    codes_of,
    gate_document,
    in_process_site,
    record_candidate,
    small_canary,
)
from tests.support.serving import Serving
from tests.support.tiny_networks import noisy_body, publish_tiny

WHO = ("Dr B", "the stomachs look right")
CASES = 10


def publish(services: Services, number: int, parent: int, tuned: str, **seeds: int) -> Release:
    """Publish a candidate whose stomach, at seed 8, tuning judged to be good."""
    candidate = publish_tiny(services.releases, number, seeds, parent=parent)
    record_candidate(services, candidate, (tuned,), estimates={"stomach": 0.9})
    return candidate


def load(services: Services, release: Release) -> None:
    write(release, services)
    services.endpoints[0].load()


def codes(report: dict) -> set[str]:
    return codes_of(report)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Services, InProcessEndpoint]:
    """Release 1 with liver and spleen serves; its gate set has truth of both; release 2 has a stomach too."""
    services, endpoint = in_process_site(tmp_path_factory.mktemp("site"))
    load(services, publish(services, 2, 1, "stomach", liver=1, spleen=2, stomach=8))
    better = publish(services, 3, 2, "spleen", liver=1, spleen=3, stomach=8)
    load(services, better)
    for n in range(CASES):
        add_gate_case(services, endpoint, n, spleen_truth=3)
    services.records.freeze(Purpose.GATE)
    endpoint.asked.clear()
    return services, endpoint


@pytest.fixture(scope="module")
def gated(site: tuple[Services, InProcessEndpoint]) -> dict:
    return gate_document(2, site[0])


@pytest.fixture(scope="module")
def promoted(site: tuple[Services, InProcessEndpoint], gated: dict) -> tuple[Services, dict]:
    services, _ = site
    told: list[str] = []
    document = promote_release.promote(2, services, *WHO, told.append, canary=small_canary)
    assert "release 1 has no stomach: it was compared with nothing" in told
    return services, document


def test_the_gate_leaves_a_new_organ_to_a_person_and_holds_the_others_to_the_same_bits(site, gated) -> None:
    services, _ = site
    assert (gated["decision"], codes(gated)) == ("needs-approval", {"new-organ"})
    liver, spleen, stomach = gated["organs"]
    assert [one["decision"] for one in (liver, spleen)] == ["promote", "promote"]
    assert (stomach["new"]["cases"], stomach["new"]["drawn"], stomach["new"]["estimate"]) == (CASES, 0, 0.9)
    assert "none of 10 gate cases has independent truth of it" in stomach["reasons"][0]["detail"]
    assert services.records.release_states()[2] is ReleaseState.NEEDS_APPROVAL
    assert [row["tuned"] for row in organ_rows(from_json(GateDocument, gated))] == [
        "untouched",
        "untouched",
        "new",
    ]
    page, kept = sorted((services.releases.folder / "releases" / "2" / "gate").iterdir())
    text = page.read_text()
    assert "New organs: nothing to compare with" in text
    assert "none: always for review" in text
    assert "Untouched, compared bit for bit: Liver, Spleen." in text
    assert text.count(": nobody drew it") == 2
    assert text.count('src="data:image/png') == 1 + 2, "a legend, and what the candidate draws in two cases"
    assert len(pictured(kept)) == 2, "an erased patient's images go with the page"


def test_the_gate_demands_truth_of_an_organ_that_was_never_new(site, monkeypatch) -> None:
    services, _ = site
    read = type(services.cases).read

    def without_spleen(store, case):
        content = read(store, case)
        del content.labels["spleen"]
        return content

    monkeypatch.setattr(type(services.cases), "read", without_spleen)
    load(services, publish(services, 9, 1, "stomach", liver=1, spleen=2, stomach=9))
    with pytest.raises(Refused, match=r"truth-incomplete: case .* has no truth of spleen"):
        gate_document(9, services)


def test_a_person_promotes_it_and_the_evidence_pack_says_what_was_known(promoted) -> None:
    services, document = promoted
    assert (services.records.incumbent(), document.replaced) == (2, 1)
    pack = EvidencePacks(services.releases.folder).read(document.evidence)
    modified = pack["description_of_modifications"]
    assert (modified["new_organs"], modified["unchanged_heads"]) == (["stomach"], ["liver", "spleen"])
    assert pack["impact_assessment"]["organs"][2]["new"]["estimate"] == 0.9
    assert len(pack["impact_assessment"]["golden_studies"]["cases"]) == 2
    page = promote_release.promotion_page(document, services.releases)
    assert "New, and compared with nothing: Stomach." in page.splitlines()


def test_the_old_gate_set_still_judges_what_it_has_truth_of_and_says_what_it_lacks(promoted) -> None:
    services, _ = promoted
    report = gate_document(3, services)
    _, spleen, stomach = report["organs"]
    assert (report["decision"], codes(report)) == ("needs-approval", {"few-patients"})
    assert (spleen["gate_set"]["patients"], stomach["tuned"], stomach["decision"]) == (
        CASES,
        False,
        "promote",
    )
    load(services, publish(services, 4, 2, "stomach", liver=1, spleen=2, stomach=7))
    report = gate_document(4, services)
    assert report["decision"] == "insufficient-evidence"
    assert codes(report) == {"too-few-patients", "too-few-target-patients", "organ-not-covered"}
    (reason, *_) = report["organs"][2]["reasons"]
    assert reason["detail"] == "0 patients with independent truth; 10 would do for an equal candidate."
    endpoint = services.endpoints[0]
    for n in range(CASES, 2 * CASES):
        add_gate_case(services, endpoint, n, spleen_truth=3, stomach_truth=4)
    services.records.freeze(Purpose.GATE)
    report = gate_document(4, services)
    assert (report["decision"], codes(report)) == ("needs-approval", {"few-patients", "looked-before"})
    assert report["organs"][2]["gate_set"]["patients"] == CASES
    assert report["organs"][2]["presence"]["candidate"]["present"] == CASES, (
        "cases nobody drew it in are none"
    )


def test_back_at_the_release_without_it_all_goes_on_and_cases_with_truth_measure_a_new_organ(
    promoted,
) -> None:
    services, _ = promoted
    assert rollback(None, services, *WHO).release == 1
    load(services, publish(services, 5, 1, "spleen", liver=1, spleen=3))
    report = gate_document(5, services)
    assert [one["organ"] for one in report["organs"]] == ["liver", "spleen"]
    assert codes(report) == {"few-patients"}
    report = gate_document(2, services)
    assert codes(report) == {"new-organ", "new-organ-poor", "looked-before"}, "now it is measured"
    assert report["organs"][2]["new"]["mean"] < 0.85 / 2
    load(services, publish(services, 6, 1, "stomach", liver=1, spleen=2, stomach=7))
    report = gate_document(6, services)
    assert (report["decision"], codes(report)) == ("needs-approval", {"new-organ"})
    new = report["organs"][2]["new"]
    assert (new["drawn"], new["patients"], new["mean"], new["least"]) == (CASES, CASES, 1.0, 1.0)
    assert promote_release.promote(6, services, *WHO, canary=small_canary).replaced == 1


def test_results_take_the_organs_from_the_release_and_a_new_one_is_never_clear(tmp_path: Path) -> None:
    made = open_site(tmp_path)
    services, parent = made.services, made.services.releases.release(1)
    new = ("spleen", "oesophagus")
    heads = {key: head_to_bytes(build_head(HeadSpec(parent.contract.feature_channels))) for key in new}
    contract = replace(
        parent.contract,
        organs=(*parent.contract.organs, *new),
        thresholds={**parent.contract.thresholds, **dict.fromkeys(new, 0.5)},
    )
    digests = {**parent.heads, **{key: services.releases.add_head(head) for key, head in heads.items()}}
    release = replace(parent, number=2, parent=1, contract=contract, heads=digests)
    services.releases.publish(release)
    record_candidate(services, release, new, estimates=dict.fromkeys(new, 0.9))
    phantom, ct = make_case("B", 1, spacing_mm=SPACING), tmp_path / "ct"
    write_phantom_series(phantom, ct)
    write_truth(phantom, tmp_path / "truth.npz")
    add_case(ct, tmp_path / "truth.npz", Purpose.GATE, INDEPENDENT, services)
    services.records.freeze(Purpose.GATE)
    *_, spleen, oesophagus = gate_document(2, services)["organs"]
    drawn = [one["new"]["drawn"] for one in (spleen, oesophagus)]
    assert drawn == [1, 0], "truth of what nothing serves yet was kept, and a phantom has no oesophagus"
    services.records.set_incumbent(2, approver="IT", reason="to see its results", replacing=1)
    found = {one.organ: one for one in segment(ct, tmp_path / "out", services).document.organs}
    assert {found[key].flag for key in new} <= {"review", "reject"}
    assert all("uncalibrated" in found[key].reasons for key in new)
    assert [found[key].dsc_lower_bound for key in new] == [None, None]
    assert "uncalibrated" not in found["liver"].reasons
    seg = dcmread(tmp_path / "out" / "organ-seg.dcm")
    labels = [one.SegmentLabel for one in seg.SegmentSequence]
    assert labels == ["Spleen", "Liver", "Stomach", "Aorta", "Oesophagus"]
    assert organ("oesophagus").type.value in str(dcmread(tmp_path / "out" / "report-sr.dcm"))
    services.records.set_incumbent(1, approver="IT", reason="back", replacing=2)
    back = {one.organ: one for one in segment(ct, tmp_path / "back", services).document.organs}
    assert (back["spleen"].presence, "oesophagus" in back) == ("not-asked", False)
    assert services.cases.read(services.records.cases(Purpose.GATE)[0]).labels.keys() == phantom.truth.keys()


def test_a_version_with_one_more_organ_is_served_beside_the_others_by_a_real_triton(serving: Serving) -> None:
    config = serving.repository.config
    serving.add(31, liver=1, spleen=2, stomach=8)
    serving.triton.load()
    hu = noisy_body()
    before, after = (serving.triton.segment(hu, number) for number in (1, 31))
    assert (before.probability.shape[0], after.probability.shape[0]) == (2, 3)
    assert after.probability[:2].tobytes() == before.probability.tobytes()
    assert after.disagreement[:2].tobytes() == before.disagreement.tobytes()
    assert np.array_equal(after.probability, serving.in_process.segment(hu, 31).probability)
    assert (serving.repository.config, serving.triton.ready(2)) == (config, True)
    serving.repository.remove_version(31)
    serving.triton.load()
