"""The records of a home in PostgreSQL: all rows of its SQLite, in a database that trials take copies of."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select, text

from services.records.database import connect
from services.records.store import open_records
from services.records.tables import Table
from services.settings import Settings
from tests.support.postgresql import new_database


def move(home: Path, server: str, name: str) -> str:
    """Copy the records of a home into a new database; return its address."""
    url = new_database(server, name)
    open_records(url).close()
    source, target = connect(Settings(home=home).records_url), connect(url)
    with source.connect() as old, target.begin() as new:
        for table in Table.metadata.sorted_tables:
            rows = [row._asdict() for row in old.execute(table.select())]
            if rows:
                new.execute(table.insert(), rows)
            for column in table.primary_key:
                counter = new.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
                if counter:
                    new.execute(
                        select(
                            func.setval(counter, select(func.coalesce(func.max(column), 1)).scalar_subquery())
                        )
                    )
    source.dispose()
    target.dispose()
    return url


def copied(server: str, name: str, template: str) -> str:
    """Make a database that holds what another does, in place of one of the same name; return its address."""
    admin = connect(server % "postgres").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    admin.dispose()
    return server % name
