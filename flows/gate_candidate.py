"""Gate a candidate: both releases answer the frozen gate set, and the differences decide.

Every score is kept as soon as it is measured: a killed gate goes on where it was, and the incumbent is
asked once for a case, not once a night.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.serving import Progress, current, serve, silent, worth_trying_again
from models.errors import Refused
from models.gate import OrganEvidence, gate
from models.gate_report import Decision, GatePolicy, GateReason, GateReport
from models.release import Release
from models.resampling import model_grid
from models.scores import OrganScore, pair, score_organs
from services.cases.store import CaseContent
from services.records.port import Case, Purpose, ReleaseState
from services.releases.gate_reports import GateReports
from services.releases.scores import ScoreStore
from services.settings import Settings
from services.stopwatch import time_left
from services.wiring import Services, connect

CANDIDATE_TUNED = "candidate-tuned"
"""Event: a candidate was made; ``release, organs, cases, patients, sites`` it learnt from."""

GATE_DECIDED = "gate-decided"
"""Event: the gate has decided on a candidate."""


def gate_candidate(number: int, services: Services, progress: Progress = silent) -> dict[str, Any]:
    """Decide on a candidate; a decision made before is returned as it was.

    Parameters
    ----------
    number
        The candidate.
    services
        What to work with.
    progress
        Told each step, with the time left.

    Returns
    -------
    dict
        The document of the `gate` verb: ``release, decision, organs, reasons``, and what it holds for:
        ``incumbent, candidate, profile, gate_set, policy``.

    Raises
    ------
    Refused
        `is-incumbent`; `truth-incomplete` or `case-off-grid` if a gate case cannot be used.
    InvalidRelease
        If there is no such release, or it cannot be loaded.
    ServingFailed
        If a server does not answer; what was measured until then is kept.
    StorageFailed
        If a score or the report cannot be kept.
    """
    incumbent, candidate = current(services), services.releases.release(number)
    if candidate.number == incumbent.number:
        raise Refused("is-incumbent", f"release {number} serves already; there is nothing to compare it with")
    profile = services.segmenter.profile(incumbent.number)
    gate_set, cases = services.records.frozen(Purpose.GATE), services.records.cases(Purpose.GATE)
    if gate_set is None:
        report = _without_gate_set(incumbent, candidate, profile, len(cases), services)
        return _decided({**report, "gate_set": None}, services)
    reports = GateReports(services.releases.folder)
    known = reports.find(candidate, incumbent, gate_set, profile)
    if known is not None:
        return _decided(known, services)
    serve(candidate, services, progress)
    if services.segmenter.profile(number) != profile:
        raise Refused("other-profile", "both releases must answer in one serving profile")
    scores = measure((incumbent, candidate), cases, profile, services, progress)
    tuned = tuning_of(number, services)
    report = _document(
        candidate,
        gate(
            incumbent,
            candidate,
            tuned.get("organs", ()),
            _evidence(incumbent, candidate, cases, scores, tuned.get("sites", ())),
            tuned.get("patients", ()),
            profile,
            policy(services.settings),
        ),
    )
    report["incumbent_release"] = incumbent.number
    report["gate_set"] = {"digest": gate_set, "cases": len(cases)}
    return _decided(reports.keep(candidate, incumbent, gate_set, profile, report), services)


def policy(settings: Settings) -> GatePolicy:
    """Return what the site has fixed before."""
    return GatePolicy(approval_required=settings.approval_required)


def tuning_of(number: int, services: Services) -> Mapping[str, Any]:
    """Return what is on record of a candidate's tuning; empty if nothing is, and then no head may differ."""
    made = [e.payload for e in services.records.events(CANDIDATE_TUNED) if e.payload["release"] == number]
    return made[-1] if made else {}


Scores = dict[tuple[str, str], dict[str, OrganScore]]
"""Scores by organ, by release digest and case."""


def measure(
    releases: Sequence[Release],
    cases: Sequence[Case],
    profile: str,
    services: Services,
    progress: Progress = silent,
) -> Scores:
    """Ask each release about each case, unless that was measured before.

    Parameters
    ----------
    releases
        Loaded releases of one contract.
    cases
        Cases with truth of every organ.
    profile
        Serving profile they answer in.
    services
        What to work with.
    progress
        Told each case, with the time left.
    """
    store = ScoreStore(services.settings.score_store)
    found: Scores = {}
    for case in cases:
        for release in releases:
            kept = store.find(release.digest, profile, case.digest)
            if kept is not None:
                found[release.digest, case.case_id] = kept
    total = len(releases) * len(cases) - len(found)
    done, begin = 0, time.monotonic()
    for position, case in enumerate(cases, 1):
        asked = [release for release in releases if (release.digest, case.case_id) not in found]
        if not asked:
            continue
        content = services.cases.read(case)
        for release in asked:
            scores = _score(release, case, content, services)
            store.keep(release.digest, profile, case.digest, scores)
            found[release.digest, case.case_id] = scores
            done += 1
        progress(f"gate case {position} of {len(cases)}: {time_left(time.monotonic() - begin, done, total)}")
    return found


