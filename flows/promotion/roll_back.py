"""Go back to an earlier incumbent, or decline a candidate that waits: two acts that need no gate."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from flows.acts import Act, require_name, require_same_act
from flows.progress import Progress, silent
from flows.promotion.promote import fail_canary
from flows.serving.serve import current, serve, take_out
from models.errors import (
    InvalidRelease,
    Refused,
    ServingFailed,
    ServingRejected,
    ServingUnavailable,
    StorageFailed,
)
from models.proof.canary import answer_faults, probe_volume
from models.release import Release
from services.inference.port import Endpoint
from services.records.entries.releases import ReleaseState
from services.records.events.serving import (
    BroughtIn,
    EndpointsNotReached,
    IncumbentChanged,
    ReleaseStateChanged,
)
from services.records.port import Log, Records
from services.releases.store import ReleaseStore
from services.triton.repository import TritonRepository
from services.wiring import Services

PATIENCE_SECONDS = 1.0
"""An endpoint that says nothing for so long is gone without, where another answers."""


@dataclass(frozen=True)
class RolledBack:
    """The document of the `rollback` verb.

    Parameters
    ----------
    release, replaced
        Which serves, and which served before; None if it served already.
    approver, reason
        Whose act it is, and why.
    not_reached
        Endpoints that were gone without; why, one by one.
    """

    release: int
    replaced: int | None
    approver: str
    reason: str
    not_reached: tuple[str, ...]


@dataclass(frozen=True)
class Declined:
    """The document of the `decline` verb: how far the release has come, whose act it is, and why."""

    release: int
    state: str
    approver: str
    reason: str


_WITHOUT = (ServingFailed, InvalidRelease)
"""Why one endpoint is gone without where another answers: away, or unable to load or do what it has to."""


def rollback(
    number: int | None, services: Services, approver: str, reason: str, progress: Progress = silent
) -> RolledBack:
    """Go back to an earlier incumbent, which is loaded still: no gate, one probe, one row.

    One endpoint must answer; those that do not are named and gone without, for a wrong release must not go
    on serving because a machine died. Nothing is mixed by that: every request names its release, and an
    endpoint without it answers none. One that starts anew loads it; for one that was away and did not end,
    the same call again does. By another name, or for another reason, that is an act of its own on record.

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

    Raises
    ------
    Refused
        `no-earlier-incumbent` if there is none, or the release named was never one; `refused-by-canary`
        if it does not answer sanely.
    InvalidRelease, ServingFailed
        If it cannot be loaded, or no endpoint answers; the incumbent stays.
    """
    require_name(approver, reason)
    incumbent = current(services.releases, services.records).number
    earlier = earlier_incumbents(services.records)
    if number is None and earlier:
        number = earlier[-1]
    if number is None or number not in (*earlier, incumbent):
        detail = f"release {incumbent} serves; earlier incumbents are {list(earlier) or 'none'}"
        raise Refused("no-earlier-incumbent", detail)
    release = services.releases.release(number)
    progress(f"asking release {number} whether it still answers")
    away = _bring_back(release, services, progress)
    if len(away) == len(services.endpoints):
        raise ServingUnavailable(f"no segmenter answers: {'; '.join(away)}")
    if number != incumbent:
        progress(f"making release {number} the incumbent again")
        services.records.set_incumbent(
            number, approver=approver, reason=reason, replacing=incumbent, act="rollback"
        )
        if away:
            missed = EndpointsNotReached(release=number, endpoints=tuple(away))
            services.records.record(missed, who="rollback")
    change = services.records.last(IncumbentChanged)
    if change is None:
        raise StorageFailed(f"how release {number} came to serve is not on record")
    done = RolledBack(number, change.said.before, change.who, change.said.reason, tuple(away))
    if (change.who, change.said.reason) == (approver, reason):
        return done
    act = BroughtIn(release=number, reason=reason, not_reached=tuple(away))
    services.records.record(act, who=approver)
    return replace(done, replaced=None, approver=approver, reason=reason)


def earlier_incumbents(log: Log) -> tuple[int, ...]:
    """Return the releases that led to the incumbent, in order of promotion.

    One that was rolled back is not among them: a rollback told twice goes back twice, never forth.
    """
    line: list[int] = []
    for change in log.all(IncumbentChanged):
        release = change.said.after
        line = line[: line.index(release)] if release in line else line
        line.append(release)
    return tuple(line[:-1])


def _bring_back(release: Release, services: Services, progress: Progress) -> list[str]:
    """Have every endpoint that is there load and answer for a release; return why the others do not."""
    there, away = _reached(release.number, services.endpoints)
    refused: InvalidRelease | ServingRejected | None = None
    hu, profiles = probe_volume(release.contract), set()
    for endpoint, loaded in there:
        try:
            if not loaded:
                serve(release, replace(services, endpoints=(endpoint,)), progress)
            # Triton calls a version ready whose process was killed; only an answer proves one.
            faults = answer_faults(release, endpoint.segment(hu, release.number), hu.shape)
            profiles.add(endpoint.profile(release.number))
        except _WITHOUT as error:
            refused = error if isinstance(error, InvalidRelease | ServingRejected) else refused
            away.append(str(error))
            continue
        if faults:
            fail_canary(release.number, faults, services.records)
    if refused is not None and len(away) == len(services.endpoints):
        raise refused
    if profiles:
        with contextlib.suppress(ServingFailed):  # one address for all may still lead to one that is gone
            profiles.add(services.segmenter.profile(release.number))
    if len(profiles) > 1:
        raise ServingUnavailable(f"the endpoints serve in different profiles: {', '.join(sorted(profiles))}")
    return away


def _reached(number: int, endpoints: Sequence[Endpoint]) -> tuple[list[tuple[Endpoint, bool]], list[str]]:
    """Ask all at once whether they have a release loaded; return who answered what, and why others did not.

    Once one has answered, the others have `PATIENCE_SECONDS`: where nobody refuses, a dead node's address
    would take longer than that to give up.
    """
    pool = ThreadPoolExecutor(max_workers=len(endpoints))
    asked = [pool.submit(endpoint.ready, number) for endpoint in endpoints]
    answered, _ = wait(asked, timeout=PATIENCE_SECONDS)
    if all(one.exception() is not None for one in answered):
        wait(asked)
    pool.shutdown(wait=False)
    there, away = [], []
    for endpoint, one in zip(endpoints, asked, strict=True):
        if not one.done():
            away.append(f"Triton at {endpoint.url}: no answer in {PATIENCE_SECONDS:g} s")
            continue
        try:
            there.append((endpoint, one.result()))
        except ServingFailed as error:
            away.append(str(error))
    return there, away


def decline(
    number: int,
    approver: str,
    reason: str,
    records: Records,
    releases: ReleaseStore,
    repository: TritonRepository,
) -> Declined:
    """Decide against a candidate, whatever the gate said: it can never serve.

    What is learnt from further corrections is another candidate. Nothing is asked of a server.

    Parameters
    ----------
    number
        The candidate; declined already by the same act, that is told.
    approver, reason
        Whose act it is, and why.
    records, releases, repository
        Where it is put down, and where it lies.

    Raises
    ------
    Refused
        `is-incumbent`, `was-incumbent`, `no-name`; `declined` if another act did it.
    InvalidRelease
        If there is no such release.
    StorageFailed
        If its version folder cannot be removed; the act is on record.
    """
    require_name(approver, reason)
    release = releases.release(number)
    records.decline(number, release.digest, approver=approver, reason=reason)
    take_out(release, repository, records)
    act = records.last(ReleaseStateChanged, release=number, state=ReleaseState.DECLINED)
    if act is None:
        raise StorageFailed(f"who declined release {number} is not on record")
    told = Act(act.who, act.said.reason or "", act.at)
    require_same_act(told, approver, reason, "declined", f"release {number} is declined")
    return Declined(number, act.said.state, told.who, told.reason)
