"""The verbs that decide which release serves: `gate`, `promote`, `decline`, `rollback`, `releases`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deploy.cli.acting import Approver, Reason, acting
from deploy.cli.console import Json, Outcome, answer, progress, table
from models.people import Role
from models.release import Release
from services.settings import Settings

if TYPE_CHECKING:  # they would import what a quick verb does without
    from flows.promotion.promote import Promoted
    from flows.promotion.roll_back import RolledBack
    from models.gate.document import GateDocument


@dataclass(frozen=True)
class Listed:
    """One release in the document of the `releases` verb.

    Parameters
    ----------
    release, parent, digest, note, demonstration
        As `models.release.Release`.
    incumbent, state
        Whether it serves, and how far it has come; None if that is not on record.
    reasons, said
        What was said of it last, as `flows.promotion.standing.Standing`.
    tuned
        Organs whose heads are not the parent's.
    corrections
        How many it has learnt from.
    """

    release: int
    incumbent: bool
    state: str | None
    reasons: tuple[str, ...]
    said: str
    parent: int | None
    digest: str
    tuned: tuple[str, ...]
    corrections: int
    demonstration: bool
    note: str


releases = typer.Typer()
"""The list, and the verbs by which a release moves (`deploy.cli.installing`)."""


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (gate, promote, decline, rollback):
        app.command()(verb)
    app.add_typer(releases, name="releases")


def gate(
    number: Annotated[int, typer.Argument(min=1, help="The candidate release.")], as_json: Json = False
) -> None:
    """Weigh a candidate against the incumbent on the frozen gate set; exit 0 whatever the decision.

    Differences are in DSC and surface DSC (0 to 1), averaged over patients, with their one-sided lower 95 %
    bound; what a case may lose is told from the incumbent's own noise on it.
    """

    def verb() -> Outcome:
        from flows.gate.gate_candidate import Gated, gate_candidate
        from flows.gate.sections import what_to_do
        from flows.gate.trial import trial_of
        from services.records.entries.releases import ReleaseState
        from services.releases.gate_reports import GateReports
        from services.wiring import connect

        services = connect(Settings())
        report = gate_candidate(number, services, progress)
        against = f"release {number} against release {report.incumbent_release}: {report.decision}"
        reasons = [f"{reason.code}: {reason.detail}" for reason in report.reasons]
        page = GateReports(services.releases.folder).path(trial_of(number, services)).with_suffix(".html")
        shown = (f"report: {page.resolve()}",) if page.exists() else ()
        todo = dict.fromkeys(filter(None, map(what_to_do, report.all_reasons)))
        state = services.records.release_states().get(number)
        if state is ReleaseState.DECLINED:  # whatever the gate says
            todo = {f"release {number} was declined by a person: it can never serve": None}
        document = Gated(**vars(report), state=state)
        return Outcome(document, (against, *reasons, *_organ_table(report), *todo, *shown))

    answer(verb, as_json)


def promote(
    number: Annotated[int, typer.Argument(min=1, help="The release that shall serve.")],
    reason: Reason,
    approver: Approver = "",
    as_json: Json = False,
) -> None:
    """Make a release the incumbent, if the gate let it pass and it answers the canary study.

    No request fails meanwhile. Exit 3 if the gate, the canary or a golden study refuses; then the old release
    serves on, or again. Exit 3 too if it serves already by another act: whose, and why, is said.
    """

    def verb() -> Outcome:
        from flows.promotion.promote import promote as run
        from services.wiring import connect

        settings = Settings()
        act = acting(approver, Role.APPROVER, settings)
        return _changed(run(number, act.connected(connect), act.name, reason, progress))

    answer(verb, as_json)


def decline(
    number: Annotated[int, typer.Argument(min=1, help="The candidate that shall never serve.")],
    reason: Reason,
    approver: Approver = "",
    as_json: Json = False,
) -> None:
    """Decide against a candidate, whatever the gate said; final.

    What is learnt from further corrections is another candidate. Exit 3 if the release serves or has served:
    then `organloop rollback` is the way back; and if another act declined it: whose, and why, is said.
    """

    def verb() -> Outcome:
        from flows.promotion.roll_back import decline as run
        from services.wiring import connect_in_process

        settings = Settings()
        act = acting(approver, Role.APPROVER, settings)
        services = act.connected(connect_in_process)
        document = run(number, act.name, reason, services.records, services.releases, services.repository)
        line = f"release {number} is declined ({document.approver}: {document.reason})"
        return Outcome(document, (line,))

    answer(verb, as_json)


def rollback(
    reason: Reason,
    number: Annotated[
        int | None,
        typer.Argument(min=1, help="An earlier incumbent. Default: the one the incumbent replaced."),
    ] = None,
    approver: Approver = "",
    as_json: Json = False,
) -> None:
    """Go back to an earlier incumbent; it is loaded still, so this takes a fraction of a second.

    One segmenter must answer. Those that do not are named: they answer for no other release, and load this
    one as they start anew; if one comes back by itself without it, call this again with the number: by
    another name, or for another reason, that is an act of its own on record.
    """

    def verb() -> Outcome:
        from flows.promotion.roll_back import rollback as run
        from services.wiring import connect

        settings = Settings()
        act = acting(approver, Role.APPROVER, settings)
        done = run(number, act.connected(connect), act.name, reason, progress)
        return _changed(done, done.not_reached)

    answer(verb, as_json)


@releases.callback(invoke_without_command=True)
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List all releases: which serves, how far each has come and why, and what its heads learnt."""
    if context.invoked_subcommand is not None:
        return

    def verb() -> Outcome:
        from flows.promotion.standing import standings
        from services.records.store import open_records
        from services.releases.store import ReleaseStore

        settings = Settings()
        store, records = ReleaseStore(settings.release_store), open_records(settings.records_url)
        incumbent, states, said = records.incumbent(), records.release_states(), standings(records)
        found = [store.release(number) for number in store.numbers()]
        parents = {release.number: release for release in found}
        document = [
            Listed(
                release=one.number,
                incumbent=one.number == incumbent,
                state=states.get(one.number),
                reasons=said[one.number].reasons if one.number in said else (),
                said=said[one.number].said if one.number in said else "",
                parent=one.parent,
                digest=one.digest,
                tuned=_tuned(one, parents.get(one.parent or 0)),
                corrections=len(one.corrections),
                demonstration=one.demonstration,
                note=one.note,
            )
            for one in found
        ]
        return Outcome(document, (_release_table(document),))

    answer(verb, as_json)


