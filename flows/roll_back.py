"""Go back to an earlier incumbent, or decline a candidate that waits: two acts that need no gate."""

from __future__ import annotations

from typing import Any

from flows.promote_release import INCUMBENT_CHANGED, fail_canary, require_name, told
from flows.serving import Progress, current, serve, silent
from models.canary import answer_faults, probe_volume
from models.errors import Refused, ServingUnavailable
from models.release import Release
from services.records.port import ReleaseState
from services.wiring import Services


def rollback(
    number: int | None, services: Services, approver: str, reason: str, progress: Progress = silent
) -> dict[str, Any]:
    """Go back to an earlier incumbent, which is loaded still: no gate, one probe, one row.

    Parameters
    ----------
    number
        An earlier incumbent; None for the one the incumbent has replaced.
    services
        What to work with.
    approver, reason
        Whose act it is, and why.
    progress
        Told before each step.

    Returns
    -------
    dict
        The document of the `rollback` verb: ``release, replaced, approver, reason``.

    Raises
    ------
    Refused
        `no-earlier-incumbent` if there is none, or the release named was never one; `refused-by-canary`
        if it does not answer sanely.
    InvalidRelease, ServingFailed
        If it cannot be loaded or does not answer; the incumbent stays.
    """
    require_name(approver, reason)
    incumbent = current(services).number
    earlier = earlier_incumbents(services)
    if number is None and earlier:
        number = earlier[-1]
    if number is None or number not in (*earlier, incumbent):
        detail = f"release {incumbent} serves; earlier incumbents are {list(earlier) or 'none'}"
        raise Refused("no-earlier-incumbent", detail)
    if number != incumbent:
        release = services.releases.release(number)
        progress(f"asking release {number} whether it still answers")
        if not all(endpoint.ready(number) for endpoint in services.endpoints):
            serve(release, services, progress)
        _probe(release, services)
        progress(f"making release {number} the incumbent again")
        services.records.set_incumbent(
            number, approver=approver, reason=reason, replacing=incumbent, act="rollback"
        )
    document = told(services.records.events(INCUMBENT_CHANGED)[-1])
    return {name: value for name, value in document.items() if name != "evidence"}


def earlier_incumbents(services: Services) -> tuple[int, ...]:
    """Return the releases that led to the incumbent, in order of promotion.

    One that was rolled back is not among them: a rollback told twice goes back twice, never forth.
    """
    line: list[int] = []
    for event in services.records.events(INCUMBENT_CHANGED):
        release = event.payload["to"]
        line = line[: line.index(release)] if release in line else line
        line.append(release)
    return tuple(line[:-1])


def _probe(release: Release, services: Services) -> None:
    """Triton calls a version ready whose process was killed; only an answer proves one."""
    hu = probe_volume(release.contract)
    profiles = {services.segmenter.profile(release.number)}
    for endpoint in services.endpoints:
        profiles.add(endpoint.profile(release.number))
        faults = answer_faults(release, endpoint.segment(hu, release.number), hu.shape)
        if faults:
            fail_canary(release.number, faults, services)
    if len(profiles) != 1:
        raise ServingUnavailable(f"the endpoints serve in different profiles: {', '.join(sorted(profiles))}")


def decline(number: int, services: Services, approver: str, reason: str) -> dict[str, Any]:
    """Decide against a candidate, whatever the gate said: it can never serve.

    What is learnt from further corrections is another candidate. Nothing is asked of a server.

    Parameters
    ----------
    number
        The candidate; declined already, the act on record is told.
    services
        What to work with.
    approver, reason
        Whose act it is, and why.

    Returns
    -------
    dict
        The document of the `decline` verb: ``release, state, approver, reason``.

    Raises
    ------
    Refused
        `is-incumbent`, `was-incumbent`, `no-name`.
    InvalidRelease
        If there is no such release.
    """
    require_name(approver, reason)
    release = services.releases.release(number)
    services.records.decline(number, release.digest, approver=approver, reason=reason)
    act = next(
        event
        for event in services.records.events("release-state")
        if event.payload["release"] == number and event.payload["state"] == ReleaseState.DECLINED
    )
    return {
        "release": number,
        "state": act.payload["state"],
        "approver": act.who,
        "reason": act.payload["reason"],
    }
