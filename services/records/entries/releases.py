"""How far a release has come."""

from __future__ import annotations

from enum import StrEnum


class ReleaseState(StrEnum):
    """How far a release has come."""

    CANDIDATE = "candidate"
    REFUSED = "refused"
    NEEDS_APPROVAL = "needs-approval"
    DECLINED = "declined"
    """By a person; final."""
    PROMOTED = "promoted"
