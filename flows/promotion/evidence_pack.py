"""What is kept of a promotion, in the shape of a predetermined change control plan.

Description of modifications, modification protocol, impact assessment, as the plan's three parts; then who
approved, what program ran, and where in the chain of events it stands. It is made of what is on record, so
that a promotion killed in between comes to the same pack.

Source: FDA 2024, Marketing Submission Recommendations for a Predetermined Change Control Plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.gate.trial import CANDIDATE_CALIBRATED, CANDIDATE_TRAINED, CANDIDATE_TUNED, GATE_DECIDED
from models.gate.report import Decision
from models.release import Release
from services.program import program
from services.records.port import Event, Purpose
from services.releases.evidence_packs import EvidencePacks
from services.releases.gate_reports import margins, read_report
from services.wiring import Services, repository_root

FORM = 2

ORGAN_FACTS = (
    "organ", "tuned", "decision", "reasons", "gate_set", "target", "surface", "sites", "groups", "presence",
    "bound", "noise", "taken_voxels", "new",
)  # fmt: skip
"""What is said of an organ; its cases lie in the report."""

TUNED_FACTS = ("key", "organs", "level", "cases", "sites")
"""What is said of a tuning; the curve and the seconds lie in its event."""

TRAINED_FACTS = ("key", "organs", "begin", "cases", "sites")
"""What is said where the whole network was trained again."""


def keep_pack(change: Event, golden: Mapping[str, Any], services: Services) -> str:
    """Make and keep the pack of a promotion; return its SHA-256.

    Parameters
    ----------
    change
        The event `incumbent-changed` of the promotion.
    golden
        What the golden studies showed.
    services
        What to work with.
    """
    release = services.releases.release(change.payload["to"])
    replaced = services.releases.release(change.payload["from"])
    events = services.records.events()
    passed = [str(Decision.PROMOTE), str(Decision.NEEDS_APPROVAL)]
    decided = _last(events, change, GATE_DECIDED, release.number, against=[replaced.number], decision=passed)
    pack = {
        "form": FORM,
        "description_of_modifications": _modifications(release, replaced, events, change),
        "modification_protocol": _protocol(release, decided, services),
        "impact_assessment": _impact(decided, golden, services),
        "approval": {
            "approver": change.who,
            "reason": change.payload["reason"],
            "at": change.at.isoformat(),
        },
        "program": program(repository_root(), services.settings.image_digest),
        "audit": {"number": change.number, "digest": change.digest},
    }
    return EvidencePacks(services.releases.folder).keep(pack)


def _last(
    events: tuple[Event, ...], change: Event, what: str, number: int, **wanted: list[Any]
) -> Mapping[str, Any] | None:
    """Return what the last such event before the change says of a release; None if there is none.

    By name, each value wanted is one of a list.
    """
    found = [
        event.payload
        for event in events
        if event.number < change.number
        and event.what == what
        and event.payload.get("release") == number
        and all(event.payload.get(name) in values for name, values in wanted.items())
    ]
    return found[-1] if found else None


def _modifications(
    release: Release, replaced: Release, events: tuple[Event, ...], change: Event
) -> dict[str, Any]:
    made = _last(events, change, CANDIDATE_TUNED, release.number)
    trained = _last(events, change, CANDIDATE_TRAINED, release.number)
    calibrated = _last(events, change, CANDIDATE_CALIBRATED, release.number)
    changed = {
        organ: {"before": replaced.heads.get(organ), "after": digest}
        for organ, digest in release.heads.items()
        if replaced.heads.get(organ) != digest
    }
    return {
        "release": {"number": release.number, "digest": release.digest, "parent": release.parent},
        "replaced": {"number": replaced.number, "digest": replaced.digest},
        "trunk": {"before": replaced.trunk, "after": release.trunk},
        "heads": changed,
        "new_organs": [organ for organ in release.contract.organs if organ not in replaced.heads],
        "unchanged_heads": sorted(set(release.heads) - set(changed)),
        "calibration_changed": release.calibration != replaced.calibration,
        "corrections": list(release.corrections),
        "tuning": None if made is None else {name: made.get(name) for name in TUNED_FACTS},
        "training": None if trained is None else {name: trained.get(name) for name in TRAINED_FACTS},
        "calibrated_on": None if calibrated is None else calibrated["cases"],
    }


def _protocol(release: Release, decided: Mapping[str, Any] | None, services: Services) -> dict[str, Any]:
    frozen = [
        one
        for version in range(1, _newest(services) + 1)
        if (one := services.records.frozen(Purpose.GATE, version)) is not None
        and decided is not None
        and one.digest == decided["gate_set"]
    ]
    report = _report(release.number, decided, services)
    return {
        "gate_set": [
            {"version": one.version, "digest": one.digest, "manifest": list(one.manifest)} for one in frozen
        ],
        "policy": report.get("policy"),
        "margins": margins(release),
        "serving_profile": report.get("profile"),
    }


def _newest(services: Services) -> int:
    frozen = services.records.frozen(Purpose.GATE)
    return frozen.version if frozen else 0


def _impact(
    decided: Mapping[str, Any] | None, golden: Mapping[str, Any], services: Services
) -> dict[str, Any]:
    report = _report(None if decided is None else decided["release"], decided, services)
    return {
        "decision": report.get("decision"),
        "reasons": report.get("reasons"),
        "report": None if decided is None else decided["report"],
        "page": None if decided is None else decided["page"],
        "decided_by": report.get("program"),
        "cost": report.get("cost"),
        "golden_studies": dict(golden),
        "organs": [{key: one.get(key) for key in ORGAN_FACTS} for one in report.get("organs", ())],
    }


def _report(number: int | None, decided: Mapping[str, Any] | None, services: Services) -> dict[str, Any]:
    """Return the report of a decision; empty where a release came to serve without one."""
    if number is None or decided is None or decided["report"] is None:
        return {}
    return read_report(services.releases.folder, number, decided["trial"], decided["report"])
