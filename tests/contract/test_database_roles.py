"""Roles in a real PostgreSQL: the owner migrates, the writer adds, the reader reads, and nobody rewrites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from deploy.doctor.finding import State
from deploy.doctor.roles import role
from deploy.preparation import bring_up
from models.errors import StorageFailed
from models.release import sha256_hex
from services.backup.backup import restore, take
from services.metrics.exposition import RecordsCollector
from services.records.guarded import GUARDED
from services.records.roles import CHANGED, TAKEN_OUT
from services.records.store import open_records
from services.records.tables import Table
from services.releases.store import ReleaseStore
from services.settings import Settings
from tests.contract.test_rows_sealed import fill
from tests.support.log import lines
from tests.support.postgresql import new_database, postgresql_at_work
from tests.support.tiny_networks import publish_tiny

HOW_TO_REWRITE = (
    "UPDATE events SET who = 'nobody'",
    "DELETE FROM events",
    "TRUNCATE events",
    "ALTER TABLE events DISABLE TRIGGER ALL",
    "DROP TRIGGER events_append_only ON events",
    "CREATE OR REPLACE FUNCTION refuse_event_change() RETURNS trigger LANGUAGE plpgsql "
    "AS 'BEGIN RETURN NEW; END'",
    "DROP TABLE events CASCADE",
    "ALTER TABLE events RENAME TO others",
    "SET session_replication_role = replica",
    "CREATE TABLE others (a int)",
)


@dataclass(frozen=True)
class Site:
    """A database with its roles, brought up, and addresses by role."""

    owner: str
    settings: Settings

    def url(self, name: str) -> str:
        return make_url(self.owner).set(username=name).render_as_string(hide_password=False)

    def does(self, name: str, *statements: str) -> None:
        run(self.url(name), *statements)


def run(url: str, *statements: str) -> None:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def site(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site that the tests leave as it is."""
    return brought_up(postgresql, tmp_path_factory.mktemp("site"))


@pytest.fixture
def own_site(postgresql: str, tmp_path: Path) -> Site:
    """A site of the test's own."""
    return brought_up(postgresql, tmp_path)


def brought_up(postgresql: str, folder: Path, *before: str) -> Site:
    """Bring up a database of one's own, in which the owner has run some statements before."""
    owner = new_database(postgresql, f"roles_{sha256_hex(str(folder).encode())[:16]}")
    for statement in before:
        run(owner, statement)
    settings = settings_of(owner, folder / "home")
    bring_up(settings, lambda _: None)
    bring_up(settings, lambda _: None)  # told again, nothing changes
    with closing(open_records(settings.records_url)) as records:
        fill(records)
    return Site(owner, settings)


def settings_of(owner: str, home: Path, password: str = "word") -> Settings:
    urls = {
        kind: make_url(owner).set(username=f"{kind}_role", password=password)
        for kind in ("writer", "reader", "backup")
    }
    shown = {kind: url.render_as_string(hide_password=False) for kind, url in urls.items()}
    return Settings(
        home=home,
        database_url=shown["writer"],
        database_owner_url=SecretStr(owner),
        database_reader_url=SecretStr(shown["reader"]),
        database_backup_url=SecretStr(shown["backup"]),
    )


