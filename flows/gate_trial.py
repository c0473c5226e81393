"""What the gate has to decide on now: two releases, the frozen set, what is on record of the candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flows.serving import current
from models.errors import Refused
from models.gate import Tuning
from models.gate_report import GatePolicy
from models.release import Release
from services.records.port import Case, FrozenSet, Purpose, manifest_digest
from services.releases.gate_reports import Trial
from services.settings import Settings
from services.wiring import Services

CANDIDATE_TUNED = "candidate-tuned"
"""Event: a candidate was made; ``release, organs, cases, patients, sites`` it learnt from."""

CANDIDATE_CALIBRATED = "candidate-calibrated"
"""Event: a candidate with the incumbent's weights was calibrated; ``release, cases, patients``."""

GATE_DECIDED = "gate-decided"
"""Event: the gate has decided on a candidate."""


@dataclass(frozen=True)
class Made:
    """How a candidate came to be, as it is on record.

    Parameters
    ----------
    tuning
        Organs, patients, and whether only the calibration was meant to change.
    sites
        Where the corrections came from: a gain is expected there.
    """

    tuning: Tuning
    sites: Sequence[str]


def trial_of(number: int, services: Services) -> Trial:
    """Return what the gate has to decide on: the candidate against the release that serves."""
    incumbent, candidate = current(services), services.releases.release(number)
    frozen = services.records.frozen(Purpose.GATE)
    return Trial(
        candidate=candidate,
        incumbent=incumbent,
        gate_set=frozen.digest if frozen else None,
        profile=services.segmenter.profile(incumbent.number),
        policy=policy(services.settings, candidate),
    )


def policy(settings: Settings, candidate: Release) -> GatePolicy:
    """Return what the site has fixed before; unset, only demonstration weights pass without a person."""
    required = settings.approval_required
    return GatePolicy(approval_required=not candidate.demonstration if required is None else required)


def frozen_cases(services: Services) -> tuple[FrozenSet | None, tuple[Case, ...]]:
    """Return the newest version of the gate set and its cases, as they are on record now.

    Raises
    ------
    Refused
        `gate-set-changed` if they are not those that were frozen: a manifest or a case was tampered with,
        or a patient was taken out and the set must be frozen again.
    """
    frozen = services.records.frozen(Purpose.GATE)
    if frozen is None:
        return None, ()
    known = {case.case_id: case for case in services.records.cases(Purpose.GATE)}
    found = manifest_digest(frozen.manifest)
    changed = [
        entry["case_id"]
        for entry in frozen.manifest
        if entry["case_id"] not in known or not entry.items() <= asdict(known[entry["case_id"]]).items()
    ]
    if changed or found != frozen.digest:
        raise Refused(
            "gate-set-changed",
            f"{len(changed)} of {len(frozen.manifest)} gate cases are not those that were frozen as version "
            f"{frozen.version}; if a patient was taken out: `organloop cases freeze --purpose gate`",
            {"frozen": frozen.digest, "found": found, "cases": changed},
        )
    return frozen, tuple(known[entry["case_id"]] for entry in frozen.manifest)


def made(number: int, services: Services) -> Made:
    """Return how a candidate came to be; nothing on record, and then no head may differ."""
    for event in reversed(services.records.events()):
        if event.what in (CANDIDATE_TUNED, CANDIDATE_CALIBRATED) and event.payload["release"] == number:
            only_calibrated = event.what == CANDIDATE_CALIBRATED
            tuning = Tuning(
                organs=() if only_calibrated else tuple(event.payload["organs"]),
                patients=tuple(event.payload["patients"]),
                recalibrated=only_calibrated,
            )
            return Made(tuning, () if only_calibrated else tuple(event.payload["sites"]))
    return Made(Tuning(), ())


def served_sites(services: Services) -> frozenset[str]:
    """Return the sites studies came from, as far as cases of any purpose tell."""
    return frozenset(case.site for purpose in Purpose for case in services.records.cases(purpose)) - {""}
