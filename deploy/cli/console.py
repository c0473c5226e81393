"""How a verb of the command answers: a result on stdout, everything else on stderr, an exit code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from models.documents import to_json
from models.errors import OrganloopError, Refused

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED = 0, 1, 2, 3

_WIDTH = None if sys.stdout.isatty() else 200  # a pipe has no width; tables must not be cut for it
_stdout = Console(highlight=False, width=_WIDTH)
_stderr = Console(stderr=True, highlight=False, width=_WIDTH)


@dataclass(frozen=True)
class Outcome:
    """What a verb has to say.

    Parameters
    ----------
    document
        What ``--json`` shows: a dataclass, or what JSON holds.
    text
        What a person reads instead: lines and tables.
    exit_code
        0 done, 1 failed, 3 refused on the data.
    """

    document: object
    text: Sequence[str | Table] = ()
    exit_code: int = EXIT_DONE


def progress(message: str) -> None:
    """Say on stderr what is being done."""
    _stderr.print(message)


def answer(verb: Callable[[], Outcome], as_json: bool) -> NoReturn:
    """Run a verb of the command and end it; see `conclude`."""
    raise typer.Exit(conclude(verb, as_json))


def conclude(verb: Callable[[], Outcome], as_json: bool) -> int:
    """Run a verb, print its outcome or the reason it has none, and return the exit code."""
    try:
        outcome = verb()
    except Refused as refusal:
        outcome = Outcome(refusal.said, (f"refused: {refusal}",), EXIT_REFUSED)
    except OrganloopError as error:
        outcome = Outcome(
            {"code": failure_code(error), "detail": str(error)}, (f"failed: {error}",), EXIT_FAILED
        )
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        detail = f"a file cannot be read or written: {error.strerror or error}{where}"
        outcome = Outcome({"code": "storage-failed", "detail": detail}, (f"failed: {detail}",), EXIT_FAILED)
    if as_json:
        sys.stdout.write(json.dumps(to_json(outcome.document), indent=2) + "\n")
    else:
        target = _stderr if outcome.exit_code == EXIT_FAILED and len(outcome.text) == 1 else _stdout
        for part in outcome.text:
            target.print(part, soft_wrap=True)
    return outcome.exit_code


def failure_code(error: OrganloopError) -> str:
    """Return the code of a failure: its class in words, e.g. ``serving-unavailable``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


def table(columns: Mapping[str, str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table; ``columns`` maps each heading to its side, left or right."""
    result = Table(box=None, header_style="bold", pad_edge=False)
    for heading, side in columns.items():
        result.add_column(heading, justify="right" if side == "right" else "left")
    for row in rows:
        result.add_row(*("—" if value is None else str(value) for value in row))
    return result
