"""The verbs `backup` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import Json, Outcome, answer, progress
from services.settings import Settings

MIB = 1 << 20


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(backup)
    app.command()(restore)


def backup(
    out: Annotated[
        Path, typer.Option(help="Folder of all backups, best on other storage; each is a folder in it.")
    ],
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many backups to keep, this one included. Default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy records, releases, cases and scores while everything goes on; what has not changed takes no room.

    It is put on record, for the metrics. One that was cut short is gone on with by the next.
    The copy holds the secret behind the pseudonyms (cases/site.key): keep it as safe as the home.
    """

    def verb() -> Outcome:
        from services.backup.backup import take

        taken = take(Settings(), out, progress, keep)
        held = taken.manifest
        document = {
            "path": str(taken.path),
            "taken_at": held.taken_at,
            "incumbent": held.incumbent,
            "files": len(held.files),
            "copied_bytes": taken.copied_bytes,
        }
        line = f"{taken.path}: {len(held.files)} files, {taken.copied_bytes / MIB:.1f} MiB of them new"
        return Outcome(document, (line,))

    answer(verb, as_json)


def restore(
    path: Annotated[Path, typer.Argument(help="One backup: the folder that holds backup.json.")],
    as_json: Json = False,
) -> None:
    """Bring a backup into an empty home and an empty database; nothing is ever overwritten.

    Afterwards `organloop up`, or `organloop prepare` in a cluster, makes again what Triton loads.
    """

    def verb() -> Outcome:
        from services.backup.backup import restore as run

        held = run(Settings(), path, progress)
        document = {"taken_at": held.taken_at, "incumbent": held.incumbent, "files": len(held.files)}
        line = f"{len(held.files)} files of {held.taken_at}; incumbent: release {held.incumbent}"
        return Outcome(document, (line, "now `organloop up`, or `organloop prepare` in a cluster"))

    answer(verb, as_json)
