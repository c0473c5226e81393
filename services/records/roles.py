"""Who may do what in PostgreSQL: an owner who changes the schema, and roles that work with what there is.

The writer adds to what teaches, and changes or takes out only what says how far the work has come. The reader
reads. The backup reads, and adds that it was taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL, make_url

from models.errors import StorageFailed
from services.records.database import connect, upgrade
from services.records.tables import Table
from services.records.transactions import as_storage_failure

CHANGED = frozenset({"arrivals", "feed", "incumbent", "leases", "releases", "watch", "witnesses"})
"""Tables in which the writer changes rows."""
TAKEN_OUT = frozenset({"cases", "patients"})
"""Tables from which the writer takes rows: a patient who is erased."""
REVISION = "alembic_version"


@dataclass(frozen=True)
class Roles:
    """Addresses of the roles that are to work in a database, each with its user; None: there is none.

    Parameters
    ----------
    writer
        Of workers, jobs and verbs.
    reader
        Of metrics and probes.
    backup
        Of the nightly backup.
    """

    writer: str | None = None
    reader: str | None = None
    backup: str | None = None


def bring_up(owner: str, roles: Roles) -> None:
    """Bring the schema up to date as its owner, and give the roles their rights; safe to repeat.

    A role that is not there is made, with the password of its address, if the owner may make roles. One that
    is there keeps its password.

    Parameters
    ----------
    owner
        Address of the records with the owner's name and password.
    roles
        Who is to work there.

    Raises
    ------
    StorageFailed
        If the database cannot be reached or changed; or if a role is the owner's own, or not on PostgreSQL.
    """
    engine = connect(owner)
    try:
        with as_storage_failure():
            upgrade(engine)
            if engine.dialect.name != "postgresql":
                raise StorageFailed("ORGANLOOP_DATABASE_OWNER_URL is for PostgreSQL: SQLite knows no roles")
            with engine.begin() as connection:
                _give_rights(connection, make_url(owner), roles)
    finally:
        engine.dispose()


def may_rewrite(connection: Connection) -> bool:
    """Tell whether who is connected to a PostgreSQL could change events, or take away what forbids it."""
    asked = (
        "SELECT has_table_privilege(current_user, 'events', 'UPDATE, DELETE, TRUNCATE') "
        "OR pg_has_role(current_user, (SELECT tableowner FROM pg_tables WHERE tablename = 'events' "
        "AND schemaname = current_schema()), 'MEMBER')"
    )
    return bool(connection.execute(text(asked)).scalar_one())


def _give_rights(connection: Connection, owner: URL, roles: Roles) -> None:
    named = {"writer": roles.writer, "reader": roles.reader, "backup": roles.backup}
    addresses = {kind: make_url(url) for kind, url in named.items() if url is not None}
    names = [str(address.username) for address in addresses.values()]
    if owner.username in names or len(set(names)) < len(names):
        raise StorageFailed(f"each role of the records needs a name of its own, none the owner's: {names}")
    database = str(connection.engine.url.database)
    _run(connection, "REVOKE CONNECT ON DATABASE {} FROM PUBLIC", database)
    _run(connection, "REVOKE CREATE ON SCHEMA {} FROM PUBLIC", "public")
    for kind, address in addresses.items():
        role = str(address.username)
        _make(connection, role, address.password)
        _run(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, role)
        _run(connection, "GRANT USAGE ON SCHEMA {} TO {}", "public", role)
        _run(connection, "REVOKE ALL ON ALL TABLES IN SCHEMA {} FROM {}", "public", role)
        _run(connection, "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}", "public", role)
        _run(connection, "GRANT SELECT ON ALL SEQUENCES IN SCHEMA {} TO {}", "public", role)
        for right, table in _rights(kind):
            _run(connection, f"GRANT {right} ON {{}} TO {{}}", table, role)
    for sequence in inspect(connection).get_sequence_names():
        if roles.writer is not None:
            writer = str(addresses["writer"].username)
            _run(connection, "GRANT USAGE ON SEQUENCE {} TO {}", sequence, writer)


def _rights(kind: str) -> Iterator[tuple[str, str]]:
    """Yield what a role may do beside reading, and where."""
    if kind == "backup":
        yield "INSERT", "events"
    if kind != "writer":
        return
    for table in Table.metadata.tables:
        yield "INSERT", table
        if table in CHANGED:
            yield "UPDATE", table
        if table in TAKEN_OUT:
            yield "DELETE", table


def _make(connection: Connection, role: str, password: Any) -> None:
    """Make a role that is not there; its password reaches the server's log as a digest at most."""
    if connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :r"), {"r": role}).first():
        return
    driver: Any = connection.connection.driver_connection
    word: sql.Composable = sql.SQL("")
    if password is not None:
        digest = driver.pgconn.encrypt_password(str(password).encode(), role.encode(), b"scram-sha-256")
        word = sql.SQL(" PASSWORD {}").format(sql.Literal(digest.decode()))
    driver.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)) + word)


def _run(connection: Connection, statement: str, *names: str) -> None:
    driver: Any = connection.connection.driver_connection
    driver.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
