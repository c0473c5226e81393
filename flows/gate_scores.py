"""Scores of releases on the gate's cases, against their truth.

Every score is kept as soon as it is measured: a killed gate goes on where it was, and the incumbent is
asked once for a case, not once a night.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from flows.serving import Progress, silent
from models.errors import Refused
from models.gate import OrganEvidence
from models.release import Release
from models.resampling import model_grid
from models.scores import OrganScore, pair, score_organs
from services.cases.store import CaseContent
from services.records.port import Case
from services.releases.scores import ScoreStore
from services.stopwatch import time_left
from services.wiring import Services

Scores = dict[tuple[str, str], dict[str, OrganScore]]
"""Scores by organ, by release digest and case."""


def measure(
    releases: Sequence[Release],
    cases: Sequence[Case],
    profile: str,
    services: Services,
    progress: Progress = silent,
) -> Scores:
    """Ask each release about each case, unless that was measured before.

    Parameters
    ----------
    releases
        Loaded releases of one contract.
    cases
        Cases with truth of every organ.
    profile
        Serving profile they answer in.
    services
        What to work with.
    progress
        Told each case, with the time left.
    """
    store = ScoreStore(services.settings.score_store)
    found: Scores = {}
    for case in cases:
        for release in releases:
            kept = store.find(release.digest, profile, case.digest)
            if kept is not None:
                found[release.digest, case.case_id] = kept
    total = len(releases) * len(cases) - len(found)
    done, begin = 0, time.monotonic()
    for position, case in enumerate(cases, 1):
        asked = [release for release in releases if (release.digest, case.case_id) not in found]
        if not asked:
            continue
        content = services.cases.read(case)
        for release in asked:
            scores = _score(release, case, content, services)
            store.keep(release.digest, profile, case.digest, scores)
            found[release.digest, case.case_id] = scores
            done += 1
        progress(f"gate case {position} of {len(cases)}: {time_left(time.monotonic() - begin, done, total)}")
    return found


def _score(release: Release, case: Case, content: CaseContent, services: Services) -> dict[str, OrganScore]:
    contract, model = release.contract, content.volume.geometry
    if not model_grid(content.ct, contract.spacing_mm).same_grid(model):
        raise Refused("case-off-grid", f"case {case.case_id} was kept on another grid than the contract's")
    missing = sorted(set(contract.organs) - set(content.labels))
    if missing:
        raise Refused("truth-incomplete", f"case {case.case_id} has no truth of {', '.join(missing)}")
    answer = services.segmenter.segment(content.volume.hu.astype(np.int16, copy=False), release.number)
    truth = {organ: content.labels[organ].inside for organ in contract.organs}
    return score_organs(answer, release, model, content.ct, truth)


def evidence(
    incumbent: Release, candidate: Release, cases: Sequence[Case], scores: Scores, sites: Sequence[str]
) -> dict[str, OrganEvidence]:
    """Pair the scores by organ; a gain is expected in the cases of the sites that were corrected."""
    found = {}
    for organ in incumbent.contract.organs:
        pairs = tuple(
            pair(
                scores[incumbent.digest, case.case_id][organ],
                scores[candidate.digest, case.case_id][organ],
                case=case.case_id,
                patient=case.patient,
                site=case.site,
                origin=case.origin,
            )
            for case in cases
        )
        found[organ] = OrganEvidence(pairs, tuple(score for score in pairs if score.site in sites))
    return found
