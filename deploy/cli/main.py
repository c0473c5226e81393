"""The command ``organloop``: one verb per thing a person or a job does.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused on the data.
"""

from __future__ import annotations

import os
import sys

import typer
from pydantic import ValidationError

from deploy import logs
from deploy.cli import (
    account,
    arrivals,
    audit,
    backup,
    cases,
    cluster,
    corrections,
    doctor,
    flags,
    import_checkpoint,
    installing,
    learning,
    metrics,
    releases,
    speech,
    stack,
    studies,
    tell,
    train,
)
from deploy.cli.console import EXIT_USAGE
from services.files import OWNER_ONLY
from services.settings import Settings

app = typer.Typer(
    name="organloop",
    help="CT studies in, organ segmentations out, heads that learn from corrections.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for verbs in (
    studies,
    stack,
    account,
    tell,
    learning,
    corrections,
    cases,
    flags,
    releases,
    installing,
    speech,
    doctor,
    backup,
    metrics,
    import_checkpoint,
    train,
    audit,
    arrivals,
    cluster,
):
    verbs.register(app)


def main() -> None:
    """Run the command; what it and its servers write, nobody else on the machine may read."""
    os.umask(OWNER_ONLY)
    try:
        logs.set_up(Settings().log_format)
    except ValidationError as error:
        sys.stderr.write(f"a setting is wrong: {error}\n")
        sys.exit(EXIT_USAGE)
    except OSError as error:
        sys.stderr.write(f"a setting cannot be read: {error.filename}: {error.strerror}\n")
        sys.exit(EXIT_USAGE)
    app()
