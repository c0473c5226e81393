"""The verb `train`: the whole network again, into a candidate that a person must agree to."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from deploy.cli.console import Json, Outcome, answer, progress, table
from models.tuning.training_document import Trained
from services.settings import Settings

BEGINS = ("incumbent", "scratch")
"""Values of `flows.training.plan.Begin`, known before torch is loaded."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(train)


def train(
    begin: Annotated[
        str,
        typer.Option(
            help="incumbent: its weights, and its own answer where no reader drew; scratch: new weights, "
            "readers' labels alone."
        ),
    ],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps, one window each.")] = 1000,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=1e-6, max=0.1, help="Peak. Default: 0.002 from scratch, 0.001 from the incumbent."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train trunk and heads on all that readers have taught, into a candidate; hours rather than minutes.

    Cut short, the same command goes on where it was. Every organ is another network afterwards: the gate
    looks at all of them, and a person must agree. It runs where ORGANLOOP_TUNING_DEVICE says.
    """
    if begin not in BEGINS:
        raise typer.BadParameter(f"no such beginning: {begin}; there are {', '.join(BEGINS)}")

    def verb() -> Outcome:
        from flows.training.plan import Begin
        from flows.training.train import train_release, training_settings
        from services.wiring import connect_in_process

        settings = training_settings(Begin(begin), steps, learning_rate)
        document = train_release(connect_in_process(Settings()), Begin(begin), settings, progress)
        return Outcome(document, _candidate(document))

    answer(verb, as_json)


def _candidate(document: Trained) -> tuple[str | Table, ...]:
    rows = [
        (organ, counts.readers, counts.held, "yes" if organ in document.calibrated else "no")
        for organ, counts in document.labels.items()
    ]
    sides = {"organ": "left", "readers": "right", "held": "right", "bound": "left"}
    return (
        table(sides, rows),
        f"candidate: release {document.release}, trained ({document.begin}) on {document.cases} cases in "
        f"{document.steps} steps ({document.seconds['total']:.0f} s)",
    )
