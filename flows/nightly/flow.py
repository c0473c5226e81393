"""Every night: forget what is old, check the bounds on audited studies, tune on the day's corrections, gate.

It never promotes: that is an act with a name and a reason. Steps repeat without harm, so a night that was
cut short is made up for by the next. What is old goes first: nothing that fails behind it keeps it longer.
The flow itself only decides and waits; the heavy part is a job of its own, on a work pool of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from prefect import flow, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelling

from flows.calibration.random_audit import Bounds, check_bounds, note_bounds
from flows.launching import TUNE
from flows.nightly.forget import Forgotten, forget_what_is_old
from flows.promotion.flow import gate_task, publish_decision_task
from flows.tuning.flow import LONGEST_SECONDS, publish_tuning_task, tune_task
from flows.tuning.plan import AUTO, known, plan, tuning_settings
from models.documents import to_json
from models.errors import OrganloopError
from models.gate.document import GateDocument
from models.tuning.document import TuningDocument
from services.cases.training_runs import give_up_runs
from services.records.events.operations import NightEnded, NightStopped
from services.records.port import Log
from services.settings import Settings
from services.wiring import connect_in_process

TRIES = 3
"""How often a job that was lost is started again; it goes on where it was."""

LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Night:
    """What came of a night; no tuning where the site does not learn, no gate where nothing was learnt."""

    forgotten: Forgotten
    bounds: Bounds
    tuning: TuningDocument | None
    gate: GateDocument | None


class TuningLost(OrganloopError):
    """The tuning job came to no end, as often as it was started."""


def tuned_on_pool(level: str, settings: Settings, look_seconds: float = LOOK_SECONDS) -> TuningDocument:
    """Let a worker of the tuning pool tune; a run that is lost is started again and goes on.

    Parameters
    ----------
    level
        As `tune_flow` takes it.
    settings
        Where the home is, which the worker shares.
    look_seconds
        Between two looks at the run.

    Raises
    ------
    TuningLost
        If the job came to nothing `TRIES` times or did not end within `LONGEST_SECONDS`, or if the night was
        stopped.
    """
    services = connect_in_process(settings)
    ends = time.monotonic() + LONGEST_SECONDS
    for attempt in range(1, TRIES + 1):
        run = plan(services, None, tuning_settings(level, settings))
        document = known(run, services.records, services.releases)
        if document is not None:
            return document
        _require_not_stopped(services.records)
        started = run_deployment(
            TUNE,
            parameters={"level": level},
            timeout=0,
            idempotency_key=f"{run.key}:{runtime.flow_run.id}:{attempt}",
        )
        job = cast(FlowRun, started).id  # nobody awaits here
        try:
            _require_not_stopped(services.records)  # somebody may have, and saw no job to end
        except TuningLost:
            _end(job)
            raise
        print(f"tuning {', '.join(run.evidence.organs)}: job {job}, attempt {attempt} of {TRIES}")
        print(f"job {job} {'ended' if _completed(job, ends, look_seconds) else 'was lost'}")
        document = known(
            run, services.records, services.releases
        )  # as it was decided: corrections that came meanwhile are tomorrow's
        if document is not None:
            return document
    run = plan(services, None, tuning_settings(level, settings))
    document = known(run, services.records, services.releases)
    if document is not None:
        return document
    raise TuningLost(f"the tuning job was started {TRIES} times and came to nothing; its log is at Prefect")


def _require_not_stopped(log: Log) -> None:
    """Start no further job of a night that somebody has stopped: its end is no loss to be made up for."""
    stopped = log.last(NightStopped, key=NightStopped.key(str(runtime.flow_run.id)))
    if stopped is not None:
        raise TuningLost(f"{stopped.who} stopped this night ({stopped.said.reason})")


def _end(job: UUID) -> None:
    """Have a job end, as who stopped its night wanted."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(job, Cancelling(message="its night was stopped"))