def _score(release: Release, case: Case, content: CaseContent, services: Services) -> dict[str, OrganScore]:
    contract, model = release.contract, content.volume.geometry
    if not model_grid(content.ct, contract.spacing_mm).same_grid(model):
        raise Refused("case-off-grid", f"case {case.case_id} was kept on another grid than the contract's")
    missing = sorted(set(contract.organs) - set(content.labels))
    if missing:
        raise Refused("truth-incomplete", f"case {case.case_id} has no truth of {', '.join(missing)}")
    answer = services.segmenter.segment(content.volume.hu.astype(np.int16, copy=False), release.number)
    truth = {organ: content.labels[organ].inside for organ in contract.organs}
    return score_organs(answer, release, model, content.ct, truth)


def _evidence(
    incumbent: Release, candidate: Release, cases: Sequence[Case], scores: Scores, sites: Sequence[str]
) -> dict[str, OrganEvidence]:
    """Pair the scores; the cases of the sites that were corrected are those where a gain is expected."""
    evidence = {}
    for organ in incumbent.contract.organs:
        pairs = tuple(
            pair(
                scores[incumbent.digest, case.case_id][organ],
                scores[candidate.digest, case.case_id][organ],
                case=case.case_id,
                patient=case.patient,
                site=case.site,
                origin=case.origin,
            )
            for case in cases
        )
        evidence[organ] = OrganEvidence(pairs, tuple(score for score in pairs if score.site in sites))
    return evidence


def _without_gate_set(
    incumbent: Release, candidate: Release, profile: str, cases: int, services: Services
) -> dict[str, Any]:
    detail = f"The gate set is not frozen; it has {cases} cases (`organloop cases freeze --purpose gate`)."
    reason = GateReason("gate-set-not-frozen", Decision.INSUFFICIENT_EVIDENCE, detail)
    report = GateReport(
        incumbent=incumbent.digest,
        candidate=candidate.digest,
        profile=profile,
        policy=policy(services.settings),
        decision=Decision.INSUFFICIENT_EVIDENCE,
        reasons=(reason,),
        organs=(),
    )
    return _document(candidate, report) | {"incumbent_release": incumbent.number}


def _document(candidate: Release, report: GateReport) -> dict[str, Any]:
    return {"release": candidate.number, **report.to_json()}


def _decided(report: dict[str, Any], services: Services) -> dict[str, Any]:
    """Put a decision on record, once; a refusal marks the candidate."""
    number, digest = report["release"], report["candidate"]
    gate_set = report["gate_set"]["digest"] if report["gate_set"] else None
    services.records.event(
        GATE_DECIDED,
        who="gate_candidate",
        payload={
            "release": number,
            "against": report["incumbent_release"],
            "decision": report["decision"],
            "gate_set": gate_set,
            "reasons": sorted({reason["code"] for reason in all_reasons(report)}),
        },
        key=f"{GATE_DECIDED}:{digest}:{report['incumbent']}:{gate_set}:{report['profile']}",
    )
    state = services.records.release_states().get(number, ReleaseState.CANDIDATE)
    if state is not ReleaseState.PROMOTED:
        refused = report["decision"] == Decision.REFUSE
        state = ReleaseState.REFUSED if refused else ReleaseState.CANDIDATE
        services.records.record_release(number, digest, state)
    return report


def all_reasons(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the reasons of the release as a whole and of every organ."""
    return [*report["reasons"], *(reason for organ in report["organs"] for reason in organ["reasons"])]


def organ_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per organ for a table: what was found, in DSC, and why the decision is what it is."""
    return [
        {
            "organ": organ["organ"],
            "tuned": "tuned" if organ["tuned"] else "untouched",
            "decision": organ["decision"],
            "incumbent": _figure(organ["gate_set"], "incumbent", ".3f"),
            "candidate": _figure(organ["gate_set"], "candidate", ".3f"),
            "difference": _figure(organ["gate_set"], "mean", "+.3f"),
            "at least": _figure(organ["gate_set"], "lower_bound", "+.3f"),
            "by site": ", ".join(f"{site} {found['mean']:+.3f}" for site, found in organ["sites"].items()),
            "reasons": " ".join(reason["detail"] for reason in organ["reasons"]),
        }
        for organ in report["organs"]
    ]


def _figure(found: Mapping[str, Any] | None, name: str, form: str) -> str:
    return "—" if found is None or found[name] is None else format(found[name], form)


@task(name="gate", retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=worth_trying_again)
def gate_task(number: int) -> dict[str, Any]:
    """Decide on a candidate; the document of the `gate` verb."""
    return gate_candidate(number, connect(Settings()))


@task(name="publish decision")
def publish_decision_task(report: dict[str, Any]) -> None:
    """Show the decision, its reasons and every organ's figures in the Prefect dashboard."""
    reasons = "\n".join(f"- **{reason['code']}**: {reason['detail']}" for reason in all_reasons(report))
    decision = f"# Release {report['release']}: {report['decision']}"
    create_markdown_artifact(
        key="gate-decision",
        markdown=f"{decision}\n\n{reasons or 'No reason against it.'}\n",
        description=f"Release {report['release']} against release {report['incumbent_release']}",
    )
    create_table_artifact(
        key="gate-organs",
        table=organ_rows(report),
        description=f"DSC on the frozen gate set, {report['profile']}",
    )


@flow(name="gate-candidate")
def gate_flow(number: int) -> dict[str, Any]:
    """Gate one candidate."""
    report = gate_task(number)
    publish_decision_task(report)
    return report
