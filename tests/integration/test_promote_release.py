"""Promotion and rollback: only what the gate let pass serves, and a crash leaves one release serving."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.gate.trial import trial_of
from flows.promotion import promote as promote_release
from flows.promotion.promote import Promoted
from flows.promotion.roll_back import rollback
from flows.serving.serve import write
from models.documents import to_json
from models.errors import InvalidRelease, Refused, ServingFailed, ServingTimedOut, ServingUnavailable
from models.gate.decide import decide_without_cases
from models.gate.document import GateDocument
from models.gate.report import Decision, GateReason
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.people import Person
from models.release import sha256_hex
from services.records.chain import chain_faults
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import CandidateTuned
from services.records.events.event import Event
from services.records.events.serving import ReleasePromoted
from services.records.port import Records
from services.releases.evidence_packs import EvidencePacks
from services.releases.gate_reports import GateReports
from services.wiring import Services
from tests.support.killed import Killed
from tests.support.log import lines
from tests.support.promotion import (
    BETTER,
    SHAPE,
    Gated,
    InProcessEndpoint,
    add_candidate,
    copy_of,
    freeze_gate_set,
    gate_document,
    gated_site,
    in_process_site,
    record_candidate,
    small_canary,
)
from tests.support.tiny_networks import publish_tiny

WHO = ("Dr B", "better spleens at site B")
STEPS = 7

promote = partial(promote_release.promote, canary=small_canary)


class Tampered(InProcessEndpoint):
    """Answers for release 2 with something changed."""

    def __init__(self, versions: Path, change: str) -> None:
        super().__init__(versions)
        self._change = change

    def segment(
        self,
        hu: NDArray[np.int16] | NDArray[np.float32],
        release: int,
        sampled: bool = False,
        ct: Geometry | None = None,
    ) -> Segmentation:
        answer = super().segment(hu, release, sampled, ct)
        if release == 2 and self._change == "one bit of the liver":
            answer.disagreement[0, 5, 5, 5] += np.float16(0.001)
        if release == 2 and self._change == "no spleen":
            answer.probability[1] = 0
        if release == 2 and self._change == "half a spleen on golden studies" and hu.shape == SHAPE:
            answer.probability[1, :, : SHAPE[1] // 2] = 0
        if release == 2 and self._change == "not a number":
            answer.probability[1, 0, 0, 0] = np.nan
        return answer


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    """A gated site, made once and copied for each test."""
    return gated_site(tmp_path_factory.mktemp("gated"), 12)


@pytest.fixture
def services(gated: Gated, tmp_path: Path) -> Services:
    """A site of its own, where release 1 serves and release 2 passed the gate and is loaded."""
    return copy_of(gated, tmp_path / "home")


def restarted(services: Services) -> Services:
    """Return the services of a new process, with a server that has loaded nothing but release 1."""
    services.repository.remove_version(2)
    return with_server(services, InProcessEndpoint(services.repository.versions_folder))


def with_server(services: Services, endpoint: InProcessEndpoint) -> Services:
    """Return services on another server, which has loaded what is in the repository now."""
    endpoint.share(services.endpoints[0])
    endpoint.load()
    return replace(services, segmenter=endpoint, endpoints=(endpoint,))


def kept(services: Services) -> dict[str, Any]:
    """Return everything a promotion leaves behind."""
    return {
        "incumbent": services.records.incumbent(),
        "states": dict(services.records.release_states()),
        "changes": [e.payload for e in lines(services.records, "incumbent-changed")],
        "promotions": [e.payload for e in lines(services.records, "release-promoted")],
        "versions": services.repository.versions(),
        "ready": [services.endpoints[0].ready(number) for number in (1, 2)],
    }


def test_a_release_that_passed_serves_beside_the_old_one(services: Services) -> None:
    proven = replace(services, records=services.records.signed(Person("b-2", "https://id.hospital", "Dr B")))
    document = promote(2, proven, *WHO)
    evidence = document.evidence
    assert document == Promoted(2, 1, "Dr B", "better spleens at site B", evidence)
    assert evidence is not None
    approval = EvidencePacks(services.releases.folder).read(evidence)["approval"]
    assert approval["approver"] == "Dr B"
    proof = {"subject": "b-2", "issuer": "https://id.hospital"}
    assert approval["proof"] == proof
    after = kept(services)
    assert (after["incumbent"], after["ready"]) == (2, [True, True])
    assert after["states"][2] is ReleaseState.PROMOTED
    digest = services.releases.release(2).digest
    assert after["promotions"] == [{**to_json(document), "digest": digest, "proof": proof}]
    assert promote(2, services, *WHO) == document
    assert kept(services) == after


@pytest.mark.parametrize("step", range(STEPS))
def test_killed_between_any_two_steps_one_release_serves_and_the_same_call_completes(
    services: Services, step: int
) -> None:
    services = restarted(services)
    told: list[str] = []

    def killed(message: str) -> None:
        told.append(message)
        if len(told) == step + 1:
            raise Killed

    with pytest.raises(Killed):
        promote(2, services, *WHO, killed)
    before = services.records.incumbent()
    flipped = told[-1] in ("asking the golden studies", "recording the promotion")
    assert before == (2 if flipped else 1)
    assert lines(services.records, "incumbent-changed")[-1].payload["to"] == before, "the log says which"
    assert services.endpoints[0].ready(before)
    assert services.endpoints[0].segment(small_canary(services.releases.release(1).contract), before)
    document = promote(2, services, *WHO)
    assert (document.release, document.replaced, document.approver) == (2, 1, "Dr B")
    assert chain_faults(lines(services.records)) == []
    after = kept(services)
    assert after["incumbent"] == 2
    assert after["states"][2] is ReleaseState.PROMOTED
    assert [len(after["changes"]), len(after["promotions"])] == [2, 1]
    assert (after["versions"], after["ready"]) == ((1, 2), [True, True])


def test_a_promotion_says_every_step_before_it_is_taken(services: Services) -> None:
    told: list[str] = []
    promote(2, restarted(services), *WHO, told.append)
    assert told == [
        "asking for the gate's decision",
        "writing version 2",
        "loading version 2",
        "asking both releases about the canary study",
        "making release 2 the incumbent",
        "asking the golden studies",
        "recording the promotion",
    ]
    assert len(told) == STEPS


def test_what_the_gate_refused_is_not_promoted(services: Services) -> None:
    add_candidate(services, 3, {"liver": 1, "spleen": 5})
    gate_document(3, services)
    with pytest.raises(Refused, match="refused-by-gate") as refusal:
        promote(3, services, *WHO)
    assert refusal.value.measured["decision"] == "refuse"
    assert "worse-than-incumbent" in refusal.value.measured["reasons"]
    assert services.records.incumbent() == 1
    assert services.records.release_states()[3] is ReleaseState.REFUSED
    assert services.repository.versions() == (1, 2), "it takes no segmenter's memory from here on"
    assert gate_document(3, services)["decision"] == "refuse"


def test_what_served_stays_loaded_though_the_gate_refuses_it_now(services: Services) -> None:
    promote(2, services, *WHO)
    gate_document(1, services)
    assert services.repository.versions() == (1, 2), "a rollback may need it"


def test_what_the_gate_has_not_seen_is_not_promoted(services: Services) -> None:
    add_candidate(services, 3, BETTER)
    with pytest.raises(Refused, match="organloop gate 3"):
        promote(3, services, *WHO)


def test_a_report_edited_after_the_decision_promotes_nothing(services: Services) -> None:
    add_candidate(services, 3, {"liver": 1, "spleen": 5})
    assert gate_document(3, services)["decision"] == "refuse"
    (file,) = (services.releases.folder / "releases" / "3" / "gate").glob("*.json")
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"refuse"', '"promote"'))
    with pytest.raises(Refused, match="gate-report-changed"):
        promote(3, services, *WHO)
    assert services.records.incumbent() == 1


def test_a_report_without_a_decision_on_record_promotes_nothing(services: Services) -> None:
    forged = add_candidate(services, 3, {"liver": 1, "spleen": 5})
    trial = trial_of(3, services)
    passed = decide_without_cases(
        trial.incumbent, forged, [GateReason("any", Decision.REFUSE, "")], trial.profile, trial.policy
    )
    passed = replace(passed, decision=Decision.PROMOTE)
    GateReports(services.releases.folder).keep(trial, GateDocument.of(passed, (3, 1), None))
    with pytest.raises(Refused, match="no decision on release 3 is on record"):
        promote(3, services, *WHO)
    assert services.records.incumbent() == 1


def test_what_made_itself_clinical_is_not_promoted(services: Services) -> None:
    clinical = replace(services.releases.release(2), number=3, demonstration=False)
    services.releases.publish(clinical)
    record_candidate(services, clinical, ("spleen",))
    gate_document(3, services)
    with pytest.raises(Refused, match="demonstration-changed"):
        promote(3, services, *WHO)


def test_a_decision_against_an_earlier_incumbent_does_not_count(services: Services) -> None:
    candidate = publish_tiny(services.releases, 3, {"liver": 1, "spleen": 3}, parent=1)
    record_candidate(services, candidate, ("spleen",))
    gate_document(3, services)
    promote(2, services, *WHO)
    with pytest.raises(Refused, match="has not decided on release 3 against release 2"):
        promote(3, services, *WHO)


def test_insufficient_evidence_does_not_pass(tmp_path: Path) -> None:
    services, endpoint = in_process_site(tmp_path)
    write(add_candidate(services, 2, BETTER), services)
    endpoint.load()
    freeze_gate_set(services, endpoint, 6, spleen_truth=2)
    gate_document(2, services)
    assert services.repository.versions() == (1,)
    with pytest.raises(Refused, match="insufficient-evidence: site-not-covered, too-few-patients"):
        promote(2, services, *WHO)


@pytest.mark.parametrize(
    ("change", "fault", "organ"),
    [
        ("one bit of the liver", "untouched-output-changed", "liver"),
        ("no spleen", "organ-lost", "spleen"),
        ("not a number", "not-a-probability", "spleen"),
    ],
)
def test_a_release_that_fails_the_canary_does_not_serve(
    services: Services, change: str, fault: str, organ: str
) -> None:
    endpoint = Tampered(services.repository.versions_folder, change)
    endpoint.share(services.endpoints[0])
    endpoint.load()
    # The gate asks one endpoint; the canary asks every one.
    services = replace(services, endpoints=(*services.endpoints, endpoint))
    with pytest.raises(Refused, match="refused-by-canary") as refusal:
        promote(2, services, *WHO)
    assert refusal.value.measured == {fault: [organ]}
    assert services.records.incumbent() == 1
    assert lines(services.records, "canary-failed")[0].payload == {"release": 2, "faults": {fault: [organ]}}


def test_golden_studies_that_differ_take_the_release_back_at_once(services: Services) -> None:
    endpoint = Tampered(services.repository.versions_folder, "half a spleen on golden studies")
    endpoint.share(services.endpoints[0])
    endpoint.load()
    services = replace(services, endpoints=(*services.endpoints, endpoint))
    with pytest.raises(Refused, match="refused-by-golden-study") as refusal:
        promote(2, services, *WHO)
    assert set(map(tuple, refusal.value.measured.values())) == {("spleen",)}
    assert len(refusal.value.measured) == 2
    assert services.records.incumbent() == 1
    assert lines(services.records, "release-promoted") == ()
    (failed,) = lines(services.records, "golden-failed")
    assert failed.payload["release"] == 2
    assert [e.payload["act"] for e in lines(services.records, "incumbent-changed")] == [
        "promotion", "promotion", "golden-failed",
    ]  # fmt: skip


@pytest.mark.parametrize("failure", [ServingTimedOut, ServingUnavailable])
def test_golden_studies_nobody_answers_in_time_say_nothing_of_the_release(
    services: Services, monkeypatch: pytest.MonkeyPatch, failure: type[ServingFailed]
) -> None:
    (endpoint,) = services.endpoints
    answers = endpoint.segment

    def late(hu: NDArray[np.int16], release: int, ct: Geometry | None = None) -> Segmentation:
        if release == 2 and hu.shape == SHAPE:
            raise failure("no answer in 120 s")
        return answers(hu, release, ct=ct)

    with monkeypatch.context() as patched:
        patched.setattr(endpoint, "segment", late)
        with pytest.raises(failure, match="release 1 serves again: promote it again later"):
            promote(2, services, *WHO)
    assert services.records.incumbent() == 1
    assert lines(services.records, "release-promoted") == ()
    assert services.records.release_states()[2] is ReleaseState.NEEDS_APPROVAL
    assert promote(2, services, *WHO).release == 2
    assert services.records.incumbent() == 2


def test_without_a_score_of_the_gate_there_is_no_golden_study_and_no_promotion(services: Services) -> None:
    shutil.rmtree(services.settings.score_store)
    with pytest.raises(Refused, match="no-golden-study"):
        promote(2, services, *WHO)
    assert len(lines(services.records, "incumbent-changed")) == 1
    assert gate_document(2, services)["decision"] == "needs-approval", "the decision stays, scores are back"
    assert promote(2, services, *WHO).release == 2


def test_the_evidence_pack_has_the_three_parts_of_a_change_control_plan(services: Services) -> None:
    digest = promote(2, services, *WHO).evidence
    pack = EvidencePacks(services.releases.folder).read(digest)
    modified = pack["description_of_modifications"]
    old, new = (services.releases.release(number) for number in (1, 2))
    assert modified["heads"] == {"spleen": {"before": old.heads["spleen"], "after": new.heads["spleen"]}}
    assert (modified["unchanged_heads"], modified["trunk"]["before"]) == (["liver"], new.trunk)
    assert modified["tuning"]["organs"] == ["spleen"]
    protocol = pack["modification_protocol"]
    (gate_set,) = protocol["gate_set"]
    assert gate_set["digest"] == services.records.frozen(Purpose.GATE).digest
    assert len(gate_set["manifest"]) == 12
    assert protocol["margins"]["spleen"] == {"margin": 0.01, "nsd_tolerance_mm": 3.0}
    assert protocol["policy"]["confidence"] == 0.95
    impact = pack["impact_assessment"]
    assert (impact["decision"], len(impact["golden_studies"]["cases"])) == ("needs-approval", 2)
    assert impact["report"] == trial_report(services)
    assert pack["approval"]["reason"] == "better spleens at site B"
    assert len(pack["program"]["code"]) == 64
    assert "numpy" in pack["program"]["libraries"]
    change = lines(services.records, "incumbent-changed")[-1]
    assert pack["audit"] == {"number": change.number, "digest": change.digest}


def test_the_evidence_pack_names_the_image_that_taught_and_the_one_that_promotes(services: Services) -> None:
    taught, promotes = (f"sha256:{digit * 64}" for digit in "78")
    before = services.records.last(CandidateTuned, release=2)
    assert before is not None
    event = replace(before.said, report=replace(before.said.report, image=taught))
    services.records.record(event, who="tune_heads")
    services = replace(services, settings=services.settings.model_copy(update={"image_digest": promotes}))
    pack = EvidencePacks(services.releases.folder).read(promote(2, services, *WHO).evidence)
    assert pack["description_of_modifications"]["tuning"]["image"] == taught
    assert pack["program"]["image"] == promotes


def test_killed_before_it_is_on_record_a_promotion_comes_to_the_same_evidence_pack(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = type(services.records).record

    def killed(records: Records, event: Event, **said: Any) -> None:
        if isinstance(event, ReleasePromoted):
            raise Killed
        record(records, event, **said)

    with monkeypatch.context() as patched:
        patched.setattr(type(services.records), "record", killed)
        with pytest.raises(Killed):
            promote(2, services, *WHO)
    (kept_before,) = EvidencePacks(services.releases.folder).digests()
    assert promote(2, services, *WHO).evidence == kept_before


def trial_report(services: Services) -> str:
    (file,) = (services.releases.folder / "releases" / "2" / "gate").glob("*.json")
    return sha256_hex(file.read_bytes())


def test_a_corrupt_candidate_is_taken_out_again_and_the_incumbent_serves_on(services: Services) -> None:
    store = services.releases
    spleen = store.add_head(b"spleen, corrupt")
    store.add_export(spleen, b"no network")
    good = store.release(2)
    candidate = replace(good, number=4, heads={**good.heads, "spleen": spleen})
    store.publish(candidate)
    record_candidate(services, candidate, ("spleen",))
    with pytest.raises(InvalidRelease, match="release 4 cannot be loaded"):
        gate_document(4, services)
    assert services.repository.versions() == (1, 2)
    assert services.endpoints[0].segment(small_canary(candidate.contract), 1).probability.any()
    promote(2, services, *WHO)


@pytest.mark.parametrize("who", [("", "a reason"), ("Dr B", " ")])
def test_an_act_without_name_or_reason_is_none(services: Services, who: tuple[str, str]) -> None:
    for act in (promote, rollback):
        with pytest.raises(Refused, match="no-name"):
            act(2, services, *who)
