"""Which release serves, and bringing another in beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import TaskRun
from prefect.states import State

from models.errors import InvalidRelease, ServingRejected, ServingTimedOut, ServingUnavailable
from models.release import Release
from services.inference.port import Endpoint
from services.wiring import Services

Progress = Callable[[str], None]


def silent(message: str) -> None:
    """Tell nobody."""


def incumbent(services: Services) -> int:
    """Return the number of the release that serves.

    Raises
    ------
    InvalidRelease
        If none has been made the incumbent yet.
    """
    number = services.records.incumbent()
    if number is None:
        raise InvalidRelease("no release is the incumbent yet: `organloop up` takes in the first one")
    return number


def current(services: Services) -> Release:
    """Return the release that serves; raises as `incumbent`."""
    return services.releases.release(incumbent(services))


def serve(release: Release, services: Services, progress: Progress = silent) -> None:
    """Export what is not exported, write the version folder and load it everywhere; repeatable.

    A release that cannot be loaded is taken out of the repository again, so that it is in the way of
    no later load; what serves is never touched.

    Raises
    ------
    InvalidRelease
        If the release is damaged, its exports do not agree with torch, or it cannot be loaded.
    ServingUnavailable, ServingTimedOut
        If an endpoint does not answer.
    StorageFailed
        If the disk is full or not writable.
    """
    store = services.releases
    if not all(store.has_export(digest) for digest in (release.trunk, *release.heads.values())):
        progress(f"exporting release {release.number} to ONNX and proving it against torch")
        from services.releases.exporter import export_release  # torch is loaded only when needed

        export_release(release, store, threads=services.settings.threads)
    progress(f"writing version {release.number}")
    services.repository.write_version(release, store)
    for endpoint in services.endpoints:
        if not endpoint.ready(release.number):
            progress(f"loading version {release.number}")
            _load(release, endpoint, services)


def _load(release: Release, endpoint: Endpoint, services: Services) -> None:
    try:
        endpoint.load()
    except ServingRejected as error:
        if endpoint.ready(release.number):
            return  # it is another version that cannot be loaded
        if release.number != services.records.incumbent():
            services.repository.remove_version(release.number)
        raise InvalidRelease(f"release {release.number} cannot be loaded: {error}") from error
    if not endpoint.ready(release.number):
        raise ServingUnavailable(f"release {release.number} was loaded and is not ready")


def worth_trying_again(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Only a server that is away comes back; a refusal stays a refusal."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, ServingUnavailable | ServingTimedOut)