def _tuned(release: Release, parent: Release | None) -> tuple[str, ...]:
    """Return the organs whose heads are not the parent's."""
    if parent is None:
        return ()
    return tuple(organ for organ, digest in release.heads.items() if digest != parent.heads.get(organ))


def _changed(done: Promoted | RolledBack, not_reached: Collection[str] = ()) -> Outcome:
    replaced = "" if done.replaced is None else f" instead of release {done.replaced}"
    line = f"release {done.release} serves{replaced} ({done.approver}: {done.reason})"
    return Outcome(done, (line, *(f"not reached: {why}" for why in not_reached)))


def _organ_table(report: GateDocument) -> list[Table]:
    from flows.gate.gate_candidate import organ_rows

    rows = organ_rows(report)
    figures = ("incumbent", "candidate", "difference", "at least")
    sides = {name: "right" if name in figures else "left" for name in rows[0]} if rows else {}
    return [table(sides, [tuple(row.values()) for row in rows])] if rows else []


def _release_table(document: Sequence[Listed]) -> Table:
    rows = [
        (
            one.release,
            "serves" if one.incumbent else one.state,
            one.parent,
            ", ".join(one.tuned),
            one.corrections,
            one.digest[:12],
            one.note,
            one.said,
        )
        for one in document
    ]
    sides = {"release": "right", "state": "left", "parent": "right", "tuned": "left", "corrections": "right"}
    return table(sides | {"digest": "left", "note": "left", "said last": "left"}, rows)
