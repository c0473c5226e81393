"""JSON documents of nnU-Net, from a file or from a checkpoint, typed strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from models.errors import Refused

T = TypeVar("T")
Document = Mapping[str, object]

MOST_BYTES = 16 << 20
"""A plans file has some 20 kB; one of thousands of cases with their names a few MB."""

_NAMED = 6


def read_document(path: Path) -> tuple[Document, bytes]:
    """Return a JSON file's object, and its bytes.

    Raises
    ------
    Refused
        `unreadable-plans` if it is no JSON object, has a name twice, or is larger than any can be.
    OSError
        If the file cannot be read.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        detail = f"{path.name} has {size} bytes; {MOST_BYTES} at most"
        raise Refused("unreadable-plans", detail, {"file": path.name, "size_bytes": size})
    content = path.read_bytes()
    return _parsed(content, path.name), content


def from_checkpoint(value: object, what: str) -> Document:
    """Return a document that a checkpoint holds as values, as JSON has it.

    Raises
    ------
    Refused
        `unreadable-plans` if JSON could not hold it.
    """
    try:
        content = json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        detail = f"{what} in the checkpoint holds what is no value of JSON"
        raise Refused("unreadable-plans", detail, {"file": what}) from error
    return _parsed(content, what)


def typed(kind: type[T], document: object, what: str) -> T:
    """Return what a document says, as a dataclass; fields that it says beside are passed over.

    Raises
    ------
    Refused
        `unreadable-plans` with the names of fields that are missing or of another type.
    """
    try:
        said: T = _form(cast(Any, kind)).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(str(step) for step in one['loc']) or what}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        detail = f"{what} cannot be read: {'; '.join(wrong[:_NAMED])}"
        raise Refused("unreadable-plans", detail, {"file": what, "fields": wrong}) from error
    return said


@cache
def _form(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _parsed(content: bytes | str, what: str) -> Document:
    try:
        parsed = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Refused("unreadable-plans", f"{what} is no JSON: {error}", {"file": what}) from error
    if not isinstance(parsed, dict):
        raise Refused("unreadable-plans", f"{what} is no JSON object", {"file": what})
    return cast(Document, parsed)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object whose names are all different: of two, nobody knows which is meant."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice in one object; which of the two is meant is not known")
    return names
