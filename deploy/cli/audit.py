"""The verbs about the log: `audit verify`, `audit export`, `audit witness`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.console import EXIT_FAILED, EXIT_REFUSED, Json, Outcome, answer, table
from models.errors import WitnessFailed
from services.settings import Settings

if TYPE_CHECKING:
    from flows.audit.verify import Exported, Verified

audit = typer.Typer(help="The chained log of everything that happened.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(audit, name="audit")


@audit.command()
def verify(
    against: Annotated[
        Path | None,
        typer.Option(help="An export kept elsewhere; only that shows lines cut off at the end."),
    ] = None,
    witnessed: Annotated[
        Path | None,
        typer.Option(help="What a syslog receiver has kept of the heads it was told, in any form."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find every changed, dropped or reordered line, and every changed row or file of which a line speaks.

    Exit 3 if anything is not as it was recorded. Every kept case is read: about a second for each 100 MB.
    """

    def verb() -> Outcome:
        from flows.audit.files import Evidence
        from flows.audit.verify import verify as run
        from services.wiring import connect_in_process, witnesses_of

        services = connect_in_process(Settings())
        scores = services.settings.score_store
        parts = Evidence(services.records, services.releases, services.cases, services.repository, scores)
        parts = replace(parts, witnesses=witnesses_of(services.settings))
        document = run(parts, against, witnessed)
        faults, last = document.faults, _last(document)
        older = (
            f"{document.older_rows} rows are older than digests, and of agreements no event speaks: "
            "`organloop prepare` seals them as they are",
        )
        said = older if document.older_rows else ()
        if not faults:
            return Outcome(document, (f"{document.events} events, all as recorded{last}", *said))
        sides = dict.fromkeys(("code", "what", "detail"), "left")
        shown = table(sides, [(one.code, one.what, one.detail) for one in faults])
        line = f"{document.events} events{last}; not as recorded are {len(faults)}:"
        return Outcome(document, (line, shown, *said), EXIT_REFUSED)

    answer(verb, as_json)


@audit.command()
def export(
    path: Annotated[Path, typer.Argument(help="File to write, one event a line, JSON.")],
    as_json: Json = False,
) -> None:
    """Write the whole log, to be kept elsewhere as the anchor of `audit verify --against`."""

    def verb() -> Outcome:
        from flows.audit.verify import export as run
        from services.records.store import open_records

        document = run(open_records(Settings().records_url), path)
        return Outcome(document, (f"{document.events} events written to {path}{_last(document)}",))

    answer(verb, as_json)


@audit.command()
def witness(as_json: Json = False) -> None:
    """Tell the head of the log to every witness of the settings now; a worker does so every five minutes.

    Exit 1 if one could not be told, or none is set.
    """

    def verb() -> Outcome:
        from flows.audit.witnessing import tell_witnesses
        from services.records.store import open_records
        from services.wiring import witnesses_of

        settings = Settings()
        known = witnesses_of(settings)
        if not known:
            raise WitnessFailed(
                "no witness is set: set ORGANLOOP_WITNESS_FILE or ORGANLOOP_WITNESS_SYSLOG to a place that "
                "the database's owner cannot write"
            )
        document = tell_witnesses(known, open_records(settings.records_url))
        said = [f"{one.witness}: {one.trouble or 'told'}" for one in document.witnesses]
        failed = any(one.trouble for one in document.witnesses)
        return Outcome(document, tuple(said), EXIT_FAILED if failed else 0)

    answer(verb, as_json)


def _last(document: Verified | Exported) -> str:
    head = document.head
    return f"; the last is {head.number}: {head.digest}" if head else ""
