"""Where a case was scanned may be any text: a hospital's name is longer than the standard allows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Take the length off a column; an older program writes shorter texts, and reads any."""
    with op.batch_alter_table("cases") as table:
        table.alter_column("site", existing_type=sa.String(length=64), type_=sa.String(), nullable=False)
