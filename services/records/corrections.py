"""What readers corrected and accepted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, fields, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.corrections.ledger import OrganLedger, OrganState, origin_of
from models.corrections.opinions import Seen
from models.documents import from_json, to_json
from models.errors import Refused
from models.uids import SeriesUid, SopUid, StudyUid
from models.words import storable
from services.records.entries.corrections import Agreement, Answer, Correction, OpenQuestion
from services.records.events.corrections import (
    AgreementMeasured,
    CorrectionRecorded,
    CorrectionWithdrawn,
    OrgansAccepted,
)
from services.records.guarded import RowKey
from services.records.saves import places_of
from services.records.settled import (
    DRAWN_ANEW,
    Word,
    accepted_in_viewer,
    findings_of,
    put_opinions,
    settle,
)
from services.records.tables import (
    AcceptanceRow,
    AgreementRow,
    CorrectionRow,
    ListedRow,
    OrganLedgerRow,
    WithdrawalRow,
)
from services.records.transactions import Transactions, insert_new

UNKNOWN_READER = "unknown"
"""Name in the events of whoever saved a SEG that names nobody."""


class SqlCorrections(Transactions):
    """What readers corrected and accepted."""

    def record_correction(self, correction: Correction) -> Correction:
        """Record a correction, its ledger and its questions; return it with its version."""
        correction = storable(correction)
        with self._transaction() as session:
            known = _corrections(session, sop_instance_uid=correction.sop_instance_uid)
            for one in known:
                if _as_told(one) == _as_told(correction):
                    return one
            version = 1 + max((one.version for one in known), default=0)
            new = replace(correction, version=version, recorded_at=self._now())
            said_by_records = ("arrived", "withdrawn")
            names = [one.name for one in fields(new) if one.name not in said_by_records]
            values = {name: getattr(new, name) for name in names}
            values |= {"questions": to_json(new.questions), "answers": to_json(new.answers)}
            organs: tuple[OrganLedger, ...] = values.pop("organs")
            row = CorrectionRow(**values)
            session.add(row)
            session.flush()
            for position, entry in enumerate(organs):
                origin = None if new.release is None else origin_of(entry.state, new.release)
                session.add(
                    OrganLedgerRow(correction_id=row.id, position=position, origin=origin, **asdict(entry))
                )
            event = CorrectionRecorded(
                sop_instance_uid=new.sop_instance_uid,
                version=version,
                study_uid=new.study_uid,
                status=new.status,
                edited=tuple(entry.organ for entry in organs if entry.state is OrganState.EDITED),
                questions=len(new.questions),
                answers=len(new.answers),
                supersedes=tuple(one.name for one in known),
            )
            changed: list[RowKey] = [(CorrectionRow, (row.id,))]
            changed += [(OrganLedgerRow, (row.id, entry.organ)) for entry in organs]
            self._add_event(session, event, new.reader or UNKNOWN_READER, changed=changed)
            settle(session, new.study_uid)
            return _corrections(session, sop_instance_uid=new.sop_instance_uid)[-1]

    def corrections(
        self, *, sop_instance_uid: SopUid | None = None, series_uid: SeriesUid | None = None
    ) -> tuple[Correction, ...]:
        """Return all corrections, or those of one object or CT series, in the order of record."""
        asked = {"sop_instance_uid": sop_instance_uid, "series_uid": series_uid}
        with self._transaction() as session:
            return _corrections(session, **{name: uid for name, uid in asked.items() if uid is not None})

    def withdraw(self, sop_instance_uid: SopUid, *, reader: str, reason: str) -> tuple[Correction, ...]:
        """Record that a correction is taken back, whatever version of it is on record."""
        reader, reason = storable((reader, reason))
        with self._transaction() as session:
            known = _corrections(session, sop_instance_uid=sop_instance_uid)
            if not known:
                raise Refused("unknown-correction", f"no correction {sop_instance_uid} is on record")
            fresh = [
                content
                for content in dict.fromkeys(one.content for one in known)
                if insert_new(
                    session,
                    WithdrawalRow,
                    sop_instance_uid=sop_instance_uid,
                    content=content,
                    reader=reader,
                    reason=reason,
                    withdrawn_at=self._now(),
                )
            ]
            if fresh:
                versions = tuple(one.version for one in known if one.content in fresh)
                event = CorrectionWithdrawn(
                    sop_instance_uid=sop_instance_uid, versions=versions, reason=reason
                )
                changed = [(WithdrawalRow, (sop_instance_uid, content)) for content in fresh]
                self._add_event(session, event, reader, changed=changed)
                settle(session, known[-1].study_uid)
            return tuple(replace(one, withdrawn=True) for one in known)

    def record_agreement(self, agreement: Agreement) -> None:
        """Record how far two readers agree."""
        with self._transaction() as session:
            if insert_new(session, AgreementRow, **asdict(agreement)):
                key = (agreement.first, agreement.second, agreement.organ)
                event = AgreementMeasured(**asdict(agreement))
                self._add_event(session, event, "ingest_correction", changed=[(AgreementRow, key)])

    def agreements(self) -> tuple[Agreement, ...]:
        """Return how far readers agree, wherever two have a word on the same organ."""
        order = (AgreementRow.first, AgreementRow.second, AgreementRow.organ)
        with self._transaction() as session:
            rows = session.scalars(select(AgreementRow).order_by(*order))
            return tuple(Agreement(row.first, row.second, row.organ, row.dsc) for row in rows)

    def record_acceptance(
        self,
        study_uid: StudyUid,
        series_uid: SeriesUid,
        release: int,
        organs: Collection[str],
        reader: str,
        *,
        result: str = "",
    ) -> None:
        """Record that a reader accepts these organs of a release's result on a CT series as they are."""
        reader = storable(reader)
        with self._transaction() as session:
            listed = session.get(ListedRow, study_uid)
            if result and (listed is None or listed.result != result):
                raise Refused("drawn-anew", DRAWN_ANEW)
            new = [
                organ
                for organ in organs
                if insert_new(
                    session,
                    AcceptanceRow,
                    study_uid=study_uid,
                    series_uid=series_uid,
                    release=release,
                    organ=organ,
                    reader=reader,
                    accepted_at=self._now(),
                )
            ]
            changed: list[RowKey] = [(AcceptanceRow, (series_uid, release, organ, reader)) for organ in new]
            said: list[str] = []
            if listed is not None and (listed.series_uid, listed.release) == (series_uid, release):
                said, rows = self._said_of_the_listed(session, listed, organs, reader)
                changed += rows
            if changed:
                told = tuple(organ for organ in dict.fromkeys(organs) if organ in {*new, *said})
                event = OrgansAccepted(
                    study_uid=study_uid, series_uid=series_uid, release=release, organs=told
                )
                self._add_event(session, event, reader, changed=changed)
                settle(session, study_uid)

    def _said_of_the_listed(
        self, session: Session, listed: ListedRow, organs: Collection[str], reader: str
    ) -> tuple[list[str], list[RowKey]]:
        """Write an acceptance as the reader's word on the listed result, where it is not that already."""
        proof = (self._person.subject, self._person.issuer) if self._person else ("", "")
        word = Word(reader, *proof, self._now())
        known = {one.organ for one in findings_of(session, listed.result)}
        stands = accepted_in_viewer(session, listed.result, word)
        said = [organ for organ in dict.fromkeys(organs) if organ in known - stands]
        return said, put_opinions(session, listed, said, word, seen=Seen.VIEWER)

    def accepted_organs(self, series_uid: SeriesUid, release: int) -> frozenset[str]:
        """Return the organs that readers accepted of a release's result on a CT series."""
        with self._transaction() as session:
            acts = select(AcceptanceRow.organ).filter_by(series_uid=series_uid, release=release)
            return frozenset(session.scalars(acts))


