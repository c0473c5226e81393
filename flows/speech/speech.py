"""Whether results are sent to the archive: an act with a name and a reason, and silence until then."""

from __future__ import annotations

from dataclasses import dataclass

from flows.acts import Act, require_name, require_same_act
from services.records.entries.arrivals import ArrivalState
from services.records.events.event import Recorded
from services.records.events.results import KeptResultSent, ResultKept, SpeechChanged
from services.records.port import Log, Records

SILENT = "silent"
"""Code of a study whose results were made and not sent."""


@dataclass(frozen=True)
class Speech:
    """The document of the `speak` and `silence` verbs: whether the site speaks, and by whose act.

    Parameters
    ----------
    speaks
        Whether results are sent to the archive.
    approver, reason, since
        Whose act it is, why, and when (ISO 8601); None where no act is on record.
    unsent
        Studies whose results were made while the site was silent, and are in no archive.
    """

    speaks: bool
    approver: str | None
    reason: str | None
    since: str | None
    unsent: int

    @property
    def words(self) -> str:
        """What a person is told, one sentence."""
        how = "the site speaks: results go to the archive" if self.speaks else SILENCE
        if self.approver is None:
            return how + (" (it did before this could be said)" if self.speaks else " (as every new site)")
        return f"{how} ({self.approver}, {self.since}: {self.reason})"


SILENCE = "the site is silent: results are made and kept here, and none is sent to the archive"


def speech_of(records: Records) -> Speech:
    """Return whether a site speaks.

    A new site is silent. One that an earlier version made, and that has sent results to its archive, speaks
    on as it did. From the first act on, the last act says.

    Raises
    ------
    StorageFailed
        If the records cannot be reached.
    """
    act = records.last(SpeechChanged)
    unsent = records.arrivals_by_state().get(ArrivalState.MADE, 0)
    if act is None:
        return Speech(records.has_sent(), None, None, None, unsent)
    return Speech(act.said.speaks, act.who, act.said.reason, act.at.isoformat(timespec="seconds"), unsent)


def speaks(records: Records) -> bool:
    """Tell whether results are sent to the archive; as `speech_of`."""
    act = records.last(SpeechChanged)
    return records.has_sent() if act is None else act.said.speaks


def speak(approver: str, reason: str, records: Records) -> Speech:
    """Have results sent to the archive from now on; what was made in silence is not sent by that.

    Parameters
    ----------
    approver, reason
        Whose act it is, and why. Told again in the same words, it is the same act.
    records
        Where it is put down.

    Raises
    ------
    Refused
        `no-name` without a name or a reason; `speaks-already` by another act.
    """
    return _change(approver, reason, records, speaks=True)


def be_silent(approver: str, reason: str, records: Records) -> Speech:
    """Have results kept here from now on, and none sent to the archive.

    What is being stored at this moment may still arrive, and what the archive holds it may send on.

    Raises
    ------
    Refused
        `no-name` without a name or a reason; `silent-already` by another act.
    """
    return _change(approver, reason, records, speaks=False)


def _change(approver: str, reason: str, records: Records, *, speaks: bool) -> Speech:
    require_name(approver, reason)
    act: Recorded[SpeechChanged] | None = records.last(SpeechChanged)
    if act is None or act.said.speaks is not speaks:
        records.record(SpeechChanged(speaks=speaks, reason=reason), who=approver)
    else:
        code, done = ("speaks-already", "it speaks") if speaks else ("silent-already", "it is silent")
        require_same_act(Act(act.who, act.said.reason, act.at), approver, reason, code, done)
    return speech_of(records)


def is_unsent(result: str, log: Log) -> bool:
    """Tell whether a result, by its key, was only ever kept: no reader can have it from the archive."""
    kept = log.last(ResultKept, key=ResultKept.key(result))
    if kept is None or not kept.said.unseen:
        return False
    return log.last(KeptResultSent, key=KeptResultSent.key(result)) is None
