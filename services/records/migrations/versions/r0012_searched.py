"""Who did what, when, of which release and study is found by an index, the newest first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the indices; an older program does without."""
    op.drop_index("ix_events_what", table_name="events")
    for column in ("what", "who", "at"):
        op.create_index(f"ix_events_{column}", "events", [column, "number"])
    for name, field in (("of_release", "release"), ("of_study", "study_uid")):
        said = sa.text(f"(CAST(payload ->> '{field}' AS TEXT))")
        op.create_index(f"ix_events_{name}", "events", [said, "number"])
