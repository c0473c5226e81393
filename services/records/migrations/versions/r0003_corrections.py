"""Corrections: several readers and versions, answers to questions, withdrawal; patients taken out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Give corrections versions, acceptances a series, and add the tables of what is taken back."""
    _corrections()
    _acceptances()
    op.create_table(
        "withdrawals",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("withdrawn_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", "content", name=op.f("pk_withdrawals")),
    )
    op.create_table(
        "agreements",
        sa.Column("first", sa.String(length=80), nullable=False),
        sa.Column("second", sa.String(length=80), nullable=False),
        sa.Column("organ", sa.String(length=64), nullable=False),
        sa.Column("dsc", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("first", "second", "organ", name=op.f("pk_agreements")),
    )
    op.create_table(
        "erased_patients",
        sa.Column("patient", sa.String(length=64), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("cases", sa.JSON(), nullable=False),
        sa.Column("thawed", sa.JSON(), nullable=False),
        sa.Column("erased_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("patient", name=op.f("pk_erased_patients")),
    )


def _corrections() -> None:
    """Make what was recorded before the first version of its object, of a content not known."""
    # SQLite makes the table anew, and would not while another refers to its rows.
    op.execute("CREATE TEMPORARY TABLE kept_ledgers AS SELECT * FROM organ_ledgers")
    op.execute("DELETE FROM organ_ledgers")
    with op.batch_alter_table("corrections") as table:
        table.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        table.add_column(sa.Column("content", sa.String(length=64), nullable=False, server_default=""))
        table.add_column(sa.Column("scope", sa.String(length=64), nullable=False, server_default="organ"))
        table.add_column(sa.Column("answers", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("saved_at", sa.String(length=64), nullable=True))
        table.drop_constraint(op.f("uq_corrections_sop_instance_uid"), type_="unique")
        table.create_unique_constraint(
            op.f("uq_corrections_sop_instance_uid"), ["sop_instance_uid", "version"]
        )
    with op.batch_alter_table("corrections") as table:
        for column in ("version", "content", "scope", "answers"):
            table.alter_column(column, server_default=None)
        table.create_index(op.f("ix_corrections_series_uid"), ["series_uid"], unique=False)
    op.execute("INSERT INTO organ_ledgers SELECT * FROM kept_ledgers")
    op.execute("DROP TABLE kept_ledgers")


def _acceptances() -> None:
    """Let an act hold for the one series that had a result of the release.

    With several, for none of them: the study's UID, which is no series', stands in its place.
    """
    op.execute(
        "CREATE TEMPORARY TABLE kept_acceptances AS SELECT acceptances.*, "
        "COALESCE((SELECT MIN(series_uid) FROM results WHERE results.study_uid = acceptances.study_uid "
        "AND results.release = acceptances.release HAVING COUNT(DISTINCT series_uid) = 1), study_uid) "
        "AS series_uid FROM acceptances"
    )
    op.drop_table("acceptances")
    op.create_table(
        "acceptances",
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("organ", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("accepted_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("series_uid", "release", "organ", "reader", name=op.f("pk_acceptances")),
    )
    op.execute(
        "INSERT INTO acceptances (series_uid, release, organ, reader, study_uid, accepted_at) "
        "SELECT series_uid, release, organ, reader, study_uid, accepted_at FROM kept_acceptances"
    )
    op.execute("DROP TABLE kept_acceptances")
