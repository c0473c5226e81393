"""Nights at Prefect: which one runs, how the last ended, when the next begins; to start and to stop one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.acts import require_name
from flows.launching import NIGHT, TUNE
from models.errors import OrganloopError, Refused, StorageFailed
from models.people import Person
from services.addresses import PrefectAddress, prefect_address
from services.records.events.operations import NightStarted, NightStopped
from services.records.port import Records
from services.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.client.schemas.responses import DeploymentResponse

ANSWER_SECONDS = 10.0
"""Longest wait for one answer of Prefect."""

TRIES = 3
"""A Prefect whose database is busy says so, and is asked again so often."""

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
GOING = ("RUNNING", "PENDING", "CANCELLING", "PAUSED")
PLANNED = "Scheduled"
"""Name of the state of a run whose time has not come; of one that waits for a worker it is another."""

MOST = 50
"""Runs that are asked for: a schedule plans a handful."""


class PrefectSilent(OrganloopError):
    """Prefect does not answer, or no night is registered there."""


@dataclass(frozen=True)
class NightRun:
    """A run of a night or of its tuning job.

    Parameters
    ----------
    run
        Its identifier at Prefect.
    state
        In lower case: ``running``, ``late``.
    began, ended
        None where it has not.
    steps
        What it has done and does: the task's name, and its state in lower case.
    """

    run: str
    state: str
    began: datetime | None
    ended: datetime | None
    steps: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Nights:
    """What Prefect says of nights.

    Parameters
    ----------
    going
        The night that runs or waits for a worker; None where none does.
    job
        The tuning job that a night has begun; it may outlive the night.
    last
        The one that ended last.
    begins
        When the next begins by itself; None where none is planned.
    paused
        Whether none begins by itself.
    learns
        Whether they tune; at a site that learns elsewhere they only forget what is old, and check bounds.
    """

    going: NightRun | None
    job: NightRun | None
    last: NightRun | None
    begins: datetime | None
    paused: bool
    learns: bool


class PrefectNights:
    """The nights of a site.

    Parameters
    ----------
    settings
        Of the site.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def look(self) -> Nights:
        """Return what Prefect says.

        Raises
        ------
        PrefectSilent
            If it does not answer, or no night is registered.
        """
        with self._asked() as client:
            deployment = client.read_deployment_by_name(NIGHT)
            waiting = _runs(client, deployment, ("SCHEDULED",))
            going, job = _going(client, deployment)
            ended = _runs(client, deployment, ENDED)
            planned = [one.expected_start_time for one in waiting if _is_planned(one)]
            active = any(one.active for one in deployment.schedules) and not deployment.paused
            return Nights(
                going=None if going is None else _told(going, client),
                job=None if job is None else _told(job, client),
                last=_told(max(ended, key=_ended), client) if ended else None,
                begins=min((one for one in planned if one is not None), default=None) if active else None,
                paused=not active,
                learns=deployment.parameters.get("learns") is not False,
            )

    def start(self, who: Person, records: Records) -> str:
        """Have a night begin now, and put on record by whom; return the run's identifier.

        Two who ask at once start one: what ended last, at Prefect, is the key of the next.

        Raises
        ------
        Refused
            `night-runs` if one runs already, or waits for a worker.
        PrefectSilent
            As `look`.
        StorageFailed
            If it cannot be put on record; then it is taken back.
        """
        from prefect.states import Scheduled

        records.head()  # who cannot be put on record starts nothing
        with self._asked() as client:
            deployment = client.read_deployment_by_name(NIGHT)
            going, job = _going(client, deployment)
            runs = going or job
            if runs is not None:
                raise Refused("night-runs", f"a night {_state(runs)} already: wait for its end, or stop it")
            ended = _runs(client, deployment, ENDED)
            before = str(max(ended, key=_ended).id) if ended else "none"
            run = client.create_flow_run_from_deployment(
                deployment.id, state=Scheduled(), idempotency_key=f"by hand behind {before}"
            )
            said = NightStarted(run=str(run.id))
            try:
                records.signed(who).record(said, who=who.name, key=NightStarted.key(run.id))
            except StorageFailed:
                _cancel(run, client, "it could not be put on record who started it")
                raise
        return str(run.id)

    def stop(self, run: str, reason: str, who: Person, records: Records) -> None:
        """End the night that runs and the job it has begun, and put on record by whom and why.

        Parameters
        ----------
        run
            The run that was seen: another that began meanwhile is not stopped.
        reason
            Why.
        who
            Whose act it is.
        records
            Where it is put on record.

        Raises
        ------
        Refused
            `no-name` without a reason; `no-night` if that run does not run; `stops-already` if somebody has
            stopped it.
        PrefectSilent
            As `look`. It may be on record by then: to stop it again ends it, and puts nothing more on record.
        StorageFailed
            If it cannot be put on record; then it goes on.
        """
        require_name(who.name, reason, "to stop a night")
        key = NightStopped.key(run)
        with self._asked() as client:
            night = client.read_deployment_by_name(NIGHT)
            found = [one for one in _going(client, night) if one is not None]
            before = records.last(NightStopped, key=key)
            if before is not None and all(_is_stopping(one) for one in found):
                said = f"it is being stopped already, by {before.who} ({before.said.reason})"
                raise Refused("stops-already", said)
            seen = next((one for one in found if str(one.id) == run), None)
            if seen is None:
                raise Refused("no-night", "that night does not run any more: there is nothing to stop")
            if before is None:  # before its job ends: the night asks the log whether it may start another
                event = NightStopped(run=run, was=_state(seen), reason=reason)
                records.signed(who).record(event, who=who.name, key=key)
            _stop_all(found, client, f"stopped by {who.name}: {reason}")
            begun = [one for one in _going(client, night) if one is not None]  # a job it began meanwhile
            _stop_all(begun, client, f"stopped by {who.name}: {reason}")

    @contextmanager
    def _asked(self) -> Iterator[SyncPrefectClient]:
        address = prefect_address(self._settings)
        if address is None:
            raise PrefectSilent("Prefect is not known here: start it with `organloop up`")
        with asked(address) as client:
            yield client


