"""Shape of the product's code: what is untyped, handed on whole, or looked up by scanning the log.

``python -m tests.shape`` prints the counts and where each stands; a unit test fails when one grows.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from typing import TypeVar

from services.records.events.event import kinds
from tests.conftest import ROOT

LAYERS = ("models", "services", "flows", "deploy", "helm")
DEFINED_IN = "services/records/events"
CODES = {"golden-failed", "incumbent-changed", "patient-erased", "readers-disagree", "study-gone"}
"""Codes of refusals and acts that bear the name of the event that tells of them."""
UNTYPED = re.compile(r"(?:dict|Mapping)\[str, Any\]")
WHOLE_LOG = "lines"
"""Method of the log that gives every line, whatever its kind."""


N = TypeVar("N", bound=ast.AST)


def sources() -> Iterator[tuple[str, str]]:
    """Yield path and text of each Python file of the product."""
    for layer in LAYERS:
        for file in sorted((ROOT / layer).rglob("*.py")):
            if "node_modules" not in file.parts:
                yield file.relative_to(ROOT).as_posix(), file.read_text()


def untyped() -> list[str]:
    """Return where a document has no type."""
    return [path for path, text in sources() for _ in UNTYPED.findall(text)]


def takers() -> list[str]:
    """Return the functions that take the container of all services."""
    return [
        f"{path}:{node.name}"
        for path, node in _nodes(ast.FunctionDef)
        if any(
            argument.annotation is not None and ast.unparse(argument.annotation) == "Services"
            for argument in (*node.args.args, *node.args.kwonlyargs)
        )
    ]


def named_kinds() -> list[str]:
    """Return where a kind of event is named by a string outside its definition."""
    return [
        f"{path}:{node.value}"
        for path, node in _nodes(ast.Constant)
        if node.value in kinds() and node.value not in CODES and not path.startswith(DEFINED_IN)
    ]


def scans() -> list[str]:
    """Return where all of the log is read."""
    return [
        path
        for path, node in _nodes(ast.Call)
        if isinstance(node.func, ast.Attribute)
        and node.func.attr == WHOLE_LOG
        and not path.startswith("services/records")
    ]


def _nodes(kind: type[N]) -> Iterator[tuple[str, N]]:
    for path, text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, kind):
                yield path, node


COUNTED = {
    "documents without a type": untyped,
    "functions that take the container": takers,
    "kinds of events named by a string": named_kinds,
    "reads of the whole log": scans,
}


def main() -> None:
    """Print the counts; with an argument also where."""
    for what, found in COUNTED.items():
        where = found()
        print(f"{len(where):4d} {what}")
        if len(sys.argv) > 1:
            print(*(f"       {one}" for one in sorted(where)), sep="\n")


if __name__ == "__main__":
    main()
