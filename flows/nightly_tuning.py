"""Every night: check the bounds on audited studies, tune on the day's corrections, gate what comes of it.

It never promotes: that is an act with a name and a reason. Steps repeat without harm, so a night that was
cut short is made up for by the next. The flow itself only decides and waits; the heavy part is a job of its
own, on a work pool of its own.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, cast

from prefect import flow, runtime, task
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from flows.audit_stream import check_bounds_task, publish_bounds_task
from flows.feature_keeping import forget_features
from flows.gate_candidate import gate_task, publish_decision_task
from flows.launching import PrefectLauncher, RunState
from flows.tuning_job import AUTO, LONGEST_SECONDS, publish_tuning_task, tune_task, tuning_settings
from flows.tuning_plan import known, plan
from models.errors import OrganloopError
from services.cases.training_runs import give_up_runs
from services.settings import Settings
from services.wiring import connect_in_process

TUNE = "tune-heads/organloop"
TRIES = 3
"""How often a job that was lost is started again; it goes on where it was."""

LOOK_SECONDS = 5.0


class TuningLost(OrganloopError):
    """The tuning job came to no end, as often as it was started."""


def tuned_on_pool(level: str, settings: Settings, look_seconds: float = LOOK_SECONDS) -> dict[str, Any]:
    """Let a worker of the tuning pool tune; a run that is lost is started again and goes on.

    Parameters
    ----------
    level
        As `tune_flow` takes it.
    settings
        Where the home is, which the worker shares.
    look_seconds
        Between two looks at the run.

    Returns
    -------
    dict
        The document of the `tune` verb.

    Raises
    ------
    TuningLost
        If the job came to nothing `TRIES` times, or did not end within `LONGEST_SECONDS`.
    """
    with closing(PrefectLauncher(LONGEST_SECONDS)) as launcher:
        return _tuned(level, settings, launcher, look_seconds)


def _tuned(level: str, settings: Settings, launcher: PrefectLauncher, look_seconds: float) -> dict[str, Any]:
    """Start the job, again where it is lost, and return what came of it; raises as `tuned_on_pool`."""
    services = connect_in_process(settings)
    ends = time.monotonic() + LONGEST_SECONDS
    for attempt in range(1, TRIES + 1):
        run = plan(services, None, tuning_settings(level, settings))
        document = known(services, run)
        if document is not None:
            return document
        started = run_deployment(
            TUNE,
            parameters={"level": level},
            timeout=0,
            idempotency_key=f"{run.key}:{runtime.flow_run.id}:{attempt}",
        )
        name = str(cast(FlowRun, started).id)  # nobody awaits here
        print(f"tuning {', '.join(run.evidence.organs)}: job {name}, attempt {attempt} of {TRIES}")
        while (state := launcher.state(name)) is RunState.GOING:
            if time.monotonic() > ends:
                raise TuningLost(f"job {name} did not end within {LONGEST_SECONDS / 3600:.0f} h")
            time.sleep(look_seconds)
        print(f"job {name} {'ended' if state is RunState.DONE else 'was lost'}")
        document = known(services, run)  # as it was decided: corrections that came meanwhile are tomorrow's
        if document is not None:
            return document
    document = known(services, plan(services, None, tuning_settings(level, settings)))
    if document is not None:
        return document
    raise TuningLost(f"the tuning job was started {TRIES} times and came to nothing; its log is at Prefect")


@task(name="decide what to learn")
def decide_task(level: str) -> dict[str, Any] | None:
    """Say which organs have enough evidence; the document of `tune` where nothing is to be computed."""
    settings = Settings()
    services = connect_in_process(settings)
    print(f"kept features of {forget_features(services)} studies are forgotten")
    run = plan(services, None, tuning_settings(level, settings))
    print(f"unfinished runs given up: {give_up_runs(settings.home, run.key)}")
    for organ, why in run.evidence.left_out.items():
        print(f"{organ} is left as it is: {why}")
    document = known(services, run)
    if not run.evidence.organs:
        print("nothing to learn: no organ has enough new corrections")
    elif document is not None:
        print(f"release {document['release']} has learnt all of this already")
    else:
        print(f"to be tuned: {', '.join(run.evidence.organs)}")
    return document


@task(name="tune on the pool")
def tune_on_pool_task(level: str) -> dict[str, Any]:
    """Start the tuning job and wait for it; the document of the `tune` verb."""
    return tuned_on_pool(level, Settings())


@flow(name="nightly-tuning", log_prints=True)
def nightly_tuning(level: str = AUTO, on_pool: bool = False) -> dict[str, Any]:
    """Check bounds, tune, and gate what was tuned; nothing to learn is no error."""
    bounds = check_bounds_task()
    publish_bounds_task(bounds)
    tuned = decide_task(level)
    if tuned is None:
        tuned = tune_on_pool_task(level) if on_pool else tune_task(None, level)
        if not on_pool:
            publish_tuning_task(tuned)
    if tuned["release"] is None:
        return {"bounds": bounds, "tuning": tuned, "gate": None}
    report = gate_task(tuned["release"])
    publish_decision_task(report)
    return {"bounds": bounds, "tuning": tuned, "gate": report}