@contextmanager
def asked(address: PrefectAddress) -> Iterator[SyncPrefectClient]:
    """Give a client of Prefect; what goes wrong with it is raised as `PrefectSilent`."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_REQUEST_TIMEOUT,
        PREFECT_API_URL,
        PREFECT_CLIENT_MAX_RETRIES,
        temporary_settings,
    )

    how: dict[Any, Any] = {PREFECT_API_URL: address.url, PREFECT_API_AUTH_STRING: address.auth}
    how |= {PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS, PREFECT_CLIENT_MAX_RETRIES: TRIES}
    try:
        with temporary_settings(how), get_client(sync_client=True) as client:
            yield client
    except ObjectNotFound as error:
        detail = "Prefect answers, and no night is registered there: `organloop up`, or `organloop register`"
        raise PrefectSilent(detail) from error
    except httpx.HTTPError as error:
        raise PrefectSilent(f"Prefect does not answer ({type(error).__name__})") from error


def _going(
    client: SyncPrefectClient, deployment: DeploymentResponse
) -> tuple[FlowRun | None, FlowRun | None]:
    """Return the night that runs or waits for a worker, and the job that some night has begun."""
    runs = [
        *_runs(client, deployment, GOING),
        *(one for one in _runs(client, deployment, ("SCHEDULED",)) if not _is_planned(one)),
    ]
    going = max(runs, key=_time, default=None)
    tuning = client.read_deployment_by_name(TUNE)
    jobs = [one for one in _runs(client, tuning, (*GOING, "SCHEDULED")) if ":" in (one.idempotency_key or "")]
    return going, max(jobs, key=_time, default=None)


def _runs(
    client: SyncPrefectClient, deployment: DeploymentResponse, states: tuple[str, ...]
) -> list[FlowRun]:
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(
        deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment.id]}}),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": list(states)}}}),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=MOST,
    )


def _is_planned(run: FlowRun) -> bool:
    """Tell whether a run's time has not come."""
    return bool(run.auto_scheduled) and run.state is not None and run.state.name == PLANNED


def _time(run: FlowRun) -> Any:
    return run.expected_start_time


def _ended(run: FlowRun) -> tuple[bool, Any]:
    """Order by the end: a planned run that somebody has cancelled has ended, whenever it was to begin."""
    return run.end_time is not None, run.end_time or run.expected_start_time


def _state(run: FlowRun) -> str:
    return _named(run.state)


def _named(state: State[Any] | None) -> str:
    return "unknown" if state is None or state.name is None else state.name.lower()


def _told(run: FlowRun, client: SyncPrefectClient) -> NightRun:
    from prefect.client.schemas.filters import FlowRunFilter

    this = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
    tasks = sorted(client.read_task_runs(flow_run_filter=this), key=lambda one: str(one.start_time))
    steps = tuple((one.name.rsplit("-", 1)[0], _named(one.state)) for one in tasks)
    return NightRun(str(run.id), _state(run), run.start_time, run.end_time, steps)


def _is_stopping(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_cancelling()


def _stop_all(runs: list[FlowRun], client: SyncPrefectClient, why: str) -> None:
    for one in runs:
        if not _is_stopping(one):
            _cancel(one, client, why)


def _cancel(run: FlowRun, client: SyncPrefectClient, why: str) -> None:
    """Have a run end; one that nobody has taken ends at once."""
    from prefect.states import Cancelling

    client.set_flow_run_state(run.id, Cancelling(message=why))
