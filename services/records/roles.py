"""Who may do what in PostgreSQL: an owner who changes the schema, and roles that work with what there is.

The writer adds to what teaches, and changes or takes out only what says how far the work has come. The reader
reads. The backup reads, and adds that it was taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

from models.errors import StorageFailed
from services.records.database import connect, upgrade
from services.records.tables import Table
from services.records.transactions import as_storage_failure

CHANGED = frozenset(
    {"arrivals", "feed", "incumbent", "leases", "reading_times", "releases", "watch", "witnesses", "worklist"}
)
"""Tables in which the writer changes rows."""
TAKEN_OUT = frozenset({"cases", "findings", "opinions", "patients", "reading_times", "worklist"})
"""Tables from which the writer takes rows: a patient who is erased."""
OURS = (*Table.metadata.tables, "alembic_version")
"""The project's tables; others may lie beside them."""


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
    cannot sign in with its address is given the password of it. Nobody else may connect to the database any
    more whom its owner has not named (``GRANT CONNECT``); tables of others are left as they are.

    Parameters
    ----------
    owner
        Address of the records with the owner's name and password.
    roles
        Who is to work there.

    Raises
    ------
    StorageFailed
        If the database cannot be reached or changed; if a role is the owner's own, or not on PostgreSQL; or
        if a role cannot sign in and the owner may not change that.
    """
    engine = connect(owner)
    try:
        with as_storage_failure():
            upgrade(engine)
            if engine.dialect.name != "postgresql":
                raise StorageFailed("ORGANLOOP_DATABASE_OWNER_URL is for PostgreSQL: SQLite knows no roles")
            addresses = _addresses(make_url(owner), roles)
            with engine.begin() as connection:
                _give_rights(connection, addresses)
            for address in addresses.values():
                _let_in(engine, address)
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


def _addresses(owner: URL, roles: Roles) -> dict[str, URL]:
    named = {"writer": roles.writer, "reader": roles.reader, "backup": roles.backup}
    addresses = {kind: make_url(url) for kind, url in named.items() if url is not None}
    names = [str(address.username) for address in addresses.values()]
    if owner.username in names or len(set(names)) < len(names):
        raise StorageFailed(f"each role of the records needs a name of its own, none the owner's: {names}")
    return addresses


def _give_rights(connection: Connection, addresses: Mapping[str, URL]) -> None:
    """Give rights on the project's own tables; what else lies in the schema is not ours to give."""
    database = str(connection.engine.url.database)
    schema = str(connection.execute(text("SELECT current_schema()")).scalar_one())
    _run(connection, "REVOKE CONNECT ON DATABASE {} FROM PUBLIC", database)
    _run(connection, "REVOKE CREATE ON SCHEMA {} FROM PUBLIC", schema)
    sequences = _sequences(connection)
    for kind, address in addresses.items():
        role = str(address.username)
        _make(connection, role, address.password)
        _run(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, role)
        _run(connection, "GRANT USAGE ON SCHEMA {} TO {}", schema, role)
        for table in OURS:
            _run(connection, "REVOKE ALL ON TABLE {} FROM {}", table, role)
            _run(connection, "GRANT SELECT ON TABLE {} TO {}", table, role)
        for right, table in _rights(kind):
            _run(connection, f"GRANT {right} ON TABLE {{}} TO {{}}", table, role)
        may = "SELECT, USAGE" if kind == "writer" else "SELECT"
        for sequence in sequences:
            _run(connection, f"GRANT {may} ON SEQUENCE {{}} TO {{}}", sequence, role)


def _sequences(connection: Connection) -> Sequence[str]:
    """Return the names of the sequences that number the project's rows."""
    asked = (
        "SELECT relname FROM pg_class WHERE oid IN (SELECT pg_get_serial_sequence("
        "format('%I.%I', table_schema, table_name), column_name)::regclass "
        "FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ANY(:ours))"
    )
    return connection.execute(text(asked), {"ours": list(OURS)}).scalars().all()


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


def _make(connection: Connection, role: str, password: str | None) -> None:
    """Make a role that is not there."""
    if not connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :r"), {"r": role}).first():
        _with_password(connection, "CREATE ROLE {} LOGIN", role, password)


def _let_in(owner: Engine, address: URL) -> None:
    """See that a role can sign in with its address: where that was made anew, its password is too."""
    refused = _refusal(address)
    if refused is None:
        return
    role = str(address.username)
    if address.password is not None:
        try:
            with owner.begin() as connection:
                _with_password(connection, "ALTER ROLE {}", role, address.password)
            refused = _refusal(address)
        except DBAPIError as error:
            refused = f"{refused}; {error.orig}"
    if refused is not None:
        raise StorageFailed(
            f"the role {role} cannot sign in with its address ({refused}): give it the password there with "
            f"ALTER ROLE {role} PASSWORD"
        )


def _refusal(address: URL) -> str | None:
    """Return why nobody can sign in with an address; None where it lets in."""
    engine = connect(address.render_as_string(hide_password=False))
    try:
        engine.connect().close()
    except DBAPIError as error:
        return str(error.orig).strip()
    finally:
        engine.dispose()
    return None


def _with_password(connection: Connection, statement: str, role: str, password: str | None) -> None:
    """Make or change a role; its password reaches the server's log as a digest at most."""
    if password is None:
        _run(connection, statement, role)
        return
    driver: Any = connection.connection.driver_connection
    digest = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    _execute(connection, _named(statement, role) + sql.SQL(" PASSWORD {}").format(digest.decode()))


def _run(connection: Connection, statement: str, *names: str) -> None:
    _execute(connection, _named(statement, *names))


def _named(statement: str, *names: str) -> sql.Composed:
    return sql.SQL(statement).format(*map(sql.Identifier, names))


def _execute(connection: Connection, statement: sql.Composed) -> None:
    """Run a statement as it is: there may be percent signs in a name."""
    driver: Any = connection.connection.driver_connection
    connection.exec_driver_sql(statement.as_string(driver), execution_options={"no_parameters": True})
