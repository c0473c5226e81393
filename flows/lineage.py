"""Which releases learnt from a patient, and which were tuned from those."""

from __future__ import annotations

from flows.gate.trial import CANDIDATE_CALIBRATED, CANDIDATE_TRAINED, CANDIDATE_TUNED
from services.records.port import Records
from services.releases.store import ReleaseStore

LEARNT_FROM = (CANDIDATE_TUNED, CANDIDATE_TRAINED, CANDIDATE_CALIBRATED)
"""Events that name a release and the patients it learnt from or was calibrated on."""


def learnt_from(patient: str, records: Records) -> set[int]:
    """Return the releases that learnt from a patient or were calibrated on it."""
    return {
        int(event.payload["release"])
        for kind in LEARNT_FROM
        for event in records.events(kind)
        if patient in event.payload["patients"]
    }


def tuned_from(learnt: set[int], releases: ReleaseStore) -> list[int]:
    """Return the releases that come of these and did not learn the same themselves."""
    inherited: set[int] = set()
    for number in sorted(releases.numbers()):
        parent = releases.release(number).parent
        if number not in learnt and parent is not None and parent in learnt | inherited:
            inherited.add(number)
    return sorted(inherited)
