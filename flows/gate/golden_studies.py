"""Golden studies: gate cases that a release answers again once it serves, to be the same bits."""

from __future__ import annotations

from flows.gate.scores import score_case, score_store
from flows.lineage import truth_needed
from models.errors import Refused
from models.gate.scores import OrganScore
from models.release import Release
from services.records.entries.cases import Case, Purpose
from services.records.port import Cases
from services.releases.scores import ScoreStore
from services.wiring import Services

GOLDEN = 2
"""Studies asked of every endpoint."""


Golden = tuple[Case, dict[str, OrganScore]]
"""A case, and what the gate saw the release score on it, by organ."""


def golden_cases(release: Release, profile: str, scores: ScoreStore, known: Cases) -> list[Golden]:
    """Return the golden studies of a release: gate cases it was asked about, drawn by their digests.

    Raises
    ------
    Refused
        `no-golden-study` if no score of the release on a gate case is kept.
    """
    kept: list[Golden] = []
    for case in sorted(known.cases(Purpose.GATE), key=lambda one: one.digest):
        seen = scores.find(scores.name(release.digest, profile, case.digest))
        if seen is not None and len(kept) < GOLDEN:
            kept.append((case, seen))
    if not kept:
        detail = f"no score of release {release.number} on a gate case is kept"
        raise Refused("no-golden-study", f"{detail}; tell the gate again: `organloop gate {release.number}`")
    return kept


def has_golden(release: Release, profile: str, scores: ScoreStore, known: Cases) -> bool:
    """Tell whether there is a golden study; as `golden_cases`."""
    try:
        return bool(golden_cases(release, profile, scores, known))
    except Refused:
        return False


def golden_faults(release: Release, services: Services) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Ask every endpoint about the golden studies and compare with what the gate saw.

    Parameters
    ----------
    release
        The release that serves.
    services
        What to work with.

    Returns
    -------
    tuple
        The cases asked, and by case the organs whose probability or mask is not the same bits.

    Raises
    ------
    Refused
        As `golden_cases`.
    ServingFailed
        If an endpoint does not answer.
    """
    profile = services.segmenter.profile(release.number)
    scores = score_store(services.records, services.settings.score_store)
    studies = golden_cases(release, profile, scores, services.records)
    needed = truth_needed(release, services.releases)
    differing: dict[str, set[str]] = {}
    for case, seen in studies:
        for endpoint in services.endpoints:
            found = score_case(release, case, needed, services.cases, endpoint, profile)
            changed = {organ for organ, score in found.items() if score.digest != seen[organ].digest}
            if changed:
                differing.setdefault(case.case_id, set()).update(changed)
    shown = tuple(case.case_id for case, _ in studies)
    return shown, {case: sorted(organs) for case, organs in differing.items()}
