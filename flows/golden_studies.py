"""Golden studies: gate cases that a release answers again once it serves, to be the same bits."""

from __future__ import annotations

from dataclasses import replace

from flows.gate_scores import score_case
from flows.gate_trial import frozen_cases
from models.release import Release
from models.scores import OrganScore
from services.records.port import Case
from services.releases.scores import ScoreStore
from services.wiring import Services

GOLDEN = 2
"""Studies asked of every endpoint."""


def golden_faults(release: Release, services: Services) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Ask every endpoint about golden studies and compare with what the gate saw.

    Parameters
    ----------
    release
        The release that serves.
    services
        What to work with.

    Returns
    -------
    tuple
        The cases asked (none where no score of the release is kept), and by case the organs whose
        probability or mask is not the same bits.

    Raises
    ------
    Refused
        As `flows.gate_trial.frozen_cases`.
    ServingFailed
        If an endpoint does not answer.
    """
    store, profile = ScoreStore(services.settings.score_store), services.segmenter.profile(release.number)
    _, cases = frozen_cases(services)
    kept: dict[str, tuple[Case, dict[str, OrganScore]]] = {}
    for case in sorted(cases, key=lambda one: one.digest):
        scores = store.find(release.digest, profile, case.digest)
        if scores is not None and len(kept) < GOLDEN:
            kept[case.case_id] = (case, scores)
    differing: dict[str, set[str]] = {}
    for case, seen in kept.values():
        content = services.cases.read(case)
        for endpoint in services.endpoints:
            found = score_case(release, case, content, replace(services, segmenter=endpoint))
            changed = {organ for organ, score in found.items() if score.digest != seen[organ].digest}
            if changed:
                differing.setdefault(case.case_id, set()).update(changed)
    return tuple(kept), {case: sorted(organs) for case, organs in differing.items()}
