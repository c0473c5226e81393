"""Gate a candidate: both releases answer the frozen gate set, and the differences decide.

The decision and the digest of its report go on record; a report that was changed since counts for nothing.
A decision that needs a person waits as a state of the release, until `organloop promote` or `decline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.gate.cost import serving_cost
from flows.gate.golden_studies import has_golden
from flows.gate.page import page_of
from flows.gate.scores import evidence, measure, score_store
from flows.gate.trial import frozen_cases, learnt_patients, looks, made, served_sites, trial_of
from flows.gate.views import Views
from flows.progress import Progress, silent
from flows.serving.serve import serve, take_out
from flows.speech.compared import compared
from flows.speech.speech import speaks
from models.errors import Refused
from models.gate.decide import decide_without_cases, gate
from models.gate.document import GateDocument, GateSet
from models.gate.paired import MeanDifference
from models.gate.release_faults import release_faults
from models.gate.report import Decision, GateReason, GateReport, NewOrgan, Noise
from models.gate.silent_results import SilentResults
from models.release import sha256_hex
from services.cases.store import CaseStore
from services.pacs.unsent import UnsentResults
from services.program import program
from services.records.entries.cases import Case, FrozenSet, Purpose
from services.records.entries.releases import ReleaseState
from services.records.events.gate import GateDecided
from services.records.port import Log, Records
from services.releases.gate_reports import GateReports, Trial
from services.triton.repository import TritonRepository
from services.wiring import Services, repository_root

PASSED = (Decision.PROMOTE, Decision.NEEDS_APPROVAL)
"""Decisions a named person may act on."""

STATE_OF = {
    Decision.REFUSE: ReleaseState.REFUSED,
    Decision.NEEDS_APPROVAL: ReleaseState.NEEDS_APPROVAL,
}
"""How far a candidate has come by the gate's decision; by any other, it stays a candidate."""


@dataclass(frozen=True)
class Gated(GateDocument):
    """The document of the `gate` verb: the gate's, and how far the candidate has come."""

    state: str | None = None


def gate_candidate(number: int, services: Services, progress: Progress = silent) -> GateDocument:
    """Decide on a candidate; a decision made before is returned as it was.

    Parameters
    ----------
    number
        The candidate.
    services
        What to work with.
    progress
        Told each step, with the time left.

    Raises
    ------
    Refused
        `is-incumbent`; `gate-set-changed` if the cases are not those that were frozen; `truth-incomplete`
        or `case-off-grid` if one cannot be used; `gate-report-changed` if the report of a decision made
        before is not the one on record.
    InvalidRelease
        If there is no such release, or it cannot be loaded.
    ServingFailed
        If a server does not answer; what was measured until then is kept.
    StorageFailed
        If a score or the report cannot be kept.
    """
    trial = trial_of(number, services)
    incumbent, candidate, profile = trial.incumbent, trial.candidate, trial.profile
    if candidate.number == incumbent.number:
        raise Refused("is-incumbent", f"release {number} serves already; there is nothing to compare it with")
    tuning = made(number, services.records).tuning
    found = release_faults(
        incumbent, candidate, tuning.organs, recalibrated=tuning.recalibrated, retrained=tuning.retrained
    )
    faults = [fault for fault in found if fault.decision is Decision.REFUSE]
    if trial.gate_set is None:
        reasons = [*faults, _not_frozen(len(services.records.cases(Purpose.GATE)))]
        decided = decide_without_cases(incumbent, candidate, reasons, profile, trial.policy)
        unsent = UnsentResults(services.settings.unsent_store)
        silent_results = _silent(services.records, services.cases, unsent, progress)
        document = replace(_document(trial, decided, None), silent=silent_results)
        return _decided(trial, document, None, None, services.records, services.repository)
    reports = GateReports(services.releases.folder)
    known, views = reports.find(trial), Views()
    if known is None:
        frozen, cases = frozen_cases(services.records)
        if faults:
            decided = decide_without_cases(incumbent, candidate, faults, profile, trial.policy)
        else:
            decided, views = _asked(trial, cases, services, progress)
        ran = program(repository_root(), services.settings.image_digest)
        unsent = UnsentResults(services.settings.unsent_store)
        silent_results = _silent(services.records, services.cases, unsent, progress)
        document = replace(_document(trial, decided, frozen, ran), silent=silent_results)
        known = reports.keep(trial, document)
    elif known.document.decision in PASSED and not _has_golden(
        trial, services.records, services.settings.score_store
    ):
        progress("the scores are gone: measuring them again")
        serve(candidate, services, progress)
        measure(incumbent, candidate, frozen_cases(services.records)[1], profile, services, progress)
    if reports.page(trial) is None and _decision(trial, services.records) is None:
        progress("drawing the report")
        if known.document.organs:
            serve(candidate, services, progress)
        kept = {case.case_id: case for case in services.records.cases(Purpose.GATE)}
        page = page_of(
            known.document, trial, lambda case: services.cases.read(kept[case]), services.segmenter, views
        )
        reports.keep_page(trial, page)
    drawn = reports.page(trial)
    return _decided(trial, known.document, known.digest, drawn, services.records, services.repository)