def _completed(job: UUID, ends: float, look_seconds: float) -> bool:
    """Wait for the end of a job, and tell whether it completed; one that was deleted did not."""
    with get_client(sync_client=True) as client:
        while True:
            try:
                state = client.read_flow_run(job).state
            except ObjectNotFound:
                return False
            if state is not None and state.is_final():
                return state.is_completed()
            if time.monotonic() > ends:
                raise TuningLost(f"job {job} did not end within {LONGEST_SECONDS / 3600:.0f} h")
            time.sleep(look_seconds)


@task(name="forget what is old")
def forget_task() -> Forgotten:
    """Delete what the home holds of patients for a time only, and whose time is over."""
    gone = forget_what_is_old(Settings())
    print(f"kept features of {gone.features} studies are forgotten")
    print(f"{gone.unsent} results that were made in silence are forgotten")
    print(f"pictures of {gone.pictures} results are forgotten")
    return gone


@task(name="check bounds")
def check_bounds_task() -> Bounds:
    """Compare bounds with what readers made of audited studies, and note it; the `bounds` verb's document."""
    services = connect_in_process(Settings())
    found = check_bounds(services.records, services.releases)
    note_bounds(found, services.records)
    return found


@task(name="publish bounds")
def publish_bounds_task(document: Bounds) -> None:
    """Show how often bounds held, with intervals; an alert where one is broken."""
    about = f"Release {document.release}: {document.drawn} studies drawn, {document.reviewed} reviewed"
    rows = [{"organ": organ, **to_json(row)} for organ, row in document.organs.items()]
    create_table_artifact(key="bounds", table=rows, description=about)
    if document.alerts:
        organs = ", ".join(document.alerts)
        get_run_logger().error("bounds of DSC hold less often than promised: %s", organs)
        create_markdown_artifact(
            key="bound-alert",
            markdown=f"**Bounds of DSC hold less often than promised: {organs}.**\n\n{about}.\n\n"
            "Calibrate again on new cases (`organloop calibrate`), or roll back.",
        )


@task(name="decide what to learn")
def decide_task(level: str) -> TuningDocument | None:
    """Say which organs have enough evidence; the document of `tune` where nothing is to be computed."""
    settings = Settings()
    services = connect_in_process(settings)
    run = plan(services, None, tuning_settings(level, settings))
    print(f"unfinished runs given up: {give_up_runs(settings.home, run.key)}")
    for organ, why in run.evidence.left_out.items():
        print(f"{organ} is left as it is: {why}")
    document = known(run, services.records, services.releases)
    if not run.evidence.organs:
        print("nothing to learn: no organ has enough new corrections")
    elif document is not None:
        print(f"release {document.release} has learnt all of this already")
    else:
        print(f"to be tuned: {', '.join(run.evidence.organs)}")
    return document


@task(name="tune on the pool")
def tune_on_pool_task(level: str) -> TuningDocument:
    """Start the tuning job and wait for it; the document of the `tune` verb."""
    return tuned_on_pool(level, Settings())


@task(name="note the end")
def note_end_task(release: int | None) -> None:
    """Put on record that the night came to its end: where nights stay out, people are told."""
    connect_in_process(Settings()).records.record(NightEnded(release=release), who="nightly_tuning")


@flow(name="nightly-tuning", log_prints=True)
def nightly_tuning(level: str = AUTO, on_pool: bool = False, learns: bool = True) -> Night:
    """Forget what is old, check bounds, tune, and gate what was tuned; nothing to learn is no error."""
    night = _night(level, on_pool=on_pool, learns=learns)
    note_end_task(None if night.tuning is None else night.tuning.release)
    return night


def _night(level: str, *, on_pool: bool, learns: bool) -> Night:
    forgotten = forget_task()
    bounds = check_bounds_task()
    publish_bounds_task(bounds)
    if not learns:
        return Night(forgotten, bounds, None, None)
    tuned = decide_task(level)
    if tuned is None:
        tuned = tune_on_pool_task(level) if on_pool else tune_task(None, level)
        if not on_pool:
            publish_tuning_task(tuned)
    if tuned.release is None:
        return Night(forgotten, bounds, tuned, None)
    report = gate_task(tuned.release)
    publish_decision_task(report)
    return Night(forgotten, bounds, tuned, report)
