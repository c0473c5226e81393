"""Acts with a name and a reason: in the same words they are one act told again, in others another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from models.errors import Refused
from services.records.port import Event


def require_name(approver: str, reason: str, act: str = "this") -> None:
    """Refuse an act without a name or a reason as `no-name`."""
    if not approver.strip() or not reason.strip():
        raise Refused("no-name", f"{act} is an act with a name and a reason")


def require_same_act(act: Event, who: str, reason: str, code: str, done: str) -> None:
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
    known = act.payload.get("reason", "")
    if (act.who, known) == (who, reason):
        return
    raise Refused(
        code,
        f"{done} already, by {act.who} ({known}); nothing of what was said now is on record",
        {"approver": act.who, "reason": known, "at": act.at.isoformat(timespec="seconds")},
    )


def newest(events: Iterable[Event], **payload: Any) -> Event | None:
    """Return the last event whose payload holds these values; None if there is none."""
    found: Event | None = None
    for event in events:
        if _holds(event.payload, payload):
            found = event
    return found


def _holds(payload: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(payload.get(name) == value for name, value in values.items())
