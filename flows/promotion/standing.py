"""Why each release stands where it stands: what the gate, a server or a person said of it last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flows.gate.trial import GATE_DECIDED
from flows.promotion.promote import CANARY_FAILED, GOLDEN_FAILED, INCUMBENT_CHANGED
from services.records.port import Event, Records, ReleaseState


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


def standings(records: Records) -> dict[int, Standing]:
    """Return what was said last of each release that anything was said of."""
    found: dict[int, Standing] = {}
    for event in records.events():
        of = _SAYS.get(event.what)
        if of is not None:
            number, standing = of(event)
            if standing is not None:
                found[number] = standing
    return found


_Said = tuple[int, Standing | None]


def _decided(event: Event) -> _Said:
    reasons = tuple(event.payload.get("reasons", ()))
    said = f"gate: {event.payload['decision']}" + (f" ({', '.join(reasons)})" if reasons else "")
    return int(event.payload["release"]), Standing(reasons, said)


def _canary(event: Event) -> _Said:
    faults: Mapping[str, Any] = event.payload["faults"]
    return int(event.payload["release"]), Standing(("refused-by-canary",), f"canary: {', '.join(faults)}")


def _golden(event: Event) -> _Said:
    cases = len(event.payload.get("differing", ()))
    if not cases:  # no verdict on the release
        return int(event.payload["release"]), Standing((), "golden studies: could not be asked")
    said = f"golden studies: {cases} differ"
    return int(event.payload["release"]), Standing(("refused-by-golden-study",), said)


def _changed(event: Event) -> _Said:
    return int(event.payload["to"]), Standing((), f"{event.who}: {event.payload['reason']}")


def _state(event: Event) -> _Said:
    if event.payload["state"] != ReleaseState.DECLINED:
        return int(event.payload["release"]), None
    said = f"{event.who}: {event.payload['reason']}"
    return int(event.payload["release"]), Standing(("declined",), said)


_SAYS: Mapping[str, Callable[[Event], _Said]] = {
    GATE_DECIDED: _decided,
    CANARY_FAILED: _canary,
    GOLDEN_FAILED: _golden,
    INCUMBENT_CHANGED: _changed,
    "release-state": _state,
}
