from __future__ import annotations

from dataclasses import replace

from models.gate.release_faults import release_faults
from models.gate.report import Decision
from models.release import Release
from tests.support.tiny_networks import tiny_contract

INCUMBENT = Release(1, None, "a" * 64, {"liver": "b" * 64, "spleen": "c" * 64}, tiny_contract())
TRAINED = replace(
    INCUMBENT, number=2, parent=1, trunk="d" * 64, heads={"liver": "e" * 64, "spleen": "f" * 64}
)
ORGANS = ("liver", "spleen")


def _found(candidate: Release, **on_record: bool) -> list[tuple[str, Decision]]:
    return [(one.code, one.decision) for one in release_faults(INCUMBENT, candidate, ORGANS, **on_record)]


def test_another_trunk_is_refused_unless_training_is_on_record():
    assert _found(TRAINED) == [("trunk-changed", Decision.REFUSE)]


def test_a_trained_release_waits_for_a_person():
    assert _found(TRAINED, retrained=True) == [("retrained", Decision.NEEDS_APPROVAL)]


def test_training_on_record_allows_no_other_contract_and_no_other_parent():
    other = replace(TRAINED, parent=7, contract=replace(TRAINED.contract, overlap=0.25))
    assert [code for code, _ in _found(other, retrained=True)] == [
        "other-parent",
        "contract-changed",
        "retrained",
    ]
