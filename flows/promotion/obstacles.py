"""What stands in the way of a promotion, said before anybody asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from flows.gate.gate_candidate import PASSED
from flows.gate.last_report import LastReport
from flows.promotion.second_person import require_second_person
from models.errors import Refused
from models.people import Person
from models.release import Release
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.records.events.serving import ReleaseStateChanged
from services.records.port import Records
from services.releases.store import ReleaseStore


@dataclass(frozen=True)
class Obstacle:
    """One reason why a promotion would be refused: the refusal's code, and a sentence."""

    code: str
    detail: str


def obstacles(
    release: Release,
    last: LastReport | None,
    who: Person,
    records: Records,
    releases: ReleaseStore,
    own_corrections: str,
) -> tuple[Obstacle, ...]:
    """Return what is known to stand in the way of somebody who would promote a release.

    The promotion itself asks for more: whether the log is whole, the serving profile, canary and golden
    studies.

    Parameters
    ----------
    release
        To be promoted.
    last
        What the gate said of it last.
    who
        Would promote it.
    records, releases
        What is on record, and what each release has learnt.
    own_corrections
        The setting: ``refused`` or ``allowed``.
    """
    number, incumbent = release.number, records.incumbent()
    if incumbent == number:
        return (Obstacle("is-incumbent", f"release {number} serves"),)
    found = []
    if records.release_states().get(number) is ReleaseState.DECLINED:
        act = records.last(ReleaseStateChanged, release=number, state=ReleaseState.DECLINED)
        by = "" if act is None else f" by {act.who}: {act.said.reason}"
        found.append(Obstacle("declined", f"it is declined{by}"))
    found += _of_gate(number, incumbent, last, records)
    if own_corrections == "refused":
        try:
            require_second_person(release, who.name, records.signed(who), releases)
        except Refused as refusal:
            found.append(Obstacle(refusal.code, refusal.detail))
    return tuple(found)


def _of_gate(number: int, incumbent: int | None, last: LastReport | None, records: Records) -> list[Obstacle]:
    if last is None:
        detail = f"the gate has not decided on it: `organloop gate {number}`, or wait for the night"
        return [Obstacle("refused-by-gate", detail)]
    said = last.decided.said
    if said.against != incumbent:
        detail = f"the gate weighed it against release {said.against}, and release {incumbent} serves"
        return [Obstacle("refused-by-gate", f"{detail}: `organloop gate {number}`")]
    frozen = records.frozen(Purpose.GATE)
    if said.gate_set is not None and (frozen is None or frozen.digest != said.gate_set):
        detail = f"the gate set was frozen anew since: `organloop gate {number}`"
        return [Obstacle("refused-by-gate", detail)]
    if said.decision not in PASSED:
        reasons = ", ".join(said.reasons)
        return [Obstacle("refused-by-gate", f"the gate's decision is {said.decision}: {reasons}")]
    return []