def _as_told(correction: Correction) -> Correction:
    """Return a correction without what the records themselves say of it, and what is only shown."""
    return replace(correction, version=1, withdrawn=False, saved_at=None)


def _corrections(session: Session, **of: str) -> tuple[Correction, ...]:
    rows = session.scalars(select(CorrectionRow).filter_by(**of).order_by(CorrectionRow.id)).all()
    entries: dict[int, list[OrganLedgerRow]] = {row.id: [] for row in rows}
    of_these = (
        select(OrganLedgerRow)
        .join(CorrectionRow, CorrectionRow.id == OrganLedgerRow.correction_id)
        .filter_by(**of)
    )
    for entry in session.scalars(of_these.order_by(OrganLedgerRow.position)):
        entries[entry.correction_id].append(entry)
    acts = session.execute(select(WithdrawalRow.sop_instance_uid, WithdrawalRow.content))
    withdrawn = {(uid, content) for uid, content in acts}
    arrived = places_of(session, rows)
    return tuple(
        _correction(row, entries[row.id], content in withdrawn, arrived.get(content))
        for row in rows
        for content in [(row.sop_instance_uid, row.content)]
    )


def _correction(
    row: CorrectionRow, entries: Iterable[OrganLedgerRow], withdrawn: bool, arrived: int | None
) -> Correction:
    names = [one.name for one in fields(OrganLedger) if one.name != "state"]
    organs = tuple(
        OrganLedger(state=OrganState(entry.state), **{name: getattr(entry, name) for name in names})
        for entry in entries
    )
    said = ("organs", "questions", "answers", "withdrawn", "arrived")
    values = {one.name: getattr(row, one.name) for one in fields(Correction) if one.name not in said}
    return Correction(
        organs=organs,
        questions=tuple(from_json(OpenQuestion, one) for one in row.questions),
        answers=tuple(from_json(Answer, one) for one in row.answers),
        withdrawn=withdrawn,
        arrived=arrived,
        **values,
    )
