"""Acts with a name and a reason: in the same words they are one act told again, in others another one."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from models.errors import Refused


def require_name(approver: str, reason: str, act: str = "this") -> None:
    """Refuse an act without a name or a reason as `no-name`."""
    if not approver.strip() or not reason.strip():
        raise Refused("no-name", f"{act} is an act with a name and a reason")


class Act(NamedTuple):
    """An act on record: whose, why, when."""

    who: str
    reason: str
    at: datetime


def require_same_act(act: Act, who: str, reason: str, code: str, done: str) -> None:
    """Refuse an act whose end is reached already by another: its name and reason would be lost silently.

    Parameters
    ----------
    act
        The act on record.
    who, reason
        Of the one that is told now; the same words are the same act told again.
    code
        Of the refusal.
    done
        What is so already, in words: ``release 2 serves``.

    Raises
    ------
    Refused
        The code, with name, reason and time of the act on record.
    """
    if act[:2] == (who, reason):
        return
    raise Refused(
        code,
        f"{done} already, by {act.who} ({act.reason}); nothing of what was said now is on record",
        {"approver": act.who, "reason": act.reason, "at": act.at.isoformat(timespec="seconds")},
    )
