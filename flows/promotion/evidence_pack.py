"""What is kept of a promotion, in the shape of a predetermined change control plan.

Description of modifications, modification protocol, impact assessment, as the plan's three parts; then who
approved, what program ran, and where in the chain of events it stands. It is made of what is on record, so
that a promotion killed in between comes to the same pack.

Source: FDA 2024, Marketing Submission Recommendations for a Predetermined Change Control Plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import TypeVar

from models.documents import to_json
from models.gate.document import GateDocument
from models.gate.report import Decision
from models.release import Release
from models.targets import FROM_THE_CATALOGUE
from services.program import program
from services.records.entries.cases import Purpose
from services.records.events.candidates import CandidateCalibrated, CandidateTrained, CandidateTuned
from services.records.events.event import Event, Recorded
from services.records.events.gate import GateDecided
from services.records.events.serving import IncumbentChanged
from services.records.port import Cases, Log, Records
from services.releases.evidence_packs import EvidencePacks
from services.releases.gate_reports import margins, read_report
from services.releases.store import ReleaseStore
from services.wiring import repository_root

Made = TypeVar("Made", CandidateTuned, CandidateTrained, CandidateCalibrated)

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


def keep_pack(
    change: Recorded[IncumbentChanged],
    golden: Mapping[str, object],
    records: Records,
    store: ReleaseStore,
    image: str | None,
) -> str:
    """Make and keep the pack of a promotion; return its SHA-256.

    Parameters
    ----------
    change
        The event `incumbent-changed` of the promotion.
    golden
        What the golden studies showed.
    records, store
        What is on record of the release, and the releases.
    image
        Digest of the container image that ran; None outside of one.
    """
    if change.said.before is None:
        raise ValueError(f"release {change.said.after} replaced none: it was not promoted")
    release = store.release(change.said.after)
    replaced = store.release(change.said.before)
    decided = _decision(release, replaced, change, records)
    pack = {
        "form": FORM,
        "description_of_modifications": _modifications(release, replaced, change, records),
        "modification_protocol": _protocol(release, decided, store, records),
        "impact_assessment": _impact(decided, golden, store),
        "approval": {
            "approver": change.who,
            "reason": change.said.reason,
            "at": change.at.isoformat(),
            **({} if change.proof is None else {"proof": asdict(change.proof)}),
        },
        "program": program(repository_root(), image),
        "audit": {"number": change.number, "digest": change.digest},
    }
    return EvidencePacks(store.folder).keep(pack)


def _decision(
    release: Release, replaced: Release, change: Recorded[IncumbentChanged], log: Log
) -> GateDecided | None:
    """Return the gate's last word before a change on letting a release replace another."""
    decided = log.all(GateDecided, release=release.number, against=replaced.number)
    passed = (Decision.PROMOTE, Decision.NEEDS_APPROVAL)
    found = [one.said for one in decided if one.number < change.number and one.said.decision in passed]
    return found[-1] if found else None


def _made(kind: type[Made], release: Release, change: Recorded[IncumbentChanged], log: Log) -> Made | None:
    """Return what the last such event before a change says of a release; None if there is none."""
    found = [one.said for one in log.all(kind, release=release.number) if one.number < change.number]
    return found[-1] if found else None


def _modifications(
    release: Release, replaced: Release, change: Recorded[IncumbentChanged], log: Log
) -> dict[str, object]:
    tuned = _made(CandidateTuned, release, change, log)
    trained = _made(CandidateTrained, release, change, log)
    calibrated = _made(CandidateCalibrated, release, change, log)
    weights = release.contract.weights
    changed = {
        organ: {"before": replaced.heads.get(organ), "after": digest}
        for organ, digest in release.heads.items()
        if replaced.heads.get(organ) != digest
    }
    return {
        "release": {"number": release.number, "digest": release.digest, "parent": release.parent},
        "replaced": {"number": replaced.number, "digest": replaced.digest},
        "trunk": {"before": replaced.trunk, "after": release.trunk},
        **({} if weights is None else {"weights": weights.to_json()}),
        "heads": changed,
        "new_organs": [organ for organ in release.contract.organs if organ not in replaced.heads],
        "unchanged_heads": sorted(set(release.heads) - set(changed)),
        "calibration_changed": release.calibration != replaced.calibration,
        "corrections": list(release.corrections),
        "tuning": None if tuned is None else _tuning(tuned),
        "training": None if trained is None else _training(trained),
        "calibrated_on": None if calibrated is None else list(calibrated.cases),
    }


def _tuning(tuned: CandidateTuned) -> dict[str, object]:
    said = _facts(tuned, TUNED_FACTS) | _image(tuned.report.image)
    return said if tuned.from_pictures is None else said | {"from_pictures": dict(tuned.from_pictures)}


def _training(trained: CandidateTrained) -> dict[str, object]:
    return _facts(trained, TRAINED_FACTS) | _image(trained.document.image)


def _image(taught: str | None) -> dict[str, object]:
    """Return the image that taught, which is not the one that promotes."""
    return {} if taught is None else {"image": taught}


def _facts(event: Event, names: Collection[str]) -> dict[str, object]:
    payload = event.payload()
    return {name: payload.get(name) for name in names}


def _protocol(
    release: Release, decided: GateDecided | None, store: ReleaseStore, sets: Cases
) -> dict[str, object]:
    newest = sets.frozen(Purpose.GATE)
    frozen = [
        one
        for version in range(1, (newest.version if newest else 0) + 1)
        if (one := sets.frozen(Purpose.GATE, version)) is not None
        and decided is not None
        and one.digest == decided.gate_set
    ]
    report = _report(decided, store)
    return {
        "gate_set": [
            {"version": one.version, "digest": one.digest, "manifest": list(one.manifest)} for one in frozen
        ],
        "policy": None if report is None else dict(report.policy),
        "margins": _margins(release, report),
        **({} if report is None or report.targets is None else {"targets": report.targets}),
        "serving_profile": None if report is None else report.profile,
    }


def _margins(release: Release, report: GateDocument | None) -> dict[str, dict[str, float | None]]:
    """Return what was fixed of each organ: as the gate was told it, where it asked any case."""
    fixed = margins(release, FROM_THE_CATALOGUE)
    for one in () if report is None else report.organs:
        fixed[one.organ]["margin"] = one.margin
    return fixed


def _impact(
    decided: GateDecided | None, golden: Mapping[str, object], store: ReleaseStore
) -> dict[str, object]:
    report = _report(decided, store)
    said = {} if report is None else to_json(report)
    return {
        "decision": said.get("decision"),
        "reasons": said.get("reasons"),
        "report": None if decided is None else decided.report,
        "page": None if decided is None else decided.page,
        "decided_by": said.get("program"),
        "cost": said.get("cost"),
        "golden_studies": dict(golden),
        "organs": [{key: one[key] for key in ORGAN_FACTS} for one in said.get("organs", ())],
    }


def _report(decided: GateDecided | None, store: ReleaseStore) -> GateDocument | None:
    """Return the report of a decision; None where a release came to serve without one."""
    if decided is None or decided.report is None or decided.trial is None:
        return None
    return read_report(store.folder, decided.release, decided.trial, decided.report)
