"""Homes that earlier versions of the program made, unpacked on a database: what an update finds at a site."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, create_engine, text
from typer.testing import CliRunner

from deploy.cli.main import app
from services.backup.dump import load
from services.settings import Settings
from tests.conftest import ROOT

ARCHIVES = sorted((ROOT / "tests" / "fixtures" / "homes").glob("*.tar.xz"))
"""One for each version that made a home, with the script that made it beside it."""

REVISION = "alembic_version"


def version_of(archive: Path) -> str:
    """Return which version made a home, and its commit: ``0.1.0-ae1539d``."""
    return archive.name.removesuffix(".tar.xz")


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack a home that was made by an earlier version; nobody changes what lies there."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True)
class EarlierHome:
    """A copy of such a home, its records in a database; nothing of this program has opened it yet.

    Parameters
    ----------
    made
        Where it was unpacked, see the script that made it.
    home
        The copy.
    database
        Address of the records where they are not in the home.
    triton_url
        Where a Triton serves the home's repository; None: nothing of what runs here may ask one.
    """

    made: Path
    home: Path
    database: str | None = None
    triton_url: str | None = None

    @classmethod
    def on(cls, made: Path, home: Path, database: str | None) -> EarlierHome:
        """Copy a home, and bring its records into an empty database; None: they stay in SQLite."""
        shutil.copytree(made / "home", home)  # copies, where the archive has links
        if database is not None:
            (home / "records.sqlite").unlink()
            [dump] = (made / "postgresql").glob("*/records.pgdump")
            load(database, dump)
        return cls(made, home, database)

    @cached_property
    def said(self) -> dict[str, Any]:
        """What the program that made it said of it."""
        document: dict[str, Any] = json.loads((self.made / "home.json").read_bytes())
        return document

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, database_url=self.database, triton_url=self.triton_url)

    @property
    def log(self) -> Path:
        """Its log as it was exported then."""
        return self.made / "log.jsonl"

    def studies_in(self, what: str) -> set[str]:
        """Return the studies that events of a kind speak of in that log."""
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        return {event["payload"]["study_uid"] for event in events if event["what"] == what}

    def ct(self, seed: int) -> Path:
        return self.made / "studies" / str(seed) / "ct"

    def backup(self) -> Path:
        """The backup that was taken of it."""
        [taken] = (self.made / ("postgresql" if self.database else "backup")).iterdir()
        return taken

    def organloop(self, *words: object, **variables: str) -> tuple[int, Any]:
        """Return the exit code and the document of a verb; its text where it has no JSON."""
        environment = {"ORGANLOOP_HOME": str(self.home), "ORGANLOOP_DATABASE_URL": self.database}
        environment |= {"ORGANLOOP_TRITON_URL": self.triton_url, "PREFECT_API_URL": None} | variables
        as_json = [] if words[0] == "metrics" else ["--json"]
        done = CliRunner().invoke(app, [*map(str, words), *as_json], env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if not as_json or done.exit_code == 2:
            return done.exit_code, done.output
        return done.exit_code, json.loads(done.stdout)


def columns_of(url: str) -> dict[str, list[str]]:
    """Return the columns of every table, without asking the program."""
    known, engine = MetaData(), create_engine(url)
    known.reflect(engine)
    engine.dispose()
    return {name: list(table.columns.keys()) for name, table in known.tables.items() if name != REVISION}


def rows_of(url: str, columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return what these columns hold, row by row, sorted, without asking the program."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            name: sorted(map(repr, connection.execute(text(f"SELECT {', '.join(wanted)} FROM {name}")).all()))
            for name, wanted in columns.items()
        }
    engine.dispose()
    return found


def files_of(home: Path) -> dict[str, bytes]:
    """Return every file of a home but the records."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.startswith("records.")
    }
