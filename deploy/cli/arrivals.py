"""The verb about what came to the archive: `arrivals`."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from deploy.cli.console import Json, Outcome, answer, table
from services.settings import Settings


@dataclass(frozen=True)
class Came:
    """One study or foreign SEG in the document of the `arrivals` verb.

    Parameters
    ----------
    uid, study_uid, state, code, detail, attempts, urgent
        As in `services.records.entries.arrivals.Arrival`.
    since
        When its state changed last, ISO 8601; None if that is not on record.
    """

    uid: str
    study_uid: str
    state: str
    code: str
    detail: str
    attempts: int
    urgent: bool
    since: str | None


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(arrivals)


def arrivals(as_json: Json = False) -> None:
    """List the studies and foreign SEGs that came, how far each has come, and why it waits or failed.

    Of a SEG, what `ingest` said of it: `kept`, `question-open`, or why it is not kept or refused. `attempts`
    counts runs; `since` is when its state changed last, ISO 8601.
    """

    def verb() -> Outcome:
        from flows.speech.speech import speech_of
        from services.records.store import open_records

        records = open_records(Settings().records_url)
        rows = [
            Came(
                one.uid, one.study_uid, str(one.state), one.code, one.detail, one.attempts, one.urgent,
                since=one.changed_at.isoformat(timespec="seconds") if one.changed_at else None,
            )
            for one in records.arrivals()
        ]  # fmt: skip
        speech = speech_of(records).words
        if not rows:
            return Outcome(rows, ("nothing came yet", speech))
        shown = ("uid", "state", "code", "attempts", "urgent", "since", "detail")
        sides = {name: "right" if name == "attempts" else "left" for name in shown}
        shown_rows = [[getattr(one, name) for name in shown] for one in rows]
        return Outcome(rows, (table(sides, shown_rows), speech))

    answer(verb, as_json)
