"""Arrivals: studies that came and how far each has come, and the cursor of the feed."""

from __future__ import annotations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change the schema."""
