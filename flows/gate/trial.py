"""What the gate has to decide on now: two releases, the frozen set, what is on record of the candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from flows.serving.serve import current
from models.errors import Refused
from models.gate.decide import Tuning
from models.gate.report import GatePolicy
from models.release import Release
from services.records.port import Case, Event, FrozenSet, Purpose, manifest_digest
from services.releases.gate_reports import Trial
from services.settings import Settings
from services.wiring import Services

CANDIDATE_TUNED = "candidate-tuned"
"""Event: a candidate was made; ``release, organs, cases, patients, sites`` it learnt from."""

CANDIDATE_TRAINED = "candidate-trained"
"""Event: a candidate with another trunk was made; ``release, organs`` (all), ``cases, patients, sites``."""

CANDIDATE_CALIBRATED = "candidate-calibrated"
"""Event: a candidate with the incumbent's weights was calibrated; ``release, cases, patients``."""

SET_FROZEN, RESULT_RECORDED = "set-frozen", "result-recorded"

CASE_SCORED = "gate-case-scored"
"""Event: releases were asked about a gate case; ``case, profile, scores`` (SHA-256 by name)."""

GATE_DECIDED = "gate-decided"
"""Event: the gate has decided on a candidate."""

SECONDS_WEIGHED = "too-slow"
"""Reason that an earlier version gave: a window took longer, on whatever else the machine did meanwhile."""

STUDIES_OF_A_SITE = 20
"""Studies segmented of a site from which on it is served: a CD from elsewhere makes no site."""


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
    """Return what the gate has to decide on: the candidate against the release that serves.

    What an earlier version has decided still holds, unless seconds were among its reasons.
    """
    incumbent, candidate = current(services), services.releases.release(number)
    frozen = _frozen(services)
    trial = Trial(
        candidate=candidate,
        incumbent=incumbent,
        gate_set=frozen.digest if frozen else None,
        profile=services.segmenter.profile(incumbent.number),
        policy=policy(services.settings, candidate),
    )
    before = replace(trial, timed=True)
    reasons = {
        event.payload.get("trial"): event.payload["reasons"]
        for event in services.records.events(GATE_DECIDED)
        if event.payload["release"] == number and event.payload["report"] is not None
    }
    holds = before.key in reasons and SECONDS_WEIGHED not in reasons[before.key]
    return before if holds and trial.key not in reasons else trial


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
    frozen = _frozen(services)
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


def _frozen(services: Services) -> FrozenSet | None:
    """Return the newest version of the gate set, if it was frozen by an act on record.

    Raises
    ------
    Refused
        `gate-set-changed` if it is in the database and not in the log: somebody put it there.
    """
    frozen = services.records.frozen(Purpose.GATE)
    if frozen is None:
        return None
    said = {"set": Purpose.GATE, "version": frozen.version, "digest": frozen.digest}
    if not any(said.items() <= event.payload.items() for event in services.records.events(SET_FROZEN)):
        detail = f"version {frozen.version} of the gate set is not what any event says was frozen"
        raise Refused("gate-set-changed", f"{detail}: `organloop audit verify`", {"found": frozen.digest})
    return frozen


def made(number: int, services: Services) -> Made:
    """Return how a candidate came to be; nothing on record, and then no head may differ."""
    origin = _origin(number, services)
    if origin is None:
        return Made(Tuning(), ())
    only_calibrated = origin.what == CANDIDATE_CALIBRATED
    tuning = Tuning(
        organs=() if only_calibrated else tuple(origin.payload["organs"]),
        patients=tuple(origin.payload["patients"]),
        recalibrated=only_calibrated,
        retrained=origin.what == CANDIDATE_TRAINED,
        estimates=_estimates(origin.payload.get("report", {})),
    )
    return Made(tuning, () if only_calibrated else tuple(origin.payload["sites"]))


def _estimates(report: Mapping[str, Any]) -> dict[str, float]:
    """Return by organ the DSC that tuning estimated of the level it kept, on patients that only judged."""
    found = {}
    for organ, ladder in report.get("ladders", {}).items():
        for rung in ladder["rungs"]:
            judged = rung["old_dsc"] if rung["new_dsc"] is None else rung["new_dsc"]
            if rung["level"] == report["levels"][organ] and judged is not None:
                found[organ] = float(judged)
    return found


def always_held(release: Release, services: Services) -> frozenset[str]:
    """Return the organs that a release and every ancestor have: each gate case must have truth of these.

    Of an organ that was new somewhere in the line, cases kept before know nothing.
    """
    held = frozenset(release.contract.organs)
    for number in _lineage(release, services):
        held &= frozenset(services.releases.release(number).contract.organs)
    return held


def learnt_patients(candidate: Release, gate_cases: Sequence[Case], services: Services) -> frozenset[str]:
    """Return the patients that a candidate or an ancestor learnt from, by every pseudonym they have here.

    A gate patient whose volume is, to the byte, one that was learnt from is such a patient under another
    name: the same images came in twice, under two PatientIDs.
    """
    patients: set[str] = set()
    learnt: set[str] = set()
    for number in _lineage(candidate, services):
        origin = _origin(number, services)
        if origin is not None:
            patients |= set(origin.payload["patients"])
            learnt |= set(origin.payload["cases"])
    kept = [
        case
        for purpose in (Purpose.TUNING, Purpose.CALIBRATION)
        for case in services.records.cases(purpose)
        if case.case_id in learnt
    ]
    volumes = {services.cases.volume_digest(case) for case in kept} - {None}
    same = {case.patient for case in gate_cases if services.cases.volume_digest(case) in volumes}
    return frozenset(patients | same)


def _lineage(release: Release, services: Services) -> Iterator[int]:
    """Yield the numbers of a release and its ancestors."""
    yield release.number
    while release.parent is not None:
        release = services.releases.release(release.parent)
        yield release.number


def _origin(number: int, services: Services) -> Event | None:
    """Return the last event by which a release was made; None if nothing is on record."""
    events = [
        event
        for what in (CANDIDATE_TUNED, CANDIDATE_TRAINED, CANDIDATE_CALIBRATED)
        for event in services.records.events(what)
        if event.payload["release"] == number
    ]
    return max(events, key=lambda event: event.number, default=None)


def served_sites(services: Services) -> frozenset[str]:
    """Return the sites studies come from: those of kept cases, and those of many segmented studies."""
    kept = {case.site for purpose in Purpose for case in services.records.cases(purpose)}
    studies: dict[str, set[str]] = {}
    for event in services.records.events(RESULT_RECORDED):
        studies.setdefault(event.payload.get("site", ""), set()).add(event.payload["study_uid"])
    served = {site for site, found in studies.items() if len(found) >= STUDIES_OF_A_SITE}
    return frozenset(kept | served) - {""}


def looks(trial: Trial, services: Services) -> int:
    """Return how often the gate has decided on a candidate's cases before, in another trial."""
    return len(
        {
            event.payload["trial"]
            for event in services.records.events(GATE_DECIDED)
            if event.payload["release"] == trial.candidate.number
            and event.payload["trial"] != trial.key
            and event.payload["report"] is not None
        }
    )
