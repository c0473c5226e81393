"""What events say of a release or a study is found by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the indices; an older program does without."""
    for name in ("release", "study_uid"):
        said = sa.text(f"(CAST(payload ->> '{name}' AS TEXT))")
        op.create_index(f"ix_events_{name}", "events", ["what", said])
