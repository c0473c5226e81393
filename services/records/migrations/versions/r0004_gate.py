"""Gate sets that grow, decisions that wait for a person, the chain of events."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

from services.records.migrations.versions.r0001_first import POSTGRESQL_APPEND_ONLY, SQLITE_APPEND_ONLY

revision = "0004"
down_revision = "0003"

FIRST = "0" * 64
MANIFEST = ("case_id", "purpose", "patient", "origin", "digest", "site")
"""What a manifest said of a case until now; a digest taken of it stays what it is."""


def upgrade() -> None:
    """Keep the manifests of frozen sets, and chain the events on record."""
    op.add_column("cases", sa.Column("acquisition", sa.JSON(), nullable=False, server_default="{}"))
    _keep_manifests()
    _chain_events()


def _keep_manifests() -> None:
    database = op.get_bind()
    frozen = database.execute(sa.text("SELECT purpose, digest, frozen_at FROM frozen_sets")).all()
    op.drop_table("frozen_sets")
    table = op.create_table(
        "frozen_sets",
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("frozen_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "version", name=op.f("pk_frozen_sets")),
    )
    for purpose, digest, frozen_at in frozen:
        found = database.execute(
            sa.text(f"SELECT {', '.join(MANIFEST)} FROM cases WHERE purpose = :p ORDER BY case_id"),
            {"p": purpose},
        )
        manifest = [dict(zip(MANIFEST, row, strict=True)) for row in found]
        values = {"purpose": purpose, "version": 1, "digest": digest}
        op.bulk_insert(table, [{**values, "manifest": manifest, "frozen_at": frozen_at}])


def _chain_events() -> None:
    database = op.get_bind()
    postgresql = database.dialect.name == "postgresql"
    dropped = ("events_append_only ON events",) if postgresql else ("events_unchanged", "events_kept")
    for trigger in dropped:
        op.execute(f"DROP TRIGGER {trigger}")
    with op.batch_alter_table("events") as batch:
        batch.add_column(sa.Column("previous", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("digest", sa.String(length=64), nullable=True))
    events = sa.text("SELECT number, at, what, who, payload, key FROM events ORDER BY number")
    on_record = database.execute(events.columns(payload=sa.JSON())).all()
    # Numbers are made consecutive first: a database may have left gaps where an event came twice.
    renumber = sa.text("UPDATE events SET number = :new WHERE number = :old")
    fill = sa.text("UPDATE events SET previous = :previous, digest = :digest WHERE number = :number")
    before = FIRST
    for number, (old, *fields) in enumerate(on_record, 1):
        if old != number:
            database.execute(renumber, {"new": number, "old": old})
        link = json.dumps([number, *json.loads(json.dumps(fields)), before], sort_keys=True)
        digest = hashlib.sha256(link.encode()).hexdigest()
        database.execute(fill, {"previous": before, "digest": digest, "number": number})
        before = digest
    with op.batch_alter_table("events") as batch:
        batch.alter_column("previous", existing_type=sa.String(length=64), nullable=False)
        batch.alter_column("digest", existing_type=sa.String(length=64), nullable=False)
    # The function the trigger of PostgreSQL calls is there still.
    for statement in POSTGRESQL_APPEND_ONLY[1:] if postgresql else SQLITE_APPEND_ONLY:
        op.execute(statement)
