"""Leases: who may do a thing now, and the token by which whoever was followed is told apart."""

from __future__ import annotations

from typing import Self

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from models.errors import LeaseLost
from services.records.entries.leases import Lease
from services.records.tables import LeaseRow
from services.records.transactions import Transactions

FREE = ""
"""Holder of a lease that was given back."""

_CLOCKS = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}
"""The database's clock, in milliseconds since 1970: nodes need not agree on the time."""


class SqlLeases(Transactions):
    """Who may do a thing now."""

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease that is free, has run out or is this holder's; None while it is another's."""
        with self._transaction() as session:
            row = session.get(LeaseRow, name)
            if row is not None and row.holder not in (FREE, holder) and _holds(session, row, seconds):
                return None
            return _give(session, row, name, holder, seconds)

    def take_over(self, name: str, holder: str, seconds: float) -> Lease:
        """Take a lease whoever holds it."""
        with self._transaction() as session:
            return _give(session, session.get(LeaseRow, name), name, holder, seconds)

    def renew(self, lease: Lease, seconds: float) -> None:
        """Hold a lease for so long from now."""
        with self._transaction() as session:
            require(session, lease).expires_at = _until(session, seconds)

    def release(self, lease: Lease) -> None:
        """Give a lease back; one that another has taken stays the other's."""
        with self._transaction() as session:
            row = _held(session, lease)
            if row is not None:
                row.holder, row.expires_at = FREE, 0

    def fenced(self, lease: Lease) -> Self:
        """Return these records, every transaction of which first makes sure that nobody took the lease."""
        return type(self)(self._engine, self._now, lambda session: require(session, lease), self._person)


def require(session: Session, lease: Lease) -> LeaseRow:
    """Return the row of a lease that nobody has taken since.

    Transactions follow one another, so it holds to the end of this one. A lease that has run out holds until
    somebody takes it: no clock decides.

    Raises
    ------
    LeaseLost
        If another has it, or it was given back.
    """
    row = _held(session, lease)
    if row is None:
        raise LeaseLost(f"another has taken over {lease.name}: nothing more is put on record here")
    return row


def _held(session: Session, lease: Lease) -> LeaseRow | None:
    wanted = select(LeaseRow).filter_by(name=lease.name, holder=lease.holder, token=lease.token)
    return session.scalars(wanted).one_or_none()


def _holds(session: Session, row: LeaseRow, seconds: float) -> bool:
    """Tell whether a lease runs yet; one that runs for longer than anybody gets it is of a wrong clock.

    The clock was ahead and was set right: nobody would get the lease until it is that late again.
    """
    return _now(session) < row.expires_at <= _until(session, seconds)


def _give(session: Session, row: LeaseRow | None, name: str, holder: str, seconds: float) -> Lease:
    """Give out the next token; a row stays for ever, so that no token comes again."""
    if not holder:
        raise ValueError("a lease needs a holder")
    if row is None:
        row = LeaseRow(name=name, token=0)
        session.add(row)
    row.holder, row.token, row.expires_at = holder, row.token + 1, _until(session, seconds)
    return Lease(name, holder, row.token)


def _until(session: Session, seconds: float) -> int:
    with session.no_autoflush:
        return _now(session) + round(seconds * 1000)


def _now(session: Session) -> int:
    return int(session.execute(text(_CLOCKS[session.get_bind().dialect.name])).scalar_one())
