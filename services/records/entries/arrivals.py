"""What came to the archive, and when it was watched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from models.uids import SopUid, StudyUid


class ArrivalState(StrEnum):
    """How far what came has come."""

    WAITING = "waiting"
    """Not complete yet, or not submitted yet; the code says why."""
    SUBMITTED = "submitted"
    SEGMENTED = "segmented"
    """Results are in the archive."""
    MADE = "made"
    """Results were made while the site was silent: they are kept here, and were not sent."""
    INGESTED = "ingested"
    """A SEG of a reader's was read; the code says what came of it, empty if an earlier version read it."""
    REFUSED = "refused"
    """On the data: a study until new images come, a SEG until a person settles it."""
    FAILED = "failed"
    """As often as it is tried."""
    IGNORED = "ignored"
    """Nothing for us."""
    GONE = "gone"
    """No longer in the archive."""


ANSWERED = (ArrivalState.SEGMENTED, ArrivalState.MADE)
"""Results of its version were made, wherever they are."""


@dataclass(frozen=True)
class Watch:
    """The last time that the archive was watched.

    Parameters
    ----------
    at
        When.
    trouble
        Why what came could not be taken in then; empty where it was.
    """

    at: datetime
    trouble: str = ""


@dataclass(frozen=True)
class Arrival:
    """A study that came, or a SEG that is not ours, and how far it has come.

    Parameters
    ----------
    uid
        StudyInstanceUID, or the SEG's SOP Instance UID.
    study_uid
        StudyInstanceUID.
    state
        How far it has come.
    version
        Digest of the SOP Instance UIDs of the study's CT images as last looked at; empty before.
    instances
        How many instances that are not ours the archive held then.
    urgent
        Whether it goes first.
    attempts
        How many runs of this version failed by themselves.
    interrupted
        How many were cut short by what was not this study's fault, or ended without a word.
    run
        The last flow run; empty before.
    code, detail
        Why it waits, was refused, failed, is ignored or was not sent; of a SEG, what `ingest` said of it.
    patient
        HMAC of the patient under whom results were stored in the archive; empty before.
    touched
        Whether something came since it was last looked at.
    came_at, changed_at
        When it was first heard of, and when more of it changed last than `touched`; set by the records.
    revision
        Counts the changes; set by the records.
    """

    uid: StudyUid | SopUid
    study_uid: StudyUid
    state: ArrivalState = ArrivalState.WAITING
    version: str = ""
    instances: int = 0
    urgent: bool = False
    attempts: int = 0
    interrupted: int = 0
    run: str = ""
    code: str = ""
    detail: str = ""
    patient: str = ""
    touched: bool = True
    came_at: datetime | None = None
    changed_at: datetime | None = None
    revision: int = 0

    @property
    def is_study(self) -> bool:
        """Whether it is a study, and not a SEG of one."""
        return self.uid == self.study_uid
