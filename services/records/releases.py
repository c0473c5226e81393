"""How far each release has come, and which one serves."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from models.errors import Refused
from models.words import storable
from services.records.entries.releases import ReleaseState
from services.records.events.serving import IncumbentChanged, ReleaseStateChanged
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
            if row.state == ReleaseState.DECLINED:
                return  # final
            if new or row.state != state:
                row.state = state
                changed = ReleaseStateChanged(release=number, digest=digest, state=state)
                self._add_event(session, changed, "records", changed=[(ReleaseRow, (number,))])

    def decline(self, release: int, digest: str, *, approver: str, reason: str) -> None:
        """Record that a person has decided against a candidate: it can never serve."""
        with self._transaction() as session:
            insert_new(session, ReleaseRow, number=release, digest=digest, state=ReleaseState.CANDIDATE)
            row = session.get_one(ReleaseRow, release)
            if row.digest != digest:
                raise ValueError(f"release {release} is on record with digest {row.digest}, not {digest}")
            if row.state == ReleaseState.DECLINED:
                return
            if session.scalars(select(IncumbentRow.release)).one_or_none() == release:
                raise Refused("is-incumbent", f"release {release} serves: `organloop rollback` takes it back")
            if row.state == ReleaseState.PROMOTED:
                raise Refused("was-incumbent", f"release {release} has served; it cannot be undone")
            row.state = ReleaseState.DECLINED
            changed = ReleaseStateChanged(release=release, digest=digest, state=row.state, reason=reason)
            self._add_event(session, changed, approver, changed=[(ReleaseRow, (release,))])

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
        approver, reason = storable((approver, reason))
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
            known = session.get(ReleaseRow, release)
            if known is not None and known.state == ReleaseState.DECLINED:
                raise Refused("declined", f"a person has decided against release {release}")
            session.execute(update(IncumbentRow).values(**values))
            changed = IncumbentChanged(before=before, after=release, reason=reason, act=act)
            self._add_event(session, changed, approver, changed=[(IncumbentRow, (1,))])
