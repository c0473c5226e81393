"""The records in a SQL database."""

from __future__ import annotations

from services.records.arrivals import SqlArrivals
from services.records.cases import SqlCases
from services.records.corrections import SqlCorrections
from services.records.database import connect, upgrade
from services.records.leases import SqlLeases
from services.records.log import SqlLog
from services.records.reading import SqlReading
from services.records.releases import SqlReleases
from services.records.results import SqlResults
from services.records.saves import SqlSaves
from services.records.seals import SqlSeals
from services.records.searching import SqlSearching
from services.records.transactions import Clock, as_storage_failure, local_now
from services.records.witnessed import SqlWitnessed


class SqlRecords(
    SqlResults,
    SqlReading,
    SqlCorrections,
    SqlSaves,
    SqlReleases,
    SqlCases,
    SqlArrivals,
    SqlLeases,
    SqlLog,
    SqlSearching,
    SqlSeals,
    SqlWitnessed,
):
    """The port `services.records.port.Records` on SQLite or PostgreSQL; one part a file."""

    def close(self) -> None:
        """Let go of the database's connections."""
        self._engine.dispose()


def open_records(url: str, clock: Clock = local_now) -> SqlRecords:
    """Open the records at a SQLAlchemy address, their schema brought up to date.

    Raises
    ------
    StorageFailed
        If the database cannot be reached or written, or holds what only a newer program can work with.
    """
    engine = connect(url)
    try:
        with as_storage_failure():
            upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlRecords(engine, clock)
