"""Prefect: does the server answer, are the deployments registered, does a worker poll every pool."""

from __future__ import annotations

import http
import time
from collections.abc import Iterator

from deploy.doctor.finding import Finding, State
from deploy.stack.prefect import Access
from models.errors import OrganloopError

REGISTER = "`organloop up` registers them on one machine, `organloop register` in a cluster."


class FlowsFailed(OrganloopError):
    """The Prefect server answered with an error, or not at all."""


def flows(access: Access | None) -> Iterator[Finding]:
    """Ask the Prefect server.

    Parameters
    ----------
    access
        Where it is, and what it asks for; None where none is known.

    Raises
    ------
    FlowsFailed
        If it does not answer.
    """
    if access is None:
        remedy = "`organloop up` starts one, or set PREFECT_API_URL."
        yield Finding("flows", State.BAD, "no Prefect server is known: nothing runs by itself", remedy)
        return
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with (
            access.used(),
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True) as client,
        ):
            started = time.perf_counter()
            failure = client.api_healthcheck()
            if failure is not None:
                raise FlowsFailed(
                    f"the Prefect server at {access.url} does not answer ({type(failure).__name__})"
                )
            took_ms = 1000 * (time.perf_counter() - started)
            measured = {"round_trip_ms": round(took_ms, 1)}
            yield Finding(
                "flows, server", State.GOOD, f"{access.url} answers in {took_ms:.0f} ms", measured=measured
            )
            yield registered(len(client.read_deployments()))
            for pool in client.read_work_pools():
                online = [w for w in client.read_workers_for_work_pool(pool.name) if w.status == "ONLINE"]
                yield polled(pool.name, len(online), paused=bool(pool.is_paused))
    except (httpx.HTTPError, PrefectException) as error:
        answer = getattr(error, "response", None)
        if answer is not None and answer.status_code == http.HTTPStatus.UNAUTHORIZED:
            raise FlowsFailed(
                f"the Prefect server at {access.url} refused the password: set PREFECT_API_AUTH_STRING to "
                "its user:password"
            ) from error
        raise FlowsFailed(f"the Prefect server at {access.url} failed ({type(error).__name__})") from error


def registered(deployments: int) -> Finding:
    """Judge whether there is anything that could be run."""
    name, measured = "flows, deployments", {"deployments": deployments}
    if not deployments:
        return Finding(name, State.BAD, "none is registered: nothing can be run", REGISTER, measured)
    return Finding(name, State.GOOD, f"{deployments} are registered", measured=measured)


def polled(pool: str, workers: int, *, paused: bool) -> Finding:
    """Judge a work pool by the workers that poll it."""
    name = f"flows, work pool {pool}"
    measured = {"workers": workers}
    if paused:
        return Finding(
            name, State.BAD, "paused: its runs wait", "Resume it in Prefect's dashboard.", measured
        )
    if not workers:
        remedy = "`organloop up` starts a worker on one machine; in a cluster look at the worker's log."
        return Finding(name, State.BAD, "no worker polls it", remedy, measured)
    return Finding(
        name,
        State.GOOD,
        f"{workers} worker{'s' * (workers > 1)} poll{'s' * (workers == 1)} it",
        measured=measured,
    )
