"""The Prefect deployments: every flow can be started from the dashboard; some start by themselves.

Runs are processes of a worker on the machine that holds the home: no image is built or pulled.
"""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.approve_release import approve_release
from flows.ingest_correction import ingest_correction
from flows.launching import QUEUE, URGENT_QUEUE
from flows.nightly_tuning import nightly_tuning
from flows.promote_release import promote_release
from flows.segment_study import segment_study
from flows.watch_arrivals import watch_arrivals
from services.settings import Settings

WORK_POOL = "organloop"
NIGHTLY = "0 2 * * *"
"""When tuning starts: 02:00, when nobody waits for a study."""

EVERY_MINUTE = "* * * * *"
"""When the archive is watched. A run costs about 5 s of one core, most of it to start a process, so that
minutes are about as often as it is worth; a CT is segmented in less than that, and read much later."""

ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""A second run beside the first would find the same; it is not queued."""

WATCH_QUEUE, LEARNING_QUEUE = "watch", "learning"
QUEUES = (WATCH_QUEUE, URGENT_QUEUE, QUEUE, LEARNING_QUEUE)
"""Work queues of the pool, what goes first first; a worker takes from the first that has something."""


def register(api_url: str, settings: Settings, timezone: str = "UTC") -> tuple[str, ...]:
    """Register the work pool and every deployment; registering again only brings them up to date.

    Parameters
    ----------
    api_url
        The Prefect server (PREFECT_API_URL).
    settings
        Runs work in this home.
    timezone
        Of the schedule, an IANA name.

    Returns
    -------
    tuple of str
        ``flow/deployment`` names, as `run_deployment` takes them.
    """
    with temporary_settings({PREFECT_API_URL: api_url}):
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"), overwrite=True)
            _order_queues(client)
        deployments = _deployments(settings, timezone)
        for deployment in deployments:  # not `prefect.deploy`, which prints where the verbs' JSON goes
            deployment.apply(work_pool_name=WORK_POOL)
    return tuple(f"{one.flow_name}/{one.name}" for one in deployments)


def _order_queues(client: SyncPrefectClient) -> None:
    """Make the work queues that are missing, and give each its place."""
    there = {queue.name for queue in client.read_work_queues(work_pool_name=WORK_POOL)}
    for name in QUEUES:
        if name not in there:
            client.create_work_queue(name, work_pool_name=WORK_POOL)
    for place, name in enumerate(QUEUES, start=1):
        queue = client.read_work_queue_by_name(name, work_pool_name=WORK_POOL)
        client.update_work_queue(queue.id, priority=place)


def _deployments(settings: Settings, timezone: str) -> list[RunnerDeployment]:
    common: dict[str, Any] = {
        "name": "organloop",
        "entrypoint_type": EntrypointType.MODULE_PATH,
        # Only the home: what else is set, the worker has, and a password must not show in the dashboard.
        "job_variables": {"env": {"ORGANLOOP_HOME": str(settings.home.resolve())}},
    }
    nightly = RunnerDeployment.from_flow(
        nightly_tuning,
        **common,
        schedule=Cron(NIGHTLY, timezone=timezone),
        concurrency_limit=ONE_AT_A_TIME,
        work_queue_name=LEARNING_QUEUE,
    )
    watching = RunnerDeployment.from_flow(
        watch_arrivals,
        **common,
        schedule=Cron(EVERY_MINUTE, timezone=timezone),
        concurrency_limit=ONE_AT_A_TIME,
        work_queue_name=WATCH_QUEUE,
    )
    return [
        watching,
        RunnerDeployment.from_flow(segment_study, **common),
        RunnerDeployment.from_flow(ingest_correction, **common),
        nightly,
        RunnerDeployment.from_flow(promote_release, **common, concurrency_limit=1),
        RunnerDeployment.from_flow(approve_release, **common),
    ]
