"""The random audit, and whether the bounds held where it made somebody look.

A study is drawn before anything is known of it. What was claimed of its organs is put on record; what the
readers made of it is in the ledgers of their corrections. A release keeps its promise for organs whose
head and calibration are the same, so older releases' audits count for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

from flows.speech.speech import is_unsent
from models.bounds.random_audit import Coverage, coverage, drawn
from models.corrections.ledger import OrganState
from models.corrections.opinions import Opinion
from models.documents import LEFT_OUT
from models.errors import StorageFailed
from models.findings import Presence, StudyFindings
from models.release import Release
from models.uids import SeriesUid, StudyUid
from services.cases.disagreements import (
    Policy,
    ReadersDisagree,
    SeriesOrgan,
    Word,
    teaches,
    teaching_words,
    valid_words,
)
from services.cases.store import CaseStore
from services.records.entries.reading import Given
from services.records.events.results import AuditDrawn, BoundBroken, BoundsChecked, CheckedBound, Claim
from services.records.port import Corrections, Log, Records
from services.releases.store import ReleaseStore


def is_drawn(study_uid: StudyUid, cases: CaseStore, share: float) -> bool:
    """Tell whether a study is drawn at this site; asked again it is the same answer."""
    return drawn(cases.pseudonym(f"audit {study_uid}"), share)


def record_audit(
    log: Log, key: str, study_uid: StudyUid, series_uid: SeriesUid, findings: StudyFindings
) -> None:
    """Put on record what was claimed of a drawn study; of others nothing.

    Parameters
    ----------
    log
        Where to.
    key
        Of the result.
    study_uid, series_uid
        The CT series.
    findings
        What was said of it.
    """
    if not findings.audited:
        return
    organs = {
        finding.organ: Claim(
            finding.dsc_lower_bound, finding.confidence, finding.volume_ml, tuple(finding.reasons)
        )
        for finding in findings.organs
        if finding.presence is Presence.FOUND
    }
    event = AuditDrawn(
        study_uid=study_uid,
        series_uid=series_uid,
        release=findings.release,
        importance_ml=findings.importance_ml,
        organs=organs,
    )
    log.record(event, who="segment_study", key=event.key(key))


@dataclass(frozen=True)
class Looked(Coverage):
    """How often the bound of an organ held; `accepted` says how many of those were accepted as they were."""

    accepted: int


@dataclass(frozen=True)
class Waiting:
    """A drawn study of which no organ was edited or accepted; `importance_ml` as in `StudyFindings`."""

    study_uid: StudyUid
    release: int
    importance_ml: float


@dataclass(frozen=True)
class Bounds:
    """The document of the `bounds` verb.

    Parameters
    ----------
    release
        The incumbent; None where none serves.
    drawn, reviewed
        Studies, and how many of them a reader has edited or accepted an organ of.
    unsent
        How many of them no reader can have: their results were made while the site was silent, and are in no
        archive. They wait for nobody; sent later, they do.
    called_wrong
        By organ, in how many drawn studies a reader called it wrong and drew nothing; left out where none
        did. Such a study counts as reviewed. Nobody knows how far off the organ is: no bound is judged by it.
    organs
        By organ how often its bound held.
    waiting
        The most important first.
    alerts
        Organs whose bound is broken.
    """

    release: int | None
    drawn: int
    reviewed: int
    organs: Mapping[str, Looked]
    waiting: tuple[Waiting, ...]
    alerts: tuple[str, ...]
    unsent: int = 0
    called_wrong: Annotated[Mapping[str, int] | None, LEFT_OUT] = None


def check_bounds(records: Records, releases: ReleaseStore) -> Bounds:
    """Compare what was claimed of audited studies with what readers made of them.

    Only organs that a reader edited or accepted count. Both started from our outline, so that a DSC under
    the bound is sure and one above it is not: what is shown broken is broken, what is not may still be.

    Parameters
    ----------
    records
        What was claimed, and what readers made of it; a broken bound is put there.
    releases
        Whose heads are the same.
    """
    incumbent = records.incumbent()
    if incumbent is None:
        return Bounds(None, 0, 0, {}, (), ())
    release = releases.release(incumbent)
    audited = _audited(records)
    seen: dict[str, list[tuple[bool, float]]] = {}
    accepted: dict[str, int] = {}
    reviewed: set[StudyUid] = set()
    wrong: Counter[str] = Counter()
    same: dict[int, frozenset[str]] = {}
    latest: dict[int, Mapping[SeriesOrgan, Word]] = {}
    for (study_uid, number), (claimed, _) in audited.items():
        if number not in same:
            same[number] = _same_organs(releases.release(number), release)
            latest[number] = _latest(records, number)
        series_uid = SeriesUid(claimed.series_uid)
        taken = records.accepted_organs(series_uid, number)
        drawn_anew = {organ for uid, organ in latest[number] if uid == series_uid}
        called_wrong = called_wrong_in(records.opinions(study_uid), number) - drawn_anew
        wrong.update(called_wrong & claimed.organs.keys())
        reviewed.update({study_uid} if called_wrong else ())
        taken -= called_wrong
        for organ, claim in claimed.organs.items():
            if claim.bound is None or organ not in same[number]:
                continue
            if claim.confidence is None:
                raise StorageFailed(f"a bound of the {organ} is on record without its confidence")
            measured = _dsc_of(latest[number].get((series_uid, organ)), claim.volume_ml)
            if measured is None and organ not in taken:
                continue
            if measured is None:
                accepted[organ] = accepted.get(organ, 0) + 1
            reviewed.add(study_uid)
            held = measured is None or measured >= claim.bound
            seen.setdefault(organ, []).append((held, claim.confidence))
    seen_by_nobody = {uid for (uid, _), (_, in_silence) in audited.items() if in_silence}
    unsent = seen_by_nobody - {uid for (uid, _), (_, in_silence) in audited.items() if not in_silence}
    bounds = len(release.contract.organs)
    organs = {organ: _coverage(found, bounds) for organ, found in seen.items()}
    alerts = tuple(sorted(organ for organ, found in organs.items() if found.broken))
    for organ in alerts:
        found = organs[organ]
        event = BoundBroken(release=release.number, organ=organ, **asdict(found))
        records.record(
            event, who="check_bounds", key=event.key(release.digest, organ, found.looked_at, found.held)
        )
    return Bounds(
        release=release.number,
        drawn=len({study_uid for study_uid, _ in audited}),
        reviewed=len(reviewed),
        organs={
            organ: Looked(**asdict(found), accepted=accepted.get(organ, 0)) for organ, found in organs.items()
        },
        waiting=tuple(
            Waiting(uid, number, claimed.importance_ml)
            for (uid, number), (claimed, _) in sorted(
                audited.items(), key=lambda item: (-item[1][0].importance_ml, item[0])
            )
            if uid not in reviewed | unsent
        ),
        alerts=alerts,
        unsent=len(unsent),
        called_wrong=dict(sorted(wrong.items())) or None,
    )


def note_bounds(found: Bounds, log: Log) -> None:
    """Put on record what was found of bounds, unless that is what was found the time before."""
    if found.release is None:
        return
    organs = {
        organ: CheckedBound(one.held, one.looked_at, one.promised, one.broken)
        for organ, one in found.organs.items()
    }
    checked = BoundsChecked(release=found.release, drawn=found.drawn, reviewed=found.reviewed, organs=organs)
    before = log.last(BoundsChecked)
    if before is None or before.said != checked:
        log.record(checked, who="check_bounds")


def called_wrong_in(opinions: Collection[Given], release: int) -> frozenset[str]:
    """Return the organs of a study that the last word of some reader on a release's result calls wrong."""
    last = {(one.organ, one.issuer, one.subject): one.opinion for one in opinions if one.release == release}
    return frozenset(organ for (organ, _, _), opinion in last.items() if opinion == Opinion.WRONG)


