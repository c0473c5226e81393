"""What waits for a reader, what was said of it, and what readers said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

UID = DIGEST = WORD = sa.String(length=64)


def upgrade() -> None:
    """Make the tables; an older program does without, and what it segments is not listed."""
    op.create_index(op.f("ix_arrivals_code"), "arrivals", ["code"])  # questions that are open
    _worklist()
    _findings()
    _opinions()
    op.create_table(
        "reading_times",
        sa.Column("result", DIGEST, nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("patient", DIGEST, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("viewer", sa.Boolean(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["result"], ["results.key"], name=op.f("fk_reading_times_result_results")),
        sa.PrimaryKeyConstraint("result", "holder", name=op.f("pk_reading_times")),
    )
    op.create_index(op.f("ix_reading_times_patient"), "reading_times", ["patient"])


def _worklist() -> None:
    op.create_table(
        "worklist",
        sa.Column("study_uid", UID, nullable=False),
        sa.Column("series_uid", UID, nullable=False),
        sa.Column("result", DIGEST, nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("seg_series_uid", UID, nullable=False),
        sa.Column("page", WORD, nullable=False),
        sa.Column("patient", DIGEST, nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("minus_doubt_ml", sa.Double(), nullable=False),
        sa.Column("audited", sa.Boolean(), nullable=False),
        sa.Column("came_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("holder_name", sa.String(), nullable=False),
        sa.Column("held_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", name=op.f("pk_worklist")),
        sa.UniqueConstraint("page", name=op.f("uq_worklist_page")),
    )
    op.create_index(
        "ix_worklist_place", "worklist", ["state", "rank", "minus_doubt_ml", "came_ms", "study_uid"]
    )
    op.create_index(op.f("ix_worklist_patient"), "worklist", ["patient"])
    op.create_index(op.f("ix_worklist_result"), "worklist", ["result"])


def _findings() -> None:
    op.create_table(
        "findings",
        sa.Column("result", DIGEST, nullable=False),
        sa.Column("organ", WORD, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("patient", DIGEST, nullable=False),
        sa.Column("presence", WORD, nullable=False),
        sa.Column("flag", WORD, nullable=True),
        sa.Column("reasons", sa.String(), nullable=False),
        sa.Column("cut_by_field_of_view", sa.Boolean(), nullable=False),
        sa.Column("volume_ml", sa.Double(), nullable=False),
        sa.Column("dsc_lower_bound", sa.Double(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("band_ml", sa.Double(), nullable=True),
        sa.Column("importance_ml", sa.Double(), nullable=True),
        sa.Column("segment", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["result"], ["results.key"], name=op.f("fk_findings_result_results")),
        sa.PrimaryKeyConstraint("result", "organ", name=op.f("pk_findings")),
    )
    op.create_index(op.f("ix_findings_patient"), "findings", ["patient"])


def _opinions() -> None:
    op.create_table(
        "opinions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("result", DIGEST, nullable=False),
        sa.Column("study_uid", UID, nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("patient", DIGEST, nullable=False),
        sa.Column("organ", WORD, nullable=False),
        sa.Column("opinion", WORD, nullable=False),
        sa.Column("why", WORD, nullable=False),
        sa.Column("seen", WORD, nullable=False),
        sa.Column("together", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["result"], ["results.key"], name=op.f("fk_opinions_result_results")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opinions")),
    )
    for column in ("patient", "result", "study_uid"):
        op.create_index(op.f(f"ix_opinions_{column}"), "opinions", [column])
