"""Corrections: several readers and versions, answers to questions, withdrawal."""

from __future__ import annotations

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change the schema."""