def _audited(log: Log) -> dict[tuple[StudyUid, int], tuple[AuditDrawn, bool]]:
    """Return the newest claims by study and release, and whether they were made in silence and never sent."""
    found = {}
    for one in log.all(AuditDrawn):
        result = (one.key or "").removeprefix(AuditDrawn.key(""))
        found[StudyUid(one.said.study_uid), one.said.release] = one.said, is_unsent(result, log)
    return found


def _latest(corrections: Corrections, release: int) -> Mapping[SeriesOrgan, Word]:
    """Return the word on each organ of a release's results that came last, where that is known."""
    of_release = [one for one in corrections.corrections() if one.release == release]
    latest, _ = teaching_words(valid_words(of_release), (), Policy(ReadersDisagree.LATEST))
    return latest


def _same_organs(then: Release, now: Release) -> frozenset[str]:
    """Return the organs of which both releases claim the same by the same head."""
    if then.calibration is None or now.calibration is None or then.trunk != now.trunk:
        return frozenset()
    return frozenset(
        organ
        for organ, head in now.heads.items()
        if then.heads.get(organ) == head
        and then.calibration.organs.get(organ) == now.calibration.organs.get(organ)
    )


def _dsc_of(word: Word | None, volume_ml: float) -> float | None:
    """Return the DSC of our outline against the reader's, from what was added and removed."""
    if word is None or not teaches(word.entry) or word.entry.state is not OrganState.EDITED:
        return None
    kept = volume_ml - word.entry.removed_ml
    return 2 * kept / (volume_ml + kept + word.entry.added_ml)


def _coverage(found: list[tuple[bool, float]], bounds: int) -> Coverage:
    held, promised = sum(held for held, _ in found), min(promised for _, promised in found)
    return coverage(held, len(found), promised, bounds)
