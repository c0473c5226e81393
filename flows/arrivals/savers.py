"""Who saved what in the viewer, by a proven name: put on record as the archive takes it in."""

from __future__ import annotations

from itertools import count

from models.people import Person
from models.uids import SopUid, StudyUid
from services.records.events.corrections import SavedInViewer
from services.records.events.event import Recorded
from services.records.port import Log, Records


def note_saver(
    sop_instance_uid: SopUid, study_uid: StudyUid | None, person: Person, records: Records
) -> None:
    """Put on record that a person saved an object; told again, nothing.

    Another person who saves the same object is put on record behind the first: it has two then.

    Raises
    ------
    StorageFailed
        If the records cannot be reached or written.
    """
    signed = records.signed(person)
    said = SavedInViewer(sop_instance_uid=sop_instance_uid, study_uid=study_uid)
    for number in count(1):
        key = SavedInViewer.key(sop_instance_uid, number)
        signed.record(said, who=person.name, key=key)  # what is there already stays
        told = records.last(SavedInViewer, key=key)
        if told is not None and is_by(told, person):
            return


def savers_of(sop_instance_uid: SopUid, log: Log) -> tuple[Recorded[SavedInViewer], ...]:
    """Return who saved an object in the viewer, each person once; found by an index.

    Raises
    ------
    StorageFailed
        If the records cannot be reached.
    """
    found: list[Recorded[SavedInViewer]] = []
    while (
        told := log.last(SavedInViewer, key=SavedInViewer.key(sop_instance_uid, len(found) + 1))
    ) is not None:
        found.append(told)
    return tuple(found)


def saver_of(sop_instance_uid: SopUid, log: Log) -> Person | None:
    """Return who saved an object; None where nobody has proven it, or two have and nobody knows whose it is.

    Raises
    ------
    StorageFailed
        If the records cannot be reached.
    """
    savers = savers_of(sop_instance_uid, log)
    if len(savers) != 1 or savers[0].proof is None:
        return None
    proof = savers[0].proof
    return Person(proof.subject, proof.issuer, savers[0].who)


def is_by(told: Recorded[SavedInViewer], person: Person) -> bool:
    """Tell whether it is this person's, whatever the name was then."""
    proof = told.proof
    return proof is not None and (proof.subject, proof.issuer) == (person.subject, person.issuer)
