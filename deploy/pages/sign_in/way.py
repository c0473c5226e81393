"""What every way to sign in can be asked."""

from __future__ import annotations

from typing import Protocol

from fastapi import Request

from models.people import Person


class Way(Protocol):
    """How people prove who they are."""

    def person(self, request: Request) -> Person | None:
        """Return who asks; None if nobody has proven it."""
        ...
