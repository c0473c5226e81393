"""Saying how far work has come, to whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]


def silent(message: str) -> None:
    """Tell nobody."""
