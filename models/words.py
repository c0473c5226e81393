"""Text that others wrote, as it can be kept in any database.

A header may hold any characters and any number of them, whatever its standard says. Two rules: what no
database keeps (NUL, halves of a character) is shown as U+FFFD; a text of a header is cut to `LONGEST`
characters, the last of them an ellipsis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

T = TypeVar("T")

LONGEST = 1000
"""Characters of a header's text that are kept; by the standard most have 64 at most (PS3.5 6.2)."""

_NOT_KEPT = re.compile("[\0\ud800-\udfff]")


def header_words(value: object) -> str:
    """Return a header's text as it is kept: without padding, never longer than `LONGEST`.

    Parameters
    ----------
    value
        As the library read it; None or empty where the header says nothing.
    """
    words = storable(str(value or "").strip("\0 \t\r\n\f\v"))
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def storable(told: T) -> T:
    """Return what was told, with U+FFFD in place of what no database keeps; dataclasses stay what they are.

    Parameters
    ----------
    told
        A text, or anything that holds texts: dataclasses, mappings, tuples, lists. The rest stays as it is.
    """
    return cast(T, _storable(told))


def _storable(told: Any) -> Any:
    if isinstance(told, str):
        return told if _NOT_KEPT.search(told) is None else _NOT_KEPT.sub("\ufffd", told)
    if is_dataclass(told) and not isinstance(told, type):
        now = {one.name: getattr(told, one.name) for one in fields(told) if one.init}
        clean = {name: _storable(value) for name, value in now.items()}
        changed = {name: value for name, value in clean.items() if value is not now[name]}
        return replace(told, **changed) if changed else told
    if isinstance(told, Mapping):
        return {_storable(name): _storable(value) for name, value in told.items()}
    if isinstance(told, tuple | list):
        return type(told)(_storable(one) for one in told)
    return told
