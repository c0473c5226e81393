"""Scores of releases on the gate's cases, against their truth; and what either release costs the server.

Every score is kept as soon as it is measured: a killed gate goes on where it was, and the incumbent is
asked once for a case, not once a night.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from flows.serving import Progress, silent
from models.canary import probe_volume
from models.corrections import INDEPENDENT
from models.errors import Refused
from models.gate import OrganEvidence
from models.gate_report import ServingCost
from models.release import Release
from models.resampling import model_grid
from models.rescan import RESCANS, scan_again
from models.scores import OrganScore, pair, score_organs
from services.cases.store import CaseContent
from services.records.port import Case
from services.releases.scores import ScoreStore
from services.stopwatch import time_left
from services.wiring import Services

PROBES = 5
"""Answers to one window by which the two releases' speed is compared; the quickest counts."""

Ask = tuple[Release, int]
"""Who is asked, and about which further scan of the case; 0 for the case itself."""


@dataclass
class Measured:
    """Scores by organ, by release digest, case and further scan (0 for the case itself)."""

    scores: dict[tuple[str, str, int], dict[str, OrganScore]] = field(default_factory=dict)

    def of(self, release: Release, case: Case, again: int = 0) -> dict[str, OrganScore]:
        """Return what a release scored on a case."""
        return self.scores[release.digest, case.case_id, again]

    def again(self, release: Release, case: Case, organ: str) -> tuple[OrganScore, ...]:
        """Return what a release scored on the further scans of a case; empty if it was not asked."""
        known = (self.scores.get((release.digest, case.case_id, scan)) for scan in range(1, RESCANS + 1))
        return tuple(scores[organ] for scores in known if scores is not None)


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
        Loaded releases of one contract. Further scans are asked about only where a head differs and the
        truth decides: they say what a case may lose.
    cases
        Cases with truth of every organ.
    profile
        Serving profile they answer in.
    services
        What to work with.
    progress
        Told each case, with the time left.
    """
    store, found = ScoreStore(services.settings.score_store), Measured()
    compared = incumbent.heads != candidate.heads
    asks: dict[str, list[Ask]] = {}
    for case in cases:
        scans = range(1, RESCANS + 1) if compared and case.origin == INDEPENDENT else ()
        asks[case.case_id] = []
        for release, again in ((incumbent, 0), (candidate, 0), *((incumbent, further) for further in scans)):
            kept = store.find(release.digest, profile, case.digest, again)
            if kept is None:
                asks[case.case_id].append((release, again))
            else:
                found.scores[release.digest, case.case_id, again] = kept
    total = sum(map(len, asks.values()))
    done, begin = 0, time.monotonic()
    for position, case in enumerate(cases, 1):
        if not asks[case.case_id]:
            continue
        content = services.cases.read(case)
        for release, again in asks[case.case_id]:
            scores = score_case(release, case, content, services, again)
            store.keep(release.digest, profile, case.digest, scores, again)
            found.scores[release.digest, case.case_id, again] = scores
            done += 1
        progress(f"gate case {position} of {len(cases)}: {time_left(time.monotonic() - begin, done, total)}")
    return found


def score_case(
    release: Release, case: Case, content: CaseContent, services: Services, again: int = 0
) -> dict[str, OrganScore]:
    """Ask a release about a case, or a further scan of it, and score the answer by organ.

    Raises
    ------
    Refused
        `case-off-grid` or `truth-incomplete` if the case cannot be used with the release's contract.
    """
    contract, model = release.contract, content.volume.geometry
    if not model_grid(content.ct, contract.spacing_mm).same_grid(model):
        raise Refused("case-off-grid", f"case {case.case_id} was kept on another grid than the contract's")
    missing = sorted(set(contract.organs) - set(content.labels))
    if missing:
        raise Refused("truth-incomplete", f"case {case.case_id} has no truth of {', '.join(missing)}")
    hu = content.volume.hu.astype(np.int16, copy=False)
    if again:
        hu, model = scan_again(hu, model, case.digest, again)
    answer = services.segmenter.segment(hu, release.number)
    truth = {organ: content.labels[organ].inside for organ in contract.organs}
    return score_organs(answer, release, model, content.ct, truth)


def evidence(
    incumbent: Release, candidate: Release, cases: Sequence[Case], found: Measured, sites: Sequence[str]
) -> dict[str, OrganEvidence]:
    """Pair the scores by organ; a gain is expected in the cases of the sites that were corrected."""
    by_organ = {}
    for organ in incumbent.contract.organs:
        pairs = tuple(
            pair(
                found.of(incumbent, case)[organ],
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
        by_organ[organ] = OrganEvidence(pairs, tuple(score for score in pairs if score.site in sites))
    return by_organ


def serving_cost(incumbent: Release, candidate: Release, services: Services) -> ServingCost:
    """Let both loaded releases answer one window in turn, and weigh the networks a server loads.

    The memory that windows take is the contract's and the trunk's, which are the same; what can grow with a
    candidate is its heads.
    """
    seconds: dict[int, list[float]] = {incumbent.number: [], candidate.number: []}
    hu = probe_volume(candidate.contract)
    for _ in range(PROBES):
        for number, taken in seconds.items():
            begin = time.perf_counter()
            services.segmenter.segment(hu, number)
            taken.append(time.perf_counter() - begin)
    return ServingCost(
        incumbent_seconds=round(min(seconds[incumbent.number]), 4),
        candidate_seconds=round(min(seconds[candidate.number]), 4),
        incumbent_bytes=services.repository.network_bytes(incumbent.number),
        candidate_bytes=services.repository.network_bytes(candidate.number),
    )
