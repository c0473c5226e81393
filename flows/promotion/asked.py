"""Acts that people ask for on the pages: a worker does them, since the pages hold no key to the servers.

An act is asked for once and ends once, on record. Each may be repeated: killed in between, it is done again
from its beginning by whichever worker watches next, and completes what is left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from flows.progress import Progress
from flows.promotion.promote import complete, promote
from flows.promotion.roll_back import decline, rollback
from models.errors import LeaseLost, OrganloopError, Refused
from models.people import Person, Role
from services.records.events.event import Recorded
from services.records.events.serving import ActAsked, ActEnded, ActStep, IncumbentChanged
from services.records.port import Log, Records
from services.wiring import Services

_LOG = logging.getLogger(__name__)

NOT_BEGUN = "no worker began it within ten minutes, so it was not done: ask again"

BEGUN_WITHIN = timedelta(minutes=10)
"""Nobody expects any more what was asked for so long ago."""


class Act(StrEnum):
    """What can be asked for."""

    PROMOTION = "promotion"
    COMPLETION = "completion"
    ROLLBACK = "rollback"
    DECLINE = "decline"


@dataclass(frozen=True)
class ActNow:
    """An act and how far it has come.

    Parameters
    ----------
    number
        Of the event that asked for it.
    act, release, who
        What was asked for, and by whom.
    asked_at
        When, ISO 8601.
    step
        What is being done; empty before a worker begins.
    ended
        Whether it has.
    said, code
        Of an act that has ended: what is so now, or why it was refused and the refusal's code.
    """

    number: int
    act: str
    release: int
    who: str
    asked_at: str
    step: str
    ended: bool
    said: str
    code: str


def act_now(log: Log, now: datetime) -> ActNow | None:
    """Return the act that was asked for last; None before the first."""
    asked = log.last(ActAsked)
    return None if asked is None else told_of(asked, log, now)


def act_of(release: int, log: Log, now: datetime) -> ActNow | None:
    """Return the act that was asked for last of a release; None before the first."""
    asked = log.last(ActAsked, release=release)
    return None if asked is None else told_of(asked, log, now)


def told_of(asked: Recorded[ActAsked], log: Log, now: datetime) -> ActNow:
    """Return how far an act has come.

    One that no worker has begun in time is over, though none is there to say so.
    """
    step = log.last(ActStep, asked=asked.number)
    ended = log.last(ActEnded, asked=asked.number)
    if ended is None and step is None and now - asked.at > BEGUN_WITHIN:
        return _now(asked, "", NOT_BEGUN, "late", ended=True)
    return _now(
        asked,
        "" if step is None else step.said.step,
        "" if ended is None else ended.said.said,
        "" if ended is None else ended.said.code,
        ended=ended is not None,
    )


def _now(asked: Recorded[ActAsked], step: str, said: str, code: str, *, ended: bool) -> ActNow:
    return ActNow(
        number=asked.number,
        act=asked.said.act,
        release=asked.said.release,
        who=asked.who,
        asked_at=asked.at.isoformat(timespec="seconds"),
        step=step,
        ended=ended,
        said=said,
        code=code,
    )


def ask(asked: ActAsked, who: Person, records: Records, now: datetime | None = None) -> None:
    """Put on record that somebody asks for an act.

    A rollback may be asked for while another act is done: it comes next.

    Raises
    ------
    Refused
        `act-at-work` while another waits or is being done; `no-name` if an act that decides has no reason.
    """
    if asked.act != Act.COMPLETION and not asked.reason.strip():
        raise Refused("no-name", "an act has a reason: say why, in one sentence")
    going = act_now(records, now or _time())
    goes_first = asked.act == Act.ROLLBACK and going is not None and going.act != Act.ROLLBACK
    if going is not None and not going.ended and not goes_first:
        detail = f"{going.who} has asked for a {going.act} of release {going.release}, which is not done yet"
        raise Refused("act-at-work", f"{detail}: look again in a moment", {"who": going.who})
    records.signed(who).record(replace(asked, reason=asked.reason.strip()), who=who.name)


def is_asked(log: Log) -> bool:
    """Tell whether an act waits for a worker, or for being told that it came too late."""
    asked = log.last(ActAsked)
    return asked is not None and log.last(ActEnded, asked=asked.number) is None


def _time() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class AskedActs:
    """The acts that were asked for and have not ended.

    Parameters
    ----------
    services
        What to work with; on record stands each act under the name of who asked for it.
    clock
        The time now.
    """

    services: Services
    clock: Callable[[], datetime] = _time

    def do(self) -> None:
        """Do every one of them, in the order of asking."""
        records = self.services.records
        ended = {one.said.asked for one in records.all(ActEnded)}
        for asked in records.all(ActAsked):
            if asked.number not in ended:
                said, code = self._done(asked)
                event = ActEnded(asked=asked.number, said=said, code=code)
                records.record(event, who="asked_acts", key=event.key(asked.number))

    def _done(self, asked: Recorded[ActAsked]) -> tuple[str, str]:
        """Do one act; return what is said of it, and the code of a refusal."""
        records = self.services.records
        begun = records.last(ActStep, asked=asked.number) is not None
        if not begun and self.clock() - asked.at > BEGUN_WITHIN:
            return NOT_BEGUN, "late"
        if asked.proof is None:
            return "nobody has proven who asked for it", "unproven"
        person = Person(asked.proof.subject, asked.proof.issuer, asked.who, frozenset({Role.APPROVER}))

        def progress(step: str) -> None:
            records.record(ActStep(asked=asked.number, step=step), who="asked_acts")

        try:
            progress("a worker has begun")
            self._require_nothing_changed(asked)
            return self._act(asked.said, person, progress), ""
        except Refused as refusal:
            return refusal.detail, refusal.code
        except LeaseLost:
            raise
        except OrganloopError as error:
            return str(error), "failed"
        except Exception as error:
            _LOG.exception("an act came to nothing")
            return f"it came to nothing, and the worker's log says more: {error}", "failed"

    def _require_nothing_changed(self, asked: Recorded[ActAsked]) -> None:
        """Refuse what was asked for before another act had another release serve.

        An act that was cut short is done again; what somebody did in between stands.
        """
        changes = [one for one in self.services.records.all(IncumbentChanged) if one.number > asked.number]
        own = (asked.said.release, asked.said.act, asked.who, asked.said.reason)
        if changes and [_act_of(one) for one in changes] != [own]:
            last = changes[-1]
            detail = (
                f"since this was asked for, release {last.said.after} has come to serve "
                f"({last.who}: {last.said.reason}): look again"
            )
            raise Refused("incumbent-changed", detail)

    def _act(self, said: ActAsked, person: Person, progress: Progress) -> str:
        records, number = self.services.records.signed(person), said.release
        services = replace(self.services, records=records)
        match Act(said.act):
            case Act.PROMOTION:
                done = promote(number, services, person.name, said.reason, progress, report=said.report)
                return f"release {done.release} serves, in place of release {done.replaced}"
            case Act.COMPLETION:
                done = complete(number, services, progress)
                return f"release {done.release} serves, in place of release {done.replaced}"
            case Act.ROLLBACK:
                serves = records.incumbent()
                if serves not in (said.incumbent, number):
                    detail = f"release {said.incumbent} serves no more, release {serves} does"
                    raise Refused("incumbent-changed", f"{detail}: look again before you go back")
                back = rollback(number, services, person.name, said.reason, progress)
                missed = f"; not reached: {'; '.join(back.not_reached)}" if back.not_reached else ""
                return f"release {number} serves again{missed}"
            case Act.DECLINE:
                decline(number, person.name, said.reason, records, services.releases, services.repository)
                return f"release {number} is declined and never serves"


def _act_of(change: Recorded[IncumbentChanged]) -> tuple[int, str, str, str]:
    return change.said.after, change.said.act, change.who, change.said.reason
