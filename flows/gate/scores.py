"""Scores of releases on the gate's cases, against their truth.

Every score is kept as soon as it is measured: a killed gate goes on where it was, and the incumbent is
asked once for a case, not once a night. Its noise on the gate set depends on nothing else, and is measured
once too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from flows.gate.views import Masks, Views
from flows.lineage import truth_needed
from flows.progress import Progress, silent
from models.corrections.ledger import INDEPENDENT
from models.errors import Refused
from models.gate.evidence import OrganEvidence
from models.gate.rescan import A_VOXEL, HALF_A_VOXEL, RESCANS, scan_again
from models.gate.scores import OrganScore, pair, score_organs
from models.inference.question import answered_volume, asked_mask, is_asked_grid, told_grid
from models.inference.segmentation import Segmentation
from models.proof.canary import answer_faults
from models.release import Release, sha256_hex
from models.volume import Volume
from services.cases.store import CaseContent, CaseStore
from services.inference.port import Segmenter
from services.records.entries.cases import Case
from services.records.events.gate import CaseScored
from services.records.port import Log
from services.releases.scores import ScoreStore, encoded
from services.stopwatch import time_left
from services.wiring import Services

Ask = tuple[Release, int]
"""Who is asked, and about which further scan of the case; 0 for the case itself."""

Answer = tuple[CaseContent, Volume, Segmentation]
"""A case, the scan of it that was asked about, and what was answered."""


@dataclass
class Measured:
    """Scores by organ, by release digest, case and further scan (0 for the case itself); the worst to see."""

    scores: dict[tuple[str, str, int], dict[str, OrganScore]] = field(default_factory=dict)
    views: Views = field(default_factory=Views)

    def of(self, release: Release, case: Case, again: int = 0) -> dict[str, OrganScore]:
        """Return what a release scored on a case."""
        return self.scores[release.digest, case.case_id, again]

    def again(self, release: Release, case: Case, organ: str) -> tuple[OrganScore, ...]:
        """Return what a release scored on the further scans of a case; empty if it was not asked."""
        known = (self.scores.get((release.digest, case.case_id, scan)) for scan in range(1, RESCANS + 1))
        return tuple(scores[organ] for scores in known if scores is not None and organ in scores)


def measure(
    incumbent: Release,
    candidate: Release,
    cases: Sequence[Case],
    profile: str,
    services: Services,
    progress: Progress = silent,
) -> Measured:
    """Ask both releases about each case, and the incumbent about further scans, unless that was done before.

    Parameters
    ----------
    incumbent, candidate
        Loaded releases of one contract; the candidate may have further organs. Further scans are asked
        about only where a head differs and the truth decides: they say what a case may lose.
    cases
        Cases with truth of every organ that was not new once (`truth_needed`).
    profile
        Serving profile they answer in.
    services
        What to work with.
    progress
        Told each case, with the time left.
    """
    store, found = score_store(services.records, services.settings.score_store), Measured()
    compared = incumbent.heads != candidate.heads
    asks: dict[str, list[Ask]] = {}
    for case in cases:
        scans = range(1, RESCANS + 1) if compared and case.origin == INDEPENDENT else ()
        asks[case.case_id] = []
        for release, again in ((incumbent, 0), (candidate, 0), *((incumbent, further) for further in scans)):
            kept = store.find(store.name(release.digest, profile, case.digest, again))
            if kept is None:
                asks[case.case_id].append((release, again))
            else:
                found.scores[release.digest, case.case_id, again] = kept
    total = sum(map(len, asks.values()))
    done, begin = 0, time.monotonic()
    jobs = [(case, ask) for case in cases for ask in asks[case.case_id]]
    needed = {release.number: truth_needed(release, services.releases) for release in (incumbent, candidate)}
    answers = _ahead(
        [
            partial(_answer, case, *ask, needed[ask[0].number], services.cases, services.segmenter)
            for case, ask in jobs
        ]
    )
    for position, case in enumerate(cases, 1):
        if not asks[case.case_id]:
            continue
        masks: dict[int, Masks] = {}
        answered: dict[str, dict[str, OrganScore]] = {}
        for release, again in asks[case.case_id]:
            content, volume, answer = next(answers)
            scores = _scored(release, content, volume, answer, profile)
            answered[store.name(release.digest, profile, case.digest, again)] = scores
            found.scores[release.digest, case.case_id, again] = scores
            if not again:
                masks[release.number] = _masks(release, answer)
            done += 1
        _keep(answered, case, profile, store, services.records)
        if candidate.number in masks and case.origin == INDEPENDENT:
            found.views.offer(case.case_id, (found.of(incumbent, case), found.of(candidate, case)), masks)
        progress(f"gate case {position} of {len(cases)}: {time_left(time.monotonic() - begin, done, total)}")
    return found


def _ahead(asks: Sequence[Callable[[], Answer]]) -> Iterator[Answer]:
    """Yield answers in order; while one is scored, the next is asked for."""
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Answer] | None = None
        for ask in asks:
            following = pool.submit(ask)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def score_store(log: Log, folder: Path) -> ScoreStore:
    """Return the scores that are on record."""
    return ScoreStore(folder, scores_on_record(log))


def scores_on_record(log: Log) -> dict[str, str]:
    """Return the SHA-256 of every score that was measured, by its name."""
    return {name: digest for one in log.all(CaseScored) for name, digest in one.said.scores.items()}


def _keep(
    answered: Mapping[str, Mapping[str, OrganScore]],
    case: Case,
    profile: str,
    store: ScoreStore,
    log: Log,
) -> None:
    """Put scores on record by their digests, once, then keep them."""
    digests = {name: sha256_hex(encoded(scores)) for name, scores in answered.items()}
    key = CaseScored.key(sha256_hex(json.dumps(digests, sort_keys=True).encode()))
    log.record(CaseScored(case=case.case_id, profile=profile, scores=digests), who="gate_candidate", key=key)
    for name, scores in answered.items():
        store.keep(name, scores)


def _masks(release: Release, answer: Segmentation) -> Masks:
    contract = release.contract
    return {
        organ: asked_mask(answer, channel, contract.thresholds[organ])
        for channel, organ in enumerate(contract.organs)
    }


def score_case(
    release: Release,
    case: Case,
    needed: Collection[str],
    store: CaseStore,
    segmenter: Segmenter,
    profile: str,
) -> dict[str, OrganScore]:
    """Ask a release about a case and score the answer by organ.

    Parameters
    ----------
    release, case
        Which is asked about what.
    needed
        Organs of which the case must have truth (`flows.lineage.truth_needed`).
    store
        Holds the case.
    segmenter
        Is asked, in this serving profile.
    profile
        Of the release's answer.

    Raises
    ------
    Refused
        `case-off-grid` or `truth-incomplete` if the case cannot be used with the release's contract;
        `wrong-answer` if what was answered is no probability.
    """
    return _scored(release, *_answer(case, release, 0, needed, store, segmenter), profile)


def _answer(
    case: Case,
    release: Release,
    again: int,
    needed: Collection[str],
    store: CaseStore,
    segmenter: Segmenter,
) -> Answer:
    """Ask a release about a case, or a further scan of it; what comes back is checked."""
    content, contract = store.read(case), release.contract
    volume = content.volume
    if not is_asked_grid(volume.geometry, content.ct, contract):
        raise Refused("case-off-grid", f"case {case.case_id} was kept on another grid than the contract's")
    missing = sorted(set(needed) - set(content.labels))
    if missing:
        raise Refused("truth-incomplete", f"case {case.case_id} has no truth of {', '.join(missing)}")
    if again:
        step = HALF_A_VOXEL if contract.recipe is None else A_VOXEL
        volume = Volume(*scan_again(volume.hu, volume.geometry, case.digest, again, step))
    answer = segmenter.segment(volume.hu, release.number, ct=told_grid(volume, contract))
    faults = answer_faults(release, answer, answered_volume(volume, answer).geometry.shape)
    if faults:
        told = "; ".join(f"{fault}: {', '.join(organs)}" for fault, organs in faults.items())
        measured = {fault: list(organs) for fault, organs in faults.items()}
        raise Refused(
            "wrong-answer", f"release {release.number} on case {case.case_id[:12]}: {told}", measured
        )
    return content, volume, answer


def _scored(
    release: Release, content: CaseContent, volume: Volume, answer: Segmentation, profile: str
) -> dict[str, OrganScore]:
    known = [organ for organ in release.contract.organs if organ in content.labels]
    truth = {organ: content.labels[organ].inside for organ in known}
    return score_organs(answer, release, volume, content.ct, truth, profile)


def evidence(
    incumbent: Release, candidate: Release, cases: Sequence[Case], found: Measured, sites: Sequence[str]
) -> dict[str, OrganEvidence]:
    """Pair the scores by organ; a gain is expected in the cases of the sites that were corrected.

    Where no correction says where it was scanned, that is in the cases of which nobody knows it either. Of an
    organ the incumbent lacks there is the candidate's score alone.
    """
    by_organ, corrected = {}, set(sites) or {""}
    for organ in candidate.contract.organs:
        pairs = tuple(
            pair(
                found.of(incumbent, case).get(organ),
                found.of(candidate, case)[organ],
                case=case.case_id,
                patient=case.patient,
                site=case.site,
                origin=case.origin,
                groups=case.acquisition.subgroups(),
                again=found.again(incumbent, case, organ),
            )
            for case in cases
        )
        by_organ[organ] = OrganEvidence(pairs, tuple(score for score in pairs if score.site in corrected))
    return by_organ
