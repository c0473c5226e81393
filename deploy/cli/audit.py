"""The verbs about the log: `audit verify`, `audit export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.console import EXIT_REFUSED, Json, Outcome, answer, table
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
    as_json: Json = False,
) -> None:
    """Find every changed, dropped or reordered line, and every changed row or file of which a line speaks.

    Exit 3 if anything is not as it was recorded. Every kept case is read: about a second for each 100 MB.
    """

    def verb() -> Outcome:
        from flows.audit.files import Evidence
        from flows.audit.verify import verify as run
        from services.wiring import connect_in_process

        services = connect_in_process(Settings())
        scores = services.settings.score_store
        parts = Evidence(services.records, services.releases, services.cases, services.repository, scores)
        document = run(parts, against)
        faults, last = document.faults, _last(document)
        older = (f"{document.older_rows} rows are older than digests: `organloop prepare` seals them",)
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


def _last(document: Verified | Exported) -> str:
    head = document.head
    return f"; the last is {head.number}: {head.digest}" if head else ""
