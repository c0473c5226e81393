"""The Prefect deployments: every flow can be started from the dashboard; some start by themselves.

Runs are processes of a worker that sees the home: no image is built or pulled. In a cluster, learning may be
jobs of their own instead, in a pool whose jobs ask for a GPU.
"""

from __future__ import annotations

import contextlib
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron

from deploy.runs.fork_configuration import POOL_TEMPLATE
from flows.calibration.flow import calibrate_flow
from flows.corrections.flow import ingest_correction
from flows.launching import QUEUE, URGENT_QUEUE
from flows.nightly.flow import nightly_tuning
from flows.segmentation.flow import segment_study
from flows.training.flow import train_flow
from flows.tuning.flow import tune_flow
from services.settings import Settings

WORK_POOL = "organloop"
NIGHTLY = "0 2 * * *"
"""When tuning starts: 02:00, when nobody waits for a study."""

ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""A second run beside the first would find the same; it is not queued."""

FORMER = ("watch-arrivals/organloop", "promote-release/organloop", "approve-release/organloop")
"""Deployments of earlier versions."""

NIGHT_QUEUE, LEARNING_QUEUE = "watch", "learning"
"""The night's bears the name of what was in it first: a worker of an earlier version asks for it."""
QUEUES = (NIGHT_QUEUE, URGENT_QUEUE, QUEUE, LEARNING_QUEUE)
"""Work queues of the pool, what goes first first; a worker takes from the first that has something."""


def register(
    settings: Settings,
    timezone: str = "UTC",
    *,
    learns: bool = True,
    job_template: dict[str, Any] | None = None,
    jobs_at_once: int = 1,
    at_once: int | None = None,
) -> tuple[str, ...]:
    """Register the work pools and every deployment at the Prefect server that Prefect's settings name.

    Registering again only brings them up to date.

    Parameters
    ----------
    settings
        Runs work in this home.
    timezone
        Of the schedule, an IANA name.
    learns
        Whether the night tunes. Where it does not, it still forgets what is old and checks bounds.
    job_template
        Base job template of the Kubernetes work pool that `settings.tuning_pool` names; None: a pool of that
        name is made elsewhere.
    jobs_at_once
        Jobs of that pool at a time, as many as there are GPUs for them.
    at_once
        Runs of all workers together at a time; None: as many as the workers do.

    Returns
    -------
    tuple of str
        ``flow/deployment`` names, as `run_deployment` takes them.
    """
    with get_client(sync_client=True) as client:
        pool = WorkPoolCreate(
            name=WORK_POOL, type="process", base_job_template=POOL_TEMPLATE, concurrency_limit=at_once
        )
        client.create_work_pool(pool, overwrite=True)
        _order_queues(client)
        _take_out_former(client)
        if job_template is not None:
            _offer_jobs(client, settings, job_template, jobs_at_once)
    deployments = _deployments(settings, timezone, learns)
    for deployment, pool_name in deployments:
        deployment.apply(work_pool_name=pool_name)  # not `prefect.deploy`, which prints to stdout
    return tuple(f"{one.flow_name}/{one.name}" for one, _ in deployments)


def _take_out_former(client: SyncPrefectClient) -> None:
    """Take out the deployments of earlier versions, whose schedules would go on."""
    for name in FORMER:
        with contextlib.suppress(ObjectNotFound):
            client.delete_deployment(client.read_deployment_by_name(name).id)


def _offer_jobs(
    client: SyncPrefectClient, settings: Settings, template: dict[str, Any], at_once: int
) -> None:
    """Make the pool whose runs are jobs of a cluster."""
    pool, _ = _learning(settings)
    made = WorkPoolCreate(name=pool, type="kubernetes", base_job_template=template, concurrency_limit=at_once)
    client.create_work_pool(made, overwrite=True)


def _learning(settings: Settings) -> tuple[str, str]:
    """Return the work pool and the queue that tuning runs in."""
    if settings.tuning_pool is None:
        return WORK_POOL, LEARNING_QUEUE
    return settings.tuning_pool, "default"


def _order_queues(client: SyncPrefectClient) -> None:
    """Make the work queues that are missing, and give each its place."""
    there = {queue.name for queue in client.read_work_queues(work_pool_name=WORK_POOL)}
    for name in QUEUES:
        if name not in there:
            client.create_work_queue(name, work_pool_name=WORK_POOL)
    for place, name in enumerate(QUEUES, start=1):
        queue = client.read_work_queue_by_name(name, work_pool_name=WORK_POOL)
        client.update_work_queue(queue.id, priority=place)


def _deployments(settings: Settings, timezone: str, learns: bool) -> list[tuple[RunnerDeployment, str]]:
    """Return every deployment and the work pool it belongs to."""
    learning_pool, learning_queue = _learning(settings)
    common: dict[str, Any] = {"name": "organloop", "entrypoint_type": EntrypointType.MODULE_PATH}
    nightly = RunnerDeployment.from_flow(
        nightly_tuning,
        **common,
        schedule=Cron(NIGHTLY, timezone=timezone),
        concurrency_limit=ONE_AT_A_TIME,
        work_queue_name=NIGHT_QUEUE,  # it waits for its job, and must not take the place the job needs
        paused=False,  # an earlier version paused it where it did not learn, and nothing was forgotten there
        parameters={"on_pool": True, "learns": learns},
    )
    tuning = RunnerDeployment.from_flow(
        tune_flow, **common, concurrency_limit=1, work_queue_name=learning_queue
    )
    training = RunnerDeployment.from_flow(  # no schedule: a person starts it
        train_flow, **common, concurrency_limit=1, work_queue_name=learning_queue
    )
    calibrating = RunnerDeployment.from_flow(
        calibrate_flow,
        **common,
        concurrency_limit=ONE_AT_A_TIME,
        work_queue_name=learning_queue,
    )
    return [
        (RunnerDeployment.from_flow(segment_study, **common), WORK_POOL),
        (RunnerDeployment.from_flow(ingest_correction, **common), WORK_POOL),
        (nightly, WORK_POOL),
        (tuning, learning_pool),
        (training, learning_pool),
        (calibrating, learning_pool),
    ]
