"""In which order saves came: by the numbers of the log, and no clock."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.uids import SopUid, StudyUid
from services.records.events.arrivals import SavesArrived
from services.records.events.corrections import CorrectionRecorded
from services.records.log import fields_of
from services.records.tables import CorrectionRow
from services.records.transactions import Transactions

Content = tuple[SopUid, str]
"""SOP Instance UID of a save, and the digest of what was in it."""


class SqlSaves(Transactions):
    """In which order saves came."""

    def place_of_save(self, study_uid: StudyUid, sop_instance_uid: SopUid) -> int | None:
        """Return the number of the event that told of a save of the archive; None if none did."""
        with self._transaction() as session:
            return _told(session, [study_uid]).get(sop_instance_uid)

    def untold_saves(self, study_uid: StudyUid, sop_instance_uids: Collection[SopUid]) -> tuple[SopUid, ...]:
        """Return those of a study's saves of which nothing on record tells yet, in the order given."""
        with self._transaction() as session:
            known = _known(session, study_uid, sop_instance_uids)
            return tuple(uid for uid in sop_instance_uids if uid not in known)

    def note_saves(self, study_uid: StudyUid, in_order: Iterable[Collection[SopUid]]) -> None:
        """Put on record in which order saves of a study came; of what was told before nothing changes."""
        groups = [tuple(dict.fromkeys(group)) for group in in_order]
        with self._transaction() as session:
            known = _known(session, study_uid, [uid for group in groups for uid in group])
            for group in groups:
                new = tuple(uid for uid in group if uid not in known)
                known.update(new)
                if new:
                    self._add_event(session, SavesArrived(study_uid=study_uid, saves=new), "arrivals")


def places_of(session: Session, rows: Sequence[CorrectionRow]) -> dict[Content, int]:
    """Return when each content came: when it was put on record first, or told of before.

    What was told of is what an object held first; another content was put under its UID later.
    """
    if not rows:
        return {}
    studies = {row.study_uid for row in rows}
    told = _told(session, studies)
    versions = fields_of(session, CorrectionRecorded, ("sop_instance_uid", "version"), studies)
    recorded = {(uid, int(version)): number for number, uid, version in versions}
    places: dict[Content, int] = {}
    for row in rows:
        numbers = [recorded.get((row.sop_instance_uid, row.version))]
        numbers += [told.get(row.sop_instance_uid)] if row.version == 1 else []
        for number in numbers:
            if number is not None:
                content = (row.sop_instance_uid, row.content)
                places[content] = min(number, places.get(content, number))
    return places


def _told(session: Session, studies: Collection[StudyUid]) -> dict[SopUid, int]:
    """Return the numbers of the events that told of saves of the archive first."""
    found: dict[SopUid, int] = {}
    for number, saves in fields_of(session, SavesArrived, ("saves",), studies):
        for uid in json.loads(saves):
            found.setdefault(SopUid(uid), number)
    return found


def _known(session: Session, study_uid: StudyUid, asked: Collection[SopUid]) -> set[SopUid]:
    """Return the saves of a study that were told of, and those asked about that are on record."""
    recorded = select(CorrectionRow.sop_instance_uid).where(CorrectionRow.sop_instance_uid.in_(asked))
    return {*_told(session, [study_uid]), *session.scalars(recorded)}