def _asked(
    trial: Trial, cases: Sequence[Case], services: Services, progress: Progress
) -> tuple[GateReport, Views]:
    """Ask both releases about every case, and decide; return also what is to be seen of the worst."""
    incumbent, candidate = trial.incumbent, trial.candidate
    serve(candidate, services, progress)
    if services.segmenter.profile(candidate.number) != trial.profile:
        raise Refused("other-profile", "both releases must answer in one serving profile")
    found = measure(incumbent, candidate, cases, trial.profile, services, progress)
    origin = made(candidate.number, services.records)
    report = gate(
        incumbent,
        candidate,
        replace(
            origin.tuning,
            patients=learnt_patients(candidate, cases, services.records, services.releases, services.cases),
        ),
        evidence(incumbent, candidate, cases, found, origin.sites),
        trial.profile,
        trial.policy,
        served_sites(services.records),
        serving_cost(incumbent, candidate, cases, services.cases, services.releases, services.segmenter),
        looks(trial, services.records),
        trial.targets,
    )
    return report, found.views


def _silent(
    records: Records, cases: CaseStore, unsent: UnsentResults, progress: Progress
) -> SilentResults | None:
    """Return what the site's labels say of results made in silence; None while it speaks. No verdict."""
    return None if speaks(records) else compared(records, cases, unsent, progress)


def _not_frozen(cases: int) -> GateReason:
    detail = f"The gate set is not frozen; it has {cases} cases (`organloop cases freeze --purpose gate`)."
    return GateReason("gate-set-not-frozen", Decision.INSUFFICIENT_EVIDENCE, detail)


def _document(
    trial: Trial,
    report: GateReport,
    frozen: FrozenSet | None,
    program: Mapping[str, object] | None = None,
) -> GateDocument:
    cases = None if frozen is None else GateSet(frozen.version, frozen.digest, len(frozen.manifest))
    targets = trial.targets.digest_for(trial.candidate.contract)
    return GateDocument.of(report, (trial.candidate.number, trial.incumbent.number), cases, program, targets)


def _has_golden(trial: Trial, records: Records, folder: Path) -> bool:
    scores = score_store(records, folder)
    return has_golden(trial.candidate, trial.profile, scores, records)


def _decision(trial: Trial, log: Log) -> GateDecided | None:
    """Return the decision on a trial as it is on record; None before it was made."""
    found = log.last(GateDecided, trial=trial.key)
    return None if found is None else found.said


def _decided(
    trial: Trial,
    document: GateDocument,
    report: str | None,
    page: bytes | None,
    records: Records,
    repository: TritonRepository,
) -> GateDocument:
    """Put a decision on record, once, with the digests of report and page; it marks the candidate."""
    number, digest = trial.candidate.number, trial.candidate.digest
    event = GateDecided(
        release=number,
        against=trial.incumbent.number,
        decision=document.decision,
        gate_set=trial.gate_set,
        reasons=tuple(sorted({reason.code for reason in document.all_reasons})),
        trial=trial.key,
        report=report,
        page=None if page is None else sha256_hex(page),
    )
    records.record(event, who="gate_candidate", key=event.key(trial.key))
    if report is not None:
        require_on_record(trial, report, records)
    state = records.release_states().get(number, ReleaseState.CANDIDATE)
    if state is not ReleaseState.PROMOTED:
        state = STATE_OF.get(document.decision, ReleaseState.CANDIDATE)
        records.record_release(number, digest, state)
    if document.decision not in PASSED:
        take_out(trial.candidate, repository, records)
    return document


def require_on_record(trial: Trial, report: str, log: Log) -> None:
    """Demand that a report on disk is the one the gate wrote when it decided.

    Parameters
    ----------
    trial
        What it is about.
    report
        SHA-256 of the file.
    log
        Holds the decision.

    Raises
    ------
    Refused
        `gate-report-changed` if the records name another digest; `refused-by-gate` if they name none.
    """
    decided = _decision(trial, log)
    if decided is None:
        detail = f"no decision on release {trial.candidate.number} is on record"
        raise Refused("refused-by-gate", f"{detail}: `organloop gate {trial.candidate.number}`")
    if decided.report != report:
        raise Refused(
            "gate-report-changed",
            f"the gate report on release {trial.candidate.number} is not the one the gate wrote",
            {"on_record": decided.report, "on_disk": report},
        )


def organ_rows(report: GateDocument) -> list[dict[str, str]]:
    """Return one row per organ for a table: what was found, in DSC, and why the decision is what it is."""
    return [
        {
            "organ": organ.organ,
            "tuned": "tuned" if organ.tuned else "new" if organ.new else "untouched",
            "decision": organ.decision,
            "incumbent": _figure(organ.gate_set, "incumbent", ".3f"),
            "candidate": _figure(organ.gate_set, "candidate", ".3f")
            if organ.gate_set or not organ.new
            else _figure(organ.new, "mean", ".3f"),
            "difference": _figure(organ.gate_set, "mean", "+.3f"),
            "at least": _figure(organ.gate_set, "lower_bound", "+.3f"),
            "surface": _figure(organ.surface, "mean", "+.3f"),
            "a case may lose": _figure(organ.noise, "may_lose", ".3f"),
            "by site": ", ".join(f"{site} {found.mean:+.3f}" for site, found in organ.sites.items()),
            "reasons": " ".join(reason.detail for reason in organ.reasons),
        }
        for organ in report.organs
    ]


def _figure(found: MeanDifference | Noise | NewOrgan | None, name: str, form: str) -> str:
    value = None if found is None else getattr(found, name)
    return "—" if value is None else format(value, form)
