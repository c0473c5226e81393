"""Why each release stands where it stands: what the gate, a server or a person said of it last."""

from __future__ import annotations

from dataclasses import dataclass

from services.records.entries.releases import ReleaseState
from services.records.events.event import Event
from services.records.events.gate import GateDecided
from services.records.events.serving import (
    CanaryFailed,
    GoldenFailed,
    IncumbentChanged,
    ReleaseStateChanged,
)
from services.records.port import Log


@dataclass(frozen=True)
class Standing:
    """What was said of a release last.

    Parameters
    ----------
    reasons
        Codes; of the gate all that its report holds against the release, or has a person look at.
    said
        One line for a person: the decision, or who acted and why.
    """

    reasons: tuple[str, ...]
    said: str


def standings(log: Log) -> dict[int, Standing]:
    """Return what was said last of each release that anything was said of."""
    kinds: tuple[type[Event], ...] = (
        GateDecided, CanaryFailed, GoldenFailed, IncumbentChanged, ReleaseStateChanged,
    )  # fmt: skip
    found: dict[int, Standing] = {}
    for one in log.all(*kinds):
        match one.said:
            case GateDecided(release=number, reasons=reasons, decision=decision):
                said = f"gate: {decision}" + (f" ({', '.join(reasons)})" if reasons else "")
                found[number] = Standing(reasons, said)
            case CanaryFailed(release=number, faults=faults):
                found[number] = Standing(("refused-by-canary",), f"canary: {', '.join(faults)}")
            case GoldenFailed(release=number, differing=differing) if differing:
                said = f"golden studies: {len(differing)} differ"
                found[number] = Standing(("refused-by-golden-study",), said)
            case GoldenFailed(release=number):  # no verdict on the release
                found[number] = Standing((), "golden studies: could not be asked")
            case IncumbentChanged(after=number, reason=reason):
                found[number] = Standing((), f"{one.who}: {reason}")
            case ReleaseStateChanged(release=number, state=ReleaseState.DECLINED, reason=reason):
                found[number] = Standing(("declined",), f"{one.who}: {reason}")
    return found