@pytest.mark.parametrize("name", ["writer_role", "reader_role", "backup_role"])
@pytest.mark.parametrize("statement", HOW_TO_REWRITE)
def test_none_but_the_owner_can_rewrite_the_log(site: Site, name: str, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        site.does(name, statement)


@pytest.mark.parametrize("table", [one.__tablename__ for one in GUARDED])
def test_the_writer_only_adds_to_what_teaches(site: Site, table: str) -> None:
    column = next(iter(Table.metadata.tables[table].columns)).name
    for may, statement in (
        (table in CHANGED, f"UPDATE {table} SET {column} = {column}"),
        (table in TAKEN_OUT, f"DELETE FROM {table} WHERE false"),
        (False, f"TRUNCATE {table}"),
    ):
        if may:
            site.does("writer_role", statement)
        else:
            with pytest.raises(DBAPIError, match="permission denied"):
                site.does("writer_role", statement)


@pytest.mark.parametrize("table", sorted(Table.metadata.tables))
@pytest.mark.parametrize("name", ["reader_role", "backup_role"])
def test_the_reader_and_the_backup_read_and_write_nothing(site: Site, name: str, table: str) -> None:
    site.does(name, f"SELECT * FROM {table}")
    column = next(iter(Table.metadata.tables[table].columns)).name
    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(DBAPIError, match="permission denied"):
            site.does(name, statement)


def test_a_role_is_made_with_its_password_and_a_stranger_may_not_even_connect(site: Site) -> None:
    site.does("organloop", "DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN")
    with pytest.raises(DBAPIError, match="permission denied for database"):
        site.does("stranger", "SELECT 1")
    engine = create_engine(site.owner)
    with engine.connect() as connection:
        asked = "SELECT rolpassword FROM pg_authid WHERE rolname = 'writer_role'"
        assert str(connection.execute(text(asked)).scalar_one()).startswith("SCRAM-SHA-256$")
    engine.dispose()


def test_metrics_are_made_as_the_reader_and_its_records_take_nothing_in(site: Site) -> None:
    with closing(open_records(site.url("reader_role"))) as records:
        assert list(RecordsCollector(records, (), ()).collect())
        with pytest.raises(StorageFailed, match="permission denied"):
            records.set_incumbent(9, approver="Dr B", reason="as a reader")


def test_a_backup_is_taken_by_its_role_and_restored_by_the_owner(own_site: Site, tmp_path: Path) -> None:
    settings = own_site.settings
    publish_tiny(ReleaseStore(settings.release_store), 1, {"liver": 1})
    kept = settings.case_store / "gate-1" / "volume"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"v")
    by_backup = settings.model_copy(update={"database_url": own_site.url("backup_role")})
    taken = take(by_backup, tmp_path / "backups", lambda _: None)
    own_site.does("organloop", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    again = settings.model_copy(update={"home": tmp_path / "again"})
    restore(again, taken.path, lambda _: None)
    bring_up(again, lambda _: None)
    with closing(open_records(again.records_url)) as records:
        assert records.incumbent() == 1
        records.set_incumbent(2, approver="Dr B", reason="after the restore")
        assert len(lines(records, "incumbent-changed")) == 2


def test_a_writer_before_the_owner_is_told_what_to_do(own_site: Site) -> None:
    later = "witnesses, worklist, findings, opinions, reading_times"
    own_site.does(
        "organloop",
        "UPDATE alembic_version SET version_num = '0007'",
        f"DROP TABLE {later}",
        "DROP INDEX ix_arrivals_code, ix_events_who, ix_events_at",
        "DROP INDEX ix_events_of_release, ix_events_of_study",
    )
    with pytest.raises(StorageFailed, match=r"writer_role may not change them: run `organloop prepare`"):
        open_records(own_site.settings.records_url)
    bring_up(own_site.settings, lambda _: None)
    open_records(own_site.settings.records_url).close()


def test_tables_of_others_in_a_schema_of_any_name_are_given_to_no_role(
    postgresql: str, tmp_path: Path
) -> None:
    site = brought_up(
        postgresql,
        tmp_path,
        "CREATE SCHEMA clinic",
        "DO $$ BEGIN "
        "EXECUTE format('ALTER DATABASE %I SET search_path = clinic', current_database()); END $$",
        "CREATE TABLE clinic.of_others (number serial)",
    )
    for role_name in ("writer_role", "reader_role", "backup_role"):
        site.does(role_name, "SELECT * FROM clinic.events")
        for statement in ("SELECT * FROM of_others", "SELECT last_value FROM of_others_number_seq"):
            with pytest.raises(DBAPIError, match="permission denied"):
                site.does(role_name, statement)


@pytest.fixture(scope="module")
def asks_for_passwords() -> Iterator[str]:
    """A server that lets in two owners as they are, and all others by their passwords."""
    with postgresql_at_work("local all organloop,plain trust\nlocal all all scram-sha-256\n") as server:
        run(server % "postgres", "CREATE ROLE plain LOGIN")
        yield server


def test_a_password_that_was_made_anew_is_given_to_its_role(asks_for_passwords: str, tmp_path: Path) -> None:
    site = brought_up(asks_for_passwords, tmp_path)
    anew = settings_of(site.owner, site.settings.home, "made anew: 'ä\"")
    bring_up(anew, lambda _: None)
    run(anew.records_url, "SELECT * FROM events")
    for url in (anew.database_reader_url, anew.database_backup_url):
        assert url is not None
        run(url.get_secret_value(), "SELECT * FROM events")
    with pytest.raises(StorageFailed, match="password authentication failed"):
        open_records(site.settings.records_url)


def test_who_may_not_change_a_password_is_told_whose_does_not_fit(
    asks_for_passwords: str, tmp_path: Path
) -> None:
    site = brought_up(asks_for_passwords, tmp_path)
    own = f"roles_{sha256_hex(str(tmp_path).encode())[:16]}"
    site.does("organloop", "GRANT organloop TO plain", f"ALTER DATABASE {own} OWNER TO plain")
    plain = {"database_owner_url": SecretStr(site.url("plain"))}
    bring_up(site.settings.model_copy(update=plain), lambda _: None)
    another = settings_of(site.owner, site.settings.home, "another")
    with pytest.raises(StorageFailed, match=r"the role writer_role cannot sign in .* ALTER ROLE writer_role"):
        bring_up(another.model_copy(update=plain), lambda _: None)


def test_one_name_for_two_roles_is_refused(site: Site) -> None:
    with pytest.raises(StorageFailed, match="a name of its own"):
        bring_up(site.settings.model_copy(update={"database_url": site.owner}), lambda _: None)


@pytest.mark.parametrize(("clinical", "state"), [(True, State.BAD), (False, State.WARNING)])
def test_the_doctor_says_whether_who_works_here_owns_the_log(
    site: Site, clinical: bool, state: State
) -> None:
    [found] = role(site.owner, clinical=clinical)
    assert (found.state, bool(found.remedy)) == (state, True)
    [found] = role(site.settings.records_url, clinical=clinical)
    assert found.state is State.GOOD
