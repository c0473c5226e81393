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
from services.records.events.serving import ActAsked, ActEnded, ActStep
from services.records.port import Log, Records
from services.wiring import Services

_LOG = logging.getLogger(__name__)

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


def act_now(log: Log) -> ActNow | None:
    """Return the act that was asked for last; None before the first."""
    asked = log.last(ActAsked)
    if asked is None:
        return None
    step = log.last(ActStep, asked=asked.number)
    ended = log.last(ActEnded, asked=asked.number)
    return ActNow(
        number=asked.number,
        act=asked.said.act,
        release=asked.said.release,
        who=asked.who,
        asked_at=asked.at.isoformat(timespec="seconds"),
        step="" if step is None else step.said.step,
        ended=ended is not None,
        said="" if ended is None else ended.said.said,
        code="" if ended is None else ended.said.code,
    )


def ask(asked: ActAsked, who: Person, records: Records) -> None:
    """Put on record that somebody asks for an act.

    Raises
    ------
    Refused
        `act-at-work` while another waits or is being done; `no-name` if an act that decides has no reason.
    """
    if asked.act != Act.COMPLETION and not asked.reason.strip():
        raise Refused("no-name", "an act has a reason: say why, in one sentence")
    going = act_now(records)
    if going is not None and not going.ended:
        detail = f"{going.who} has asked for a {going.act} of release {going.release}, which is not done yet"
        raise Refused("act-at-work", f"{detail}: look again in a moment", {"who": going.who})
    records.signed(who).record(replace(asked, reason=asked.reason.strip()), who=who.name)


def is_asked(log: Log) -> bool:
    """Tell whether an act waits for a worker."""
    now = act_now(log)
    return now is not None and not now.ended


def _now() -> datetime:
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
    clock: Callable[[], datetime] = _now

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
            return "no worker began it within ten minutes, so it was not done: ask again", "late"
        if asked.proof is None:
            return "nobody has proven who asked for it", "unproven"
        person = Person(asked.proof.subject, asked.proof.issuer, asked.who, frozenset({Role.APPROVER}))

        def progress(step: str) -> None:
            records.record(ActStep(asked=asked.number, step=step), who="asked_acts")

        try:
            progress("a worker has begun")
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
