"""What is said in JSON: a frozen dataclass both ways, and the schema that says how it looks.

``Annotated[str | None, LEFT_OUT]`` is a field that is left out where it is None, and
``Annotated[int, called("from")]`` one that has another name in JSON, as a word of Python cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

T = TypeVar("T")

LEFT_OUT: Any = Field(exclude_if=lambda value: value is None)
"""Of a field that is left out where there is nothing to say."""


def called(name: str) -> Any:
    """Return the mark of a field that has another name in JSON."""
    return Field(alias=name)


def name_of(kind: type, field: str) -> str:
    """Return the name that a field of a dataclass has in JSON.

    Raises
    ------
    AttributeError
        If it has no such field.
    """
    hint = get_type_hints(kind, include_extras=True).get(field) if field in _fields(kind) else None
    if hint is None:
        raise AttributeError(f"{kind.__name__} has no field {field}")
    marks = getattr(hint, "__metadata__", ())
    return next((mark.alias for mark in marks if isinstance(mark, FieldInfo) and mark.alias), field)


def schema(kind: Any) -> dict[str, object]:
    """Return the JSON schema of what `to_json` writes of a kind."""
    return dict(_form(kind).json_schema(mode="serialization"))


def _fields(kind: Any) -> set[str]:
    return {one.name for one in fields(kind)}


def to_json(document: object) -> Any:
    """Return a document as JSON holds it; dataclasses may lie in lists and mappings."""
    if is_dataclass(document) and not isinstance(document, type):
        said = _form(type(document)).dump_python(document, by_alias=True)
        return to_jsonable_python(said, inf_nan_mode="constants")  # NaN is no null, and 1 no 1.0
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
        document: T = _form(cast(Any, kind)).validate_python(data, by_alias=True, by_name=True)
    except ValidationError as error:
        raise ValueError(f"no {kind.__name__}: {error}") from error
    return document


@cache
def _form(kind: Any) -> TypeAdapter[Any]:
    """Return what reads and writes a kind of document."""
    return TypeAdapter(kind)
