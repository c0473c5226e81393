"""The first schema, with events that nobody can change or delete."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SQLITE_APPEND_ONLY = (
    """CREATE TRIGGER events_unchanged BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
    """CREATE TRIGGER events_kept BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
)

POSTGRESQL_APPEND_ONLY = (
    """CREATE FUNCTION refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$""",
    """CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_event_change()""",
)


def upgrade() -> None:
    """Make all tables and the triggers."""
    op.create_table(
        "acceptances",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("organ", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("accepted_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", "release", "organ", "reader", name=op.f("pk_acceptances")),
    )
    op.create_table(
        "corrections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sent_uid", sa.String(length=64), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("release", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("viewer", sa.String(), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        sa.Column("recorded_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corrections")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_corrections_sop_instance_uid")),
    )
    op.create_index(op.f("ix_corrections_release"), "corrections", ["release"], unique=False)
    op.create_index(op.f("ix_corrections_sent_uid"), "corrections", ["sent_uid"], unique=False)
    op.create_index(op.f("ix_corrections_study_uid"), "corrections", ["study_uid"], unique=False)
    op.create_table(
        "events",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_events")),
        sa.UniqueConstraint("key", name=op.f("uq_events_key")),
    )
    op.create_index(op.f("ix_events_what"), "events", ["what"], unique=False)
    op.create_table(
        "first_writings",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("written_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_first_writings")),
    )
    op.create_table(
        "frozen_sets",
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("frozen_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("purpose", name=op.f("pk_frozen_sets")),
    )
    op.create_table(
        "incumbent",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("approver", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", sa.String(length=32), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_incumbent_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incumbent")),
    )
    op.create_table(
        "patients",
        sa.Column("patient", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("patient", name=op.f("pk_patients")),
        sa.UniqueConstraint("patient", "purpose", name=op.f("uq_patients_patient")),
    )
    op.create_table(
        "releases",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_releases")),
    )
    op.create_table(
        "cases",
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("patient", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["patient", "purpose"],
            ["patients.patient", "patients.purpose"],
            name=op.f("fk_cases_patient_patients"),
        ),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_cases")),
    )
    op.create_index(op.f("ix_cases_purpose"), "cases", ["purpose"], unique=False)
    op.create_table(
        "organ_ledgers",
        sa.Column("correction_id", sa.Integer(), nullable=False),
        sa.Column("organ", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("added_voxels", sa.Integer(), nullable=False),
        sa.Column("removed_voxels", sa.Integer(), nullable=False),
        sa.Column("by_overpaint_voxels", sa.Integer(), nullable=False),
        sa.Column("added_ml", sa.Double(), nullable=False),
        sa.Column("removed_ml", sa.Double(), nullable=False),
        sa.Column("surface_mm", sa.Double(), nullable=True),
        sa.Column("origin", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["correction_id"], ["corrections.id"], name=op.f("fk_organ_ledgers_correction_id_corrections")
        ),
        sa.PrimaryKeyConstraint("correction_id", "organ", name=op.f("pk_organ_ledgers")),
    )
    op.create_table(
        "results",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["first_writings.key"], name=op.f("fk_results_key_first_writings")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_results")),
    )
    op.create_index(op.f("ix_results_study_uid"), "results", ["study_uid"], unique=False)
    op.create_table(
        "result_objects",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("result_key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["result_key"], ["results.key"], name=op.f("fk_result_objects_result_key_results")
        ),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_result_objects")),
    )
    op.create_index(op.f("ix_result_objects_result_key"), "result_objects", ["result_key"], unique=False)
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in POSTGRESQL_APPEND_ONLY if postgresql else SQLITE_APPEND_ONLY:
        op.execute(statement)


def downgrade() -> None:
    """Drop all tables; triggers go with theirs."""
    op.drop_index(op.f("ix_result_objects_result_key"), table_name="result_objects")
    op.drop_table("result_objects")
    op.drop_index(op.f("ix_results_study_uid"), table_name="results")
    op.drop_table("results")
    op.drop_table("organ_ledgers")
    op.drop_index(op.f("ix_cases_purpose"), table_name="cases")
    op.drop_table("cases")
    op.drop_table("releases")
    op.drop_table("patients")
    op.drop_table("incumbent")
    op.drop_table("frozen_sets")
    op.drop_table("first_writings")
    op.drop_index(op.f("ix_events_what"), table_name="events")
    op.drop_table("events")
    op.drop_index(op.f("ix_corrections_study_uid"), table_name="corrections")
    op.drop_index(op.f("ix_corrections_sent_uid"), table_name="corrections")
    op.drop_index(op.f("ix_corrections_release"), table_name="corrections")
    op.drop_table("corrections")
    op.drop_table("acceptances")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_event_change")
