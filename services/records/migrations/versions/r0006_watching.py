"""When the archive was watched last, and how many runs of an arrival were cut short."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table of the last watch, and add the column; an older program leaves it out."""
    op.create_table(
        "watch",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("trouble", sa.String(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_watch_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watch")),
    )
    op.add_column("arrivals", sa.Column("interrupted", sa.Integer(), nullable=False, server_default="0"))
