"""How far each release has come, and which one serves."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from models.errors import Refused
from services.records.port import ReleaseState
from services.records.tables import IncumbentRow, ReleaseRow
from services.records.transactions import Transactions, insert_new


class SqlReleases(Transactions):
    """How far each release has come, and which one serves."""

    def record_release(self, number: int, digest: str, state: ReleaseState) -> None:
        """Record a release, or how far it has come."""
        with self._transaction() as session:
            new = insert_new(session, ReleaseRow, number=number, digest=digest, state=state)
            row = session.get_one(ReleaseRow, number)
            if row.digest != digest:
                raise ValueError(f"release {number} is on record with digest {row.digest}, not {digest}")
            if new or row.state != state:
                row.state = state
                payload = {"release": number, "digest": digest, "state": state}
                self._add_event(session, "release-state", "records", payload)

    def release_states(self) -> dict[int, ReleaseState]:
        """Return the state of every release on record, by number."""
        with self._transaction() as session:
            rows = session.scalars(select(ReleaseRow).order_by(ReleaseRow.number))
            return {row.number: ReleaseState(row.state) for row in rows}

    def incumbent(self) -> int | None:
        """Return the number of the release that serves; None before the first."""
        with self._transaction() as session:
            return session.scalars(select(IncumbentRow.release)).one_or_none()

    def set_incumbent(
        self,
        release: int,
        *,
        approver: str,
        reason: str,
        replacing: int | None = None,
        act: str = "promotion",
    ) -> None:
        """Make a release the incumbent, in one transaction with its event."""
        values: dict[str, Any] = {
            "release": release,
            "approver": approver,
            "reason": reason,
            "since": self._now(),
        }
        with self._transaction() as session:
            first = insert_new(session, IncumbentRow, id=1, **values)
            row = session.get_one(IncumbentRow, 1, with_for_update=True)
            before = None if first else row.release
            if before == release:
                return
            if replacing is not None and before != replacing:
                raise Refused("incumbent-changed", f"release {before} serves by now, not {replacing}")
            session.execute(update(IncumbentRow).values(**values))
            payload = {"from": before, "to": release, "reason": reason, "act": act}
            self._add_event(session, "incumbent-changed", approver, payload)
