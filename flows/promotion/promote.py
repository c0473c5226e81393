"""Promote a release: load it beside the incumbent, let it answer the canary, flip one row.

Every step may be repeated. Killed between any two, the old incumbent serves or the new one does, as the
last event `incumbent-changed` says, and the same call again completes the rest. After the flip the golden
studies must be answered as the gate saw them, or the old release serves again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from flows.acts import Act, require_name, require_same_act
from flows.gate.gate_candidate import PASSED, require_on_record
from flows.gate.golden_studies import golden_cases, golden_faults
from flows.gate.scores import score_store
from flows.gate.trial import trial_of
from flows.progress import Progress, silent
from flows.promotion.evidence_pack import keep_pack
from flows.promotion.second_person import require_second_person
from flows.serving.serve import serve
from flows.steps import Step, at_once
from models.contract import ModelContract
from models.errors import OrganloopError, Refused, ServingTimedOut, ServingUnavailable, StorageFailed
from models.organs import name_of
from models.proof.canary import Faults, canary_faults, canary_volume
from services.records.chain import chain_faults
from services.records.entries.releases import ReleaseState
from services.records.events.event import Recorded
from services.records.events.serving import CanaryFailed, GoldenFailed, IncumbentChanged, ReleasePromoted
from services.records.port import Log, Records, Releases
from services.releases.gate_reports import GateReports
from services.releases.store import ReleaseStore
from services.wiring import Services

PROMOTION = "promotion"
"""Act of a change of the incumbent that golden studies follow."""

Canary = Callable[[ModelContract], NDArray[np.int16]]


@dataclass(frozen=True)
class Promoted:
    """The document of the `promote` verb.

    Parameters
    ----------
    release, replaced
        Which serves, and which served before; None for the first.
    approver, reason
        Whose act it is, and why.
    evidence
        SHA-256 of the evidence pack; None where the release came to serve otherwise.
    """

    release: int
    replaced: int | None
    approver: str
    reason: str
    evidence: str | None


def promote(
    number: int,
    services: Services,
    approver: str,
    reason: str,
    progress: Progress = silent,
    canary: Canary = canary_volume,
    step: Step = at_once,
    report: str | None = None,
) -> Promoted:
    """Make a release the incumbent, if the gate let it pass against the one that serves now.

    Parameters
    ----------
    number
        The release; promoted already, what is left of its promotion is done.
    services
        What to work with.
    approver, reason
        Whose act it is, and why.
    progress
        Told before each step.
    canary
        Makes the volume both releases answer first, on the contract's model grid.
    step
        Takes each step: its name, what is done, and whether an outage is a reason to try it again.
    report
        SHA-256 of the gate's report that the approver has seen; None where the act names none.

    Raises
    ------
    Refused
        `log-broken`, `declined`, `refused-by-gate`, `gate-report-changed`, `other-report`, `other-profile`,
        `refused-by-canary`, `refused-by-golden-study`, `incumbent-changed`, `no-name`,
        `own-corrections`; `is-incumbent` if it serves by another act than this one, whose promotion is
        completed all the same.
    InvalidRelease
        If there is no such release, or it cannot be loaded.
    ServingFailed
        If a server does not answer; the incumbent is still the old one.
    """
    require_name(approver, reason)
    records = services.records
    if records.incumbent() != number:
        if services.settings.own_corrections == "refused":
            release = services.releases.release(number)
            require_second_person(release, approver, records, services.releases)
        progress("asking for the gate's decision")
        incumbent = step("gate's decision", lambda: require_passed(number, services, report), False)
        release, before = services.releases.release(number), services.releases.release(incumbent)
        for key in (key for key in release.contract.organs if key not in before.contract.organs):
            progress(f"release {incumbent} has no {name_of(key).lower()}: it was compared with nothing")
        step("load", lambda: serve(release, services, progress), True)
        progress("asking both releases about the canary study")
        step("canary", lambda: require_canary(number, incumbent, services, canary), True)
        progress(f"making release {number} the incumbent")
        step(
            "flip",
            lambda: records.set_incumbent(number, approver=approver, reason=reason, replacing=incumbent),
            False,
        )
    # Not tried again: what could not be asked has been taken back.
    done = step("golden studies", lambda: complete(number, services, progress), False)
    require_own_promotion(number, records, approver, reason)
    return done


def require_own_promotion(number: int, log: Log, approver: str, reason: str) -> None:
    """Refuse a promotion of what serves by another act as `is-incumbent`: nothing lost without a word."""
    change = _last_change(number, log)
    served = f"release {number} serves"
    if not _is_promotion(change.said):
        served += f" by a {change.said.act}"
        approver = ""  # whose act that was is not asked: it was none of these
    act = Act(change.who, change.said.reason, change.at)
    require_same_act(act, approver, reason, "is-incumbent", served)


def complete(number: int, services: Services, progress: Progress = silent) -> Promoted:
    """Do what is left of a promotion after the flip: golden studies, evidence pack, record.

    Raises
    ------
    Refused
        `refused-by-golden-study`; the release it replaced serves again. `incumbent-changed` if it does
        not serve any more.
    """
    change = _last_change(number, services.records)
    if not _is_promotion(change.said):
        return told(change)  # it serves, and was not promoted to
    if services.records.incumbent() != number:
        raise Refused("incumbent-changed", f"release {number} was made the incumbent and serves no more")
    done = _promotion_of(change, services.records)
    if done is not None:
        return done
    progress("asking the golden studies")
    golden = require_golden(number, services)
    progress("recording the promotion")
    return record_promotion(
        number, golden, services.records, services.releases, services.settings.image_digest
    )


def unfinished(number: int, log: Log) -> datetime | None:
    """Return since when a release serves whose promotion is not complete; None where it is, or none is."""
    change = log.last(IncumbentChanged)
    if change is None or change.said.after != number or not _is_promotion(change.said):
        return None
    return change.at if _promotion_of(change, log) is None else None


def require_passed(number: int, services: Services, report: str | None = None) -> int:
    """Return the incumbent a release was weighed against and may replace.

    Parameters
    ----------
    number
        The release.
    services
        What to work with.
    report
        SHA-256 of the report that it must be let pass by; None: of whichever stands now.

    Raises
    ------
    Refused
        `log-broken` if the log is not as it was written: nothing that it says is believed then; `declined`
        if a person has decided against it; `refused-by-gate` if the gate decided against it, or not at
        all against the present incumbent on the present gate set in the present serving profile by the
        present policy and margins;
        `gate-report-changed` if its report is not the one on record, `other-report` if it is not the one
        that was named; `no-golden-study` if nothing it
        scored is kept to compare with once it serves.
    """
    _require_whole_log(services.records)
    if services.records.release_states().get(number) is ReleaseState.DECLINED:
        raise Refused("declined", f"a person has decided against release {number}; tune another")
    trial = trial_of(number, services)
    kept = GateReports(services.releases.folder).find(trial)
    if kept is None:
        detail = f"the gate has not decided on release {number} against release {trial.incumbent.number}"
        raise Refused("refused-by-gate", f"{detail}: `organloop gate {number}`")
    require_on_record(trial, kept.digest, services.records)
    if report not in (None, kept.digest):
        detail = f"the gate has decided on release {number} anew since this report; look at it again"
        raise Refused("other-report", detail, {"seen": report, "stands": kept.digest})
    decision = kept.document.decision
    if decision not in PASSED:
        codes = sorted({reason.code for reason in kept.document.all_reasons})
        detail = f"the gate's decision on release {number} is {decision}: {', '.join(codes)}"
        raise Refused("refused-by-gate", detail, {"decision": decision, "reasons": codes})
    scores = score_store(services.records, services.settings.score_store)
    golden_cases(trial.candidate, trial.profile, scores, services.records)
    return trial.incumbent.number


def _require_whole_log(log: Log) -> None:
    faults = chain_faults(log.lines())
    if faults:
        detail = f"{faults[0].what}: {faults[0].detail}"
        raise Refused(
            "log-broken",
            f"the log is not as it was written ({detail}); `organloop audit verify` names every fault, and "
            "until the records are restored from a backup nothing is promoted",
            {"faults": len(faults)},
        )


def require_canary(number: int, incumbent: int, services: Services, canary: Canary = canary_volume) -> None:
    """Let a loaded release answer the canary on every endpoint, beside the incumbent.

    Raises
    ------
    Refused
        `refused-by-canary` with the organs by fault; `other-profile` if an endpoint serves either release in
        another profile than the gate asked in.
    ServingFailed
        If either does not answer.
    """
    gated = services.segmenter.profile(incumbent)
    profiles = {endpoint.profile(one) for endpoint in services.endpoints for one in (incumbent, number)}
    if profiles != {gated}:
        detail = f"the gate asked in {gated}; the endpoints serve in {', '.join(sorted(profiles))}"
        raise Refused("other-profile", detail, {"gated": gated, "served": sorted(profiles)})
    before, after = services.releases.release(incumbent), services.releases.release(number)
    hu = canary(after.contract)
    for endpoint in services.endpoints:
        faults = canary_faults(before, after, endpoint.segment(hu, incumbent), endpoint.segment(hu, number))
        if faults:
            fail_canary(number, faults, services.records)


def require_golden(number: int, services: Services) -> dict[str, object]:
    """Let every endpoint answer the golden studies as the gate saw them; return which those were.

    Raises
    ------
    Refused
        `refused-by-golden-study` with the organs by case, or if they cannot be asked at all; the release it
        replaced serves again.
    ServingUnavailable, ServingTimedOut, StorageFailed
        If they could not be asked now. Nobody has looked, so the release it replaced serves again; that says
        nothing of this one, which may be promoted again.
    """
    try:
        shown, differing = golden_faults(services.releases.release(number), services)
    except OrganloopError as error:
        _take_back(number, {}, services.records)
        detail = f"release {number} could not be asked the golden studies ({error})"
        if isinstance(error, ServingUnavailable | ServingTimedOut | StorageFailed):
            back = services.records.incumbent()
            raise type(error)(f"{detail}; release {back} serves again: promote it again later") from error
        raise _golden_failed(detail, {}, services.records) from error
    if not differing:
        return {"cases": list(shown), "endpoints": len(services.endpoints)}
    _take_back(number, differing, services.records)
    cases = "; ".join(f"case {case[:12]}: {', '.join(organs)}" for case, organs in differing.items())
    detail = f"release {number} answers otherwise than the gate saw ({cases})"
    raise _golden_failed(detail, differing, services.records)


def _take_back(number: int, differing: Mapping[str, Sequence[str]], records: Records) -> None:
    """Make the release it replaced serve again; what nobody could check does not serve."""
    failed = {case: tuple(organs) for case, organs in differing.items()}
    records.record(GoldenFailed(release=number, differing=failed), who="promote_release")
    before = _last_change(number, records).said.before
    if before is None:
        raise ValueError(f"release {number} replaced none, so none can serve again")
    records.set_incumbent(
        before,
        approver="promote_release",
        reason="golden studies differ" if differing else "golden studies could not be asked",
        replacing=number,
        act="golden-failed",
    )


def _golden_failed(detail: str, differing: Mapping[str, list[str]], known: Releases) -> Refused:
    back = known.incumbent()
    return Refused("refused-by-golden-study", f"{detail}; release {back} serves again", dict(differing))


def record_promotion(
    number: int,
    golden: Mapping[str, object],
    records: Records,
    store: ReleaseStore,
    image: str | None,
) -> Promoted:
    """Mark the incumbent as promoted, keep its evidence pack and put the promotion on record, once."""
    release, change = store.release(number), _last_change(number, records)
    last = records.last(IncumbentChanged)
    if last is None or last.number != change.number:  # golden studies, or a person, took it back meanwhile
        raise Refused("incumbent-changed", f"release {number} was made the incumbent and serves no more")
    records.record_release(number, release.digest, ReleaseState.PROMOTED)
    document = replace(told(change), evidence=keep_pack(change, golden, records, store, image))
    event = ReleasePromoted(**asdict(document), digest=release.digest)
    records.record(event, who=change.who, key=event.key(change.number))
    return _promotion_of(change, records) or document


def _last_change(number: int, log: Log) -> Recorded[IncumbentChanged]:
    """Return the event by which a release came to serve last."""
    change = log.last(IncumbentChanged, after=number)
    if change is None:
        raise StorageFailed(f"how release {number} came to serve is not on record")
    return change


def _is_promotion(change: IncumbentChanged) -> bool:
    """Tell whether a change of the incumbent put a release in another's place, by the gate."""
    return change.before is not None and change.act == PROMOTION


