"""The verb `doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.console import EXIT_FAILED, Json, Outcome, answer, progress, table
from services.settings import Settings

if TYPE_CHECKING:
    from deploy.doctor.finding import Finding


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(doctor)


def doctor(
    store: Annotated[
        bool,
        typer.Option(
            help="Store a test object (patient ORGANLOOP-DOCTOR) in the archive and delete it again."
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Look at everything a site needs, and say what to do about what is wrong.

    Storage, GPU, database, clocks, archive (TLS, AE titles, C-ECHO, QIDO, STOW, delete), the release that
    serves and its answer to a phantom, Prefect and its workers. Takes some 10 seconds. Exit 1 if anything is
    bad; a warning alone is none.
    """

    def verb() -> Outcome:
        from deploy.doctor.finding import Health, State
        from deploy.doctor.rounds import rounds

        found = list(rounds(Settings(), store=store, progress=progress))
        bad = [one for one in found if one.state is State.BAD]
        rows = [(one.state, one.name, one.detail) for one in found]
        shown = table({"": "left", "what": "left", "found": "left"}, rows)
        return Outcome(Health(not bad, tuple(found)), (shown, *_advice(found)), EXIT_FAILED if bad else 0)

    answer(verb, as_json)


def _advice(found: Iterable[Finding]) -> list[str]:
    """Return what to do, one line for all that want the same."""
    whose: dict[str, list[str]] = {}
    for one in found:
        if one.remedy:
            whose.setdefault(one.remedy, []).append(one.name)
    return (
        ["What to do:", *(f"{', '.join(names)}: {remedy}" for remedy, names in whose.items())]
        if whose
        else []
    )
