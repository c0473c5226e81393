"""The numbers behind a reason stand with the finding."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the column; an older program leaves it empty, and such a finding shows its plain words."""
    op.add_column("findings", sa.Column("figures", sa.JSON(), nullable=True))
