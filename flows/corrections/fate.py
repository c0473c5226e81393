"""What became of a correction: in which release it was learnt, or why it was not; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.corrections.keep import NOTHING_EDITED, UNKNOWN_RESULT, WITHDRAWN
from flows.corrections.outcome import QUESTION_OPEN
from flows.lineage import lineage
from flows.progress import Progress, silent
from flows.tuning.plan import known as known_run
from flows.tuning.plan import learnt_anew, plan, taught_on_record
from flows.tuning.tonight import Night, Tonight, tonight
from models.corrections.ledger import OrganLedger, OrganState
from models.errors import Refused
from models.tuning.settings import TuningSettings
from models.uids import SeriesUid, SopUid, StudyUid
from services.cases.disagreements import (
    UNCHANGED,
    SeriesOrgan,
    Word,
    teaches,
    teaching_words,
    valid_words,
)
from services.cases.from_pictures import words_that_teach
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.cases import Purpose
from services.records.entries.corrections import Correction
from services.records.events.cases import PatientErased
from services.records.events.corrections import KeptOutOfTuning
from services.records.port import Records
from services.releases.store import ReleaseStore
from services.wiring import Services

LEARNT, TONIGHT, REPLACED, DISAGREE = "learnt", "tonight", "replaced", "readers-disagree"
FROM_PICTURES = "from-pictures"


@dataclass(frozen=True)
class LearntIn:
    """A release that has learnt it.

    Parameters
    ----------
    release
        Its number.
    state
        How far it has come: `candidate`, `needs-approval`, `refused`, `declined`, `promoted`; None if that
        is not on record.
    serves
        Whether the incumbent is that release, or comes of it.
    """

    release: int
    state: str | None
    serves: bool


@dataclass(frozen=True)
class OrganFate:
    """What became of what a correction says of one organ.

    Parameters
    ----------
    organ
        Key in the catalogue.
    said
        `edited`, `accepted`, `accepted-from-pictures` or `not-reviewed`.
    code, detail
        `learnt`, `tonight` (the next night learns it), or why not.
    learnt
        Releases that have learnt it.
    """

    organ: str
    said: str
    code: str
    detail: str
    learnt: tuple[LearntIn, ...] = ()


@dataclass(frozen=True)
class Fate:
    """What became of one version of a correction, or of a save that was not taken.

    Parameters
    ----------
    correction
        Its name; None for a save that was refused, or is still to be read.
    sop_instance_uid, study_uid, series_uid
        Of the SEG, and what it lies on; the series is None where it was not read.
    release
        Whose result was corrected, where that is on record.
    reader
        Whose word it is; empty where nobody is named.
    code, detail
        `kept`, `question-open`, or why its case is not kept; of another save, what `ingest` said, or the
        state of its arrival.
    organs
        Organ by organ.
    """

    correction: str | None
    sop_instance_uid: SopUid
    study_uid: StudyUid
    series_uid: SeriesUid | None
    release: int | None
    reader: str
    code: str
    detail: str
    organs: tuple[OrganFate, ...] = ()


def fates(uid: str, services: Services, settings: TuningSettings, progress: Progress = silent) -> list[Fate]:
    """Return what became of a correction, or of all of a study, in the order of record.

    Parameters
    ----------
    uid
        SOP Instance UID or name of a correction, StudyInstanceUID or SeriesInstanceUID.
    services
        What to read; nothing is asked of a server.
    settings
        How the night tunes.
    progress
        Told each case that is read.

    Raises
    ------
    Refused
        `unknown-correction` if nothing of that UID came in.
    InvalidRelease, StorageFailed
        If records, a release or a case cannot be read.
    """
    every = services.records.corrections()
    asked = [one for one in every if uid in (one.name, one.sop_instance_uid, one.study_uid, one.series_uid)]
    taken = {one.sop_instance_uid for one in asked}
    others = [
        one
        for one in services.records.arrivals()
        if not one.is_study and uid in (one.uid, one.study_uid) and one.uid not in taken
    ]
    if not asked and not others:
        raise Refused("unknown-correction", f"no correction of {uid} is on record, and no save of it came")
    known = _Known(services, every, settings, progress) if asked else None
    found = [known.fate(one) for one in asked] if known else []
    return found + [_not_taken(one) for one in others]


def _not_taken(arrival: Arrival) -> Fate:
    """Return what became of a save that is not among the corrections."""
    code, detail = arrival.code, arrival.detail
    if not code and arrival.state is ArrivalState.INGESTED:
        code = "not-on-record"
        detail = "an earlier version read it and kept nothing: `organloop ingest` says why"
    elif not code:
        code, detail = str(arrival.state), "it is still to be read"
    return Fate(None, SopUid(arrival.uid), arrival.study_uid, None, None, "", code, detail)


class _Known:
    """What is on record, looked up once for all corrections asked about."""

    def __init__(
        self, services: Services, every: Sequence[Correction], settings: TuningSettings, progress: Progress
    ) -> None:
        records = services.records
        self._services, self._settings, self._progress = services, settings, progress
        self._words = valid_words(every)
        policy = services.policy
        self._teaching, _ = teaching_words(
            words_that_teach(every, policy, records), records.agreements(), policy
        )
        self._kept = {case.case_id for case in records.cases(Purpose.TUNING)}
        self._kept_out = {
            (one.said.sop_instance_uid, one.said.version): one.said.why
            for one in records.all(KeptOutOfTuning)
        }
        self._erased = {case.case_id for one in records.all(PatientErased) for case in one.said.cases}
        self._learnt = _learnt_by(records, services.releases)
        self._organs, self._night, self._levels = _night(services, settings, progress)

    def fate(self, one: Correction) -> Fate:
        code, detail = self._of_case(one)
        organs = tuple(self._of_organ(one, entry, code, detail) for entry in one.organs)
        if one.questions and not one.withdrawn:
            asked = f"{len(one.questions)} open: `organloop ingest {one.sop_instance_uid} --as …`"
            code, detail = QUESTION_OPEN, asked
        return Fate(
            one.name, one.sop_instance_uid, one.study_uid, one.series_uid, one.release, one.reader, code,
            detail, organs,
        )  # fmt: skip

    def _of_case(self, one: Correction) -> tuple[str, str]:
        """Return `kept`, or why its case is not kept for tuning."""
        case_id = self._services.cases.pseudonym(one.name)
        if one.withdrawn:
            return _parts(WITHDRAWN)
        if case_id in self._kept:
            return "kept", "kept for tuning"
        if case_id in self._erased:
            return "patient-erased", "the patient was taken out"
        if one.status == UNCHANGED:
            return UNCHANGED, "saved as it was sent; what that said before teaches no more, or waits"
        why = self._kept_out.get((one.sop_instance_uid, one.version))
        if why is not None:
            return _parts(why)
        if not any(entry.state is OrganState.EDITED for entry in one.organs):
            return _parts(NOTHING_EDITED)
        if one.release is None:
            return _parts(UNKNOWN_RESULT)
        return "not-kept", f"its case is not there: `organloop ingest {one.sop_instance_uid}` again"

    def _of_organ(self, one: Correction, entry: OrganLedger, code: str, detail: str) -> OrganFate:
        learnt = tuple(self._learnt.get((one.name, entry.organ), ()))
        if one.withdrawn or not learnt:
            code, detail = self._not_learnt(one, entry, code, detail)
        else:
            code = LEARNT
            detail = ", ".join(
                f"release {each.release} ({'serves' if each.serves else each.state or 'not on record'})"
                for each in learnt
            )
        return OrganFate(entry.organ, str(entry.state), code, detail, learnt)

    def _not_learnt(self, one: Correction, entry: OrganLedger, code: str, detail: str) -> tuple[str, str]:
        if one.withdrawn:
            return code, detail
        if entry.state is OrganState.NOT_REVIEWED:
            return "not-reviewed", "nobody said anything of it"
        if not teaches(entry):
            return "by-overpaint", "only a neighbour's brush took from it"
        if code != "kept":
            return code, detail
        key: SeriesOrgan = (one.series_uid, entry.organ)
        standing = [word.correction.name for word in self._words.get(key, ())]
        if one.name not in standing:
            return REPLACED, f"{', '.join(standing) or 'a save as it was sent'} stands for it"
        word: Word | None = self._teaching.get(key)
        if entry.state is OrganState.ACCEPTED_FROM_PICTURES and (word is None or word.entry != entry):
            return FROM_PICTURES, "accepted from pictures: it does not teach here, or no longer stands"
        if word is None:
            return DISAGREE, f"between {', '.join(standing)}: none teaches until one is withdrawn"
        if word.correction.name != one.name:
            return REPLACED, f"{word.correction.name}, which agrees with it or is later, teaches"
        return self._of_night(one, entry.organ)

    def _of_night(self, one: Correction, organ: str) -> tuple[str, str]:
        """Return what the next night makes of a word that teaches and that no release has learnt."""
        night = self._night
        if night is None:
            return "no-release", "no release serves"
        if organ not in self._organs:
            return "new-organ", f"the incumbent has none: `organloop tune --new-organ {organ}`"
        for label in night.refused:
            if (label.correction, label.organ) == (one.name, organ):
                return label.code, label.detail
        found = next(each for each in night.organs if each.organ == organ)
        if not found.learns:
            return found.code, found.detail
        if night.night is Night.TUNES:
            return TONIGHT, f"the next night tunes it on {found.studies} studies"
        if organ in self._levels:
            return Night.NO_BETTER, f"tried, and the head stayed as it is: {self._levels[organ]}"
        return Night.NO_BETTER, "tried, and the head stayed as it is"


def _night(
    services: Services, settings: TuningSettings, progress: Progress
) -> tuple[tuple[str, ...], Tonight | None, Mapping[str, str]]:
    """Return the incumbent's organs, what the next night learns, and how ladders ended that were tried."""
    if services.records.incumbent() is None:
        return (), None, {}
    run = plan(services, None, settings)
    before = known_run(run, services.records, services.releases)
    ends = {organ: climb.end for organ, climb in before.ladders.items()} if before else {}
    return run.parent.contract.organs, tonight(services, settings, progress), ends


def _learnt_by(records: Records, store: ReleaseStore) -> dict[tuple[str, str], list[LearntIn]]:
    """Return by name of the correction and organ the releases that have learnt it themselves."""
    states, incumbent = records.release_states(), records.incumbent()
    releases = {number: store.release(number) for number in store.numbers()}
    line = () if incumbent is None else lineage(store.release(incumbent), store)
    serving = {one.number for one in line}
    taught = taught_on_record(records)
    learnt: dict[tuple[str, str], list[LearntIn]] = {}
    for number, release in sorted(releases.items()):
        state = states.get(number)
        found = LearntIn(number, None if state is None else str(state), number in serving)
        parent = releases.get(release.parent) if release.parent is not None else None
        for said in learnt_anew(release, parent, taught.get(release.digest)):
            learnt.setdefault(said, []).append(found)
    return learnt


def _parts(why: str) -> tuple[str, str]:
    code, _, detail = why.partition(": ")
    return code, detail
