"""The verb about what came to the archive: `arrivals`."""

from __future__ import annotations

import typer

from deploy.cli.console import Json, Outcome, answer, table
from services.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(arrivals)


def arrivals(as_json: Json = False) -> None:
    """List the studies and foreign SEGs that came, how far each has come, and why it waits or failed.

    Of a SEG, what `ingest` said of it: `kept`, `question-open`, or why it is not kept or refused. `attempts`
    counts runs; `since` is when its state changed last, ISO 8601.
    """

    def verb() -> Outcome:
        from services.records.store import open_records

        rows = [
            {
                "uid": one.uid,
                "study_uid": one.study_uid,
                "state": str(one.state),
                "code": one.code,
                "detail": one.detail,
                "attempts": one.attempts,
                "urgent": one.urgent,
                "since": one.changed_at.isoformat(timespec="seconds") if one.changed_at else None,
            }
            for one in open_records(Settings().records_url).arrivals()
        ]
        if not rows:
            return Outcome(rows, ("nothing came yet",))
        shown = ("uid", "state", "code", "attempts", "urgent", "since", "detail")
        sides = {name: "right" if name == "attempts" else "left" for name in shown}
        return Outcome(rows, (table(sides, [[one[name] for name in shown] for one in rows]),))

    answer(verb, as_json)
