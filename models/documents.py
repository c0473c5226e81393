"""What is said in JSON: a frozen dataclass both ways, and the schema that says how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def to_json(document: object) -> Any:
    """Return a document as JSON holds it; dataclasses may lie in lists and mappings."""
    if is_dataclass(document) and not isinstance(document, type):
        return _form(type(document)).dump_python(document, mode="json")
    if isinstance(document, Mapping):
        return {str(name): to_json(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [to_json(one) for one in document]
    return document


def from_json(kind: type[T], data: object) -> T:
    """Return the document that JSON holds; fields that it says beside are passed over.

    Raises
    ------
    ValueError
        If it holds none of this kind.
    """
    try:
        document: T = _form(cast(Any, kind)).validate_python(data)
    except ValidationError as error:
        raise ValueError(f"no {kind.__name__}: {error}") from error
    return document


@cache
def _form(kind: Any) -> TypeAdapter[Any]:
    """Return what reads and writes a kind of document."""
    return TypeAdapter(kind)
