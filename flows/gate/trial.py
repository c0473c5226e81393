"""What the gate has to decide on now: two releases, the frozen set, what is on record of the candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from flows.lineage import lineage, origin_of_release
from flows.serving.serve import current
from models.errors import Refused
from models.gate.decide import Tuning
from models.gate.report import GatePolicy
from models.release import Release
from services.cases.store import CaseStore
from services.records.entries.cases import Case, FrozenSet, Purpose, manifest_digest
from services.records.events.candidates import CandidateCalibrated, CandidateTrained, CandidateTuned
from services.records.events.cases import SetFrozen
from services.records.events.gate import GateDecided
from services.records.port import Log, Records
from services.releases.gate_reports import Trial
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import Services

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
    incumbent, candidate = current(services.releases, services.records), services.releases.release(number)
    frozen = _frozen(services.records)
    trial = Trial(
        candidate=candidate,
        incumbent=incumbent,
        gate_set=frozen.digest if frozen else None,
        profile=services.segmenter.profile(incumbent.number),
        policy=policy(services.settings, candidate),
        targets=services.targets,
    )
    before = replace(trial, timed=True)
    decided = services.records.all(GateDecided, release=number)
    reasons = {one.said.trial: one.said.reasons for one in decided if one.said.report is not None}
    holds = before.key in reasons and SECONDS_WEIGHED not in reasons[before.key]
    return before if holds and trial.key not in reasons else trial


def policy(settings: Settings, candidate: Release) -> GatePolicy:
    """Return what the site has fixed before; unset, only demonstration weights pass without a person."""
    required = settings.approval_required
    return GatePolicy(approval_required=not candidate.demonstration if required is None else required)


def frozen_cases(records: Records) -> tuple[FrozenSet | None, tuple[Case, ...]]:
    """Return the newest version of the gate set and its cases, as they are on record now.

    Raises
    ------
    Refused
        `gate-set-changed` if they are not those that were frozen: a manifest or a case was tampered with,
        or a patient was taken out and the set must be frozen again.
    """
    frozen = _frozen(records)
    if frozen is None:
        return None, ()
    known = {case.case_id: case for case in records.cases(Purpose.GATE)}
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


def _frozen(records: Records) -> FrozenSet | None:
    """Return the newest version of the gate set, if it was frozen by an act on record.

    Raises
    ------
    Refused
        `gate-set-changed` if it is in the database and not in the log: somebody put it there.
    """
    frozen = records.frozen(Purpose.GATE)
    if frozen is None:
        return None
    if records.last(SetFrozen, purpose=Purpose.GATE, version=frozen.version, digest=frozen.digest) is None:
        detail = f"version {frozen.version} of the gate set is not what any event says was frozen"
        raise Refused("gate-set-changed", f"{detail}: `organloop audit verify`", {"found": frozen.digest})
    return frozen


def made(number: int, log: Log) -> Made:
    """Return how a candidate came to be; nothing on record, and then no head may differ."""
    origin = origin_of_release(number, log)
    if origin is None:
        return Made(Tuning(), ())
    only_calibrated = isinstance(origin, CandidateCalibrated)
    tuning = Tuning(
        organs=() if only_calibrated else origin.organs,
        patients=origin.patients,
        recalibrated=only_calibrated,
        retrained=isinstance(origin, CandidateTrained),
        estimates=origin.report.estimates() if isinstance(origin, CandidateTuned) else {},
    )
    return Made(tuning, () if only_calibrated else origin.sites)


def learnt_patients(
    candidate: Release,
    gate_cases: Sequence[Case],
    records: Records,
    releases: ReleaseStore,
    store: CaseStore,
) -> frozenset[str]:
    """Return the patients that a candidate or an ancestor learnt from, by every pseudonym they have here.

    A gate patient whose volume is, to the byte, one that was learnt from is such a patient under another
    name: the same images came in twice, under two PatientIDs.
    """
    patients: set[str] = set()
    learnt: set[str] = set()
    for release in lineage(candidate, releases):
        origin = origin_of_release(release.number, records)
        if origin is not None:
            patients |= set(origin.patients)
            learnt |= set(origin.cases)
    kept = [
        case
        for purpose in (Purpose.TUNING, Purpose.CALIBRATION)
        for case in records.cases(purpose)
        if case.case_id in learnt
    ]
    volumes = {store.volume_digest(case) for case in kept} - {None}
    same = {case.patient for case in gate_cases if store.volume_digest(case) in volumes}
    return frozenset(patients | same)


def served_sites(records: Records) -> frozenset[str]:
    """Return the sites studies come from: those of kept cases, and those of many segmented studies."""
    kept = {case.site for purpose in Purpose for case in records.cases(purpose)}
    studies = records.studies_by_site()
    served = {site for site, count in studies.items() if count >= STUDIES_OF_A_SITE}
    return frozenset(kept | served) - {""}


def looks(trial: Trial, log: Log) -> int:
    """Return how often the gate has decided on a candidate's cases before, in another trial."""
    decided = log.all(GateDecided, release=trial.candidate.number)
    return len({one.said.trial for one in decided if one.said.report is not None} - {trial.key})
