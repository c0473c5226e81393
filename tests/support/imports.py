"""What a file of this project imports of it, at any depth: read, not run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.program import PACKAGES


def imported(text: str) -> Iterator[str]:
    """Return every dotted name that a module imports, wherever in it; of ``from a import b`` also ``a.b``."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def everything_behind(files: Iterable[Path], root: Path) -> set[str]:
    """Return the files of the project that files import and what those import, with the files themselves.

    Returns
    -------
    set of str
        Paths relative to the root, as in ``models/series/slice_spacing.py``.
    """
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for name in imported(file.read_text()):
            if name.split(".")[0] in PACKAGES:
                waiting += _files_of(name, root)
    return {file.relative_to(root).as_posix() for file in found}


def _files_of(name: str, root: Path) -> Iterator[Path]:
    """Return the files that are run when a dotted name is imported: its packages' and its own."""
    place = root
    for part in name.split("."):
        place = place / part
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                yield file