def _promotion_of(change: Recorded[IncumbentChanged], log: Log) -> Promoted | None:
    """Return the document of a promotion on record; None if it is not complete."""
    done = log.last(ReleasePromoted, key=ReleasePromoted.key(change.number))
    if done is None:
        return None
    said = done.said
    return Promoted(said.release, said.replaced, said.approver, said.reason, said.evidence)


def told(change: Recorded[IncumbentChanged]) -> Promoted:
    """Return the document of a change of the incumbent."""
    return Promoted(change.said.after, change.said.before, change.who, change.said.reason, None)


def fail_canary(number: int, faults: Faults, log: Log) -> None:
    """Put a wrong answer to the canary or the probe on record, and refuse the release."""
    measured = {fault: list(organs) for fault, organs in faults.items()}
    failed = {fault: tuple(organs) for fault, organs in faults.items()}
    log.record(CanaryFailed(release=number, faults=failed), who="promote_release")
    named = "; ".join(f"{fault}: {', '.join(organs)}" for fault, organs in faults.items())
    raise Refused("refused-by-canary", f"release {number} answers the canary wrongly: {named}", measured)


def promotion_page(done: Promoted, store: ReleaseStore) -> str:
    """Return the dashboard's page of a promotion, Markdown; a new organ is named."""
    before = () if done.replaced is None else store.release(done.replaced).contract.organs
    organs = store.release(done.release).contract.organs
    new = [name_of(key) for key in organs if before and key not in before]
    return (
        f"# Release {done.release} serves\n\n"
        f"It replaced release {done.replaced}. {done.approver}: {done.reason}\n\n"
        + (f"New, and compared with nothing: {', '.join(new)}.\n\n" if new else "")
        + f"Evidence pack: `{done.evidence}`\n"
    )
