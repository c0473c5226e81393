"""Who saved what in the viewer, by a proven name: put on record as the archive takes it in."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from models.people import Person
from models.uids import SopUid, StudyUid
from services.records.entries.arrivals import ArrivalState
from services.records.events.corrections import SavedInViewer, SaverProven
from services.records.events.event import Recorded
from services.records.port import Log, Records


def note_saver(
    sop_instance_uid: SopUid, study_uid: StudyUid | None, person: Person, records: Records
) -> None:
    """Put on record that a person saved an object; told again, nothing.

    Another person who saves the same object is put on record behind the first: it has two then. What was read
    before anybody was known is ingested again.

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
            return ingest_under_its_saver(sop_instance_uid, records)


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


def ingest_under_its_saver(sop_instance_uid: SopUid, records: Records) -> None:
    """Have a save ingested again that was read before it was known whose it is; of others nothing happens.

    The pages note a saver when the archive has the object already, and the watch may be faster. So this is
    asked by whoever comes second: when a saver is noted, and when a save was read.

    Parameters
    ----------
    sop_instance_uid
        Of the save.
    records
        Who saved it, and what was made of it; the event bears the proof of the saver's name.

    Raises
    ------
    StorageFailed
        If the records cannot be reached or written.
    """
    saver = saver_of(sop_instance_uid, records)
    versions = () if saver is None else records.corrections(sop_instance_uid=sop_instance_uid)
    if saver is None or not versions or versions[-1].withdrawn or versions[-1].reader == saver.name:
        return
    key = SaverProven.key(sop_instance_uid, saver.issuer, saver.subject)
    while records.last(SaverProven, key=key) is None:
        arrival = records.arrival(sop_instance_uid)
        if arrival is None or arrival.state is not ArrivalState.INGESTED:
            return
        event = SaverProven(sop_instance_uid=sop_instance_uid, study_uid=arrival.study_uid)
        again = replace(arrival, state=ArrivalState.WAITING, code="", detail="", run="", touched=True)
        records.signed(saver).change_arrival(arrival, again, event=event, key=key, who=saver.name)


def is_by(told: Recorded[SavedInViewer], person: Person) -> bool:
    """Tell whether it is this person's, whatever the name was then."""
    proof = told.proof
    return proof is not None and (proof.subject, proof.issuer) == (person.subject, person.issuer)
