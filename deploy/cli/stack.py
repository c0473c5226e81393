"""The verbs about the local stack: `up`, `down`, `status`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from deploy.cli.console import EXIT_FAILED, Json, Outcome, answer, progress, table
from services.settings import Settings

if TYPE_CHECKING:
    from deploy.stack.status import Part
    from flows.speech.speech import Speech


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (up, down, status):
        app.command()(verb)


def up(as_json: Json = False) -> None:
    """Start the local stack on 127.0.0.1: archive, viewer, Triton with the releases, Prefect, worker."""

    def verb() -> Outcome:
        from deploy.stack import up_and_down as stack

        return _parts(stack.up(Settings(), progress))

    answer(verb, as_json)


def down(as_json: Json = False) -> None:
    """Stop the local stack; releases, records and logs stay."""

    def verb() -> Outcome:
        from deploy.stack import up_and_down as stack

        stack.down(Settings(), progress)
        return _parts(stack.status(Settings()), wrong="up")

    answer(verb, as_json)


def status(as_json: Json = False) -> None:
    """Say what of the local stack runs where; exit 1 if a part does not run.

    With --json the archive's entry says whether the site is `silent`: then no result is sent to it.
    """

    def verb() -> Outcome:
        from deploy.stack import up_and_down as stack

        settings = Settings()
        found = stack.status(settings)
        speech = _speech(settings)
        if speech is None:
            return _parts(found)
        said = _parts(found, silent=not speech.speaks)
        return replace(said, text=(*said.text, speech.words))

    answer(verb, as_json)


def _speech(settings: Settings) -> Speech | None:
    """Return whether results go to the archive; None where there are no records yet."""
    from flows.speech.speech import speech_of
    from services.backup.dump import holds_records
    from services.records.store import open_records

    if not holds_records(settings.records_url):
        return None
    with closing(open_records(settings.records_url)) as records:
        return speech_of(records)


def _parts(parts: tuple[Part, ...], wrong: str = "down", silent: bool | None = None) -> Outcome:
    """Return what runs where; a part in the wrong state is a failure. `silent`, if that is known."""
    rows = [(part.name, part.state, part.address, part.detail) for part in parts]
    document = [
        {
            "part": part.name,
            "running": part.state == "up",
            "state": str(part.state),
            "address": part.address,
            "detail": part.detail,
        }
        | ({"silent": silent} if silent is not None and part.name == "archive" else {})
        for part in parts
    ]
    failed = any(part.state == wrong for part in parts)
    shown = table(dict.fromkeys(("part", "state", "address", "detail"), "left"), rows)
    return Outcome(document, (shown,), EXIT_FAILED if failed else 0)
