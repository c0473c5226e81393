"""Gate sets that grow, decisions that wait for a person, the chain of events."""

from __future__ import annotations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Change the schema."""
