"""How Alembic runs here: inside the transaction of `services.records.database.upgrade`."""

from __future__ import annotations

from alembic import context

from services.records.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
context.run_migrations()
