"""Where a release comes from: how it was made, its ancestors, and the patients they learnt from."""

from __future__ import annotations

from collections.abc import Iterator

from models.release import Release
from services.records.events.candidates import (
    CandidateCalibrated,
    CandidateMade,
    CandidateTrained,
    CandidateTuned,
)
from services.records.port import Log
from services.releases.store import ReleaseStore

MADE: tuple[type[CandidateMade], ...] = (CandidateTuned, CandidateTrained, CandidateCalibrated)
"""Kinds of events that name a release and the patients it learnt from or was calibrated on."""


def origin_of_release(number: int, log: Log) -> CandidateMade | None:
    """Return how a release was made, as said last; None if nothing is on record."""
    found = log.all(*MADE, release=number)
    return found[-1].said if found else None


def lineage(release: Release, store: ReleaseStore) -> Iterator[Release]:
    """Yield a release and its ancestors."""
    yield release
    while release.parent is not None:
        release = store.release(release.parent)
        yield release


def always_held(release: Release, store: ReleaseStore) -> frozenset[str]:
    """Return the organs that a release and every ancestor have: each gate case must have truth of these.

    Of an organ that was new somewhere in the line, cases kept before know nothing.
    """
    return frozenset.intersection(*(frozenset(one.contract.organs) for one in lineage(release, store)))


def truth_needed(release: Release, store: ReleaseStore) -> frozenset[str]:
    """Return the organs of which a gate case must have truth.

    None of a network that came with many organs: nobody draws 117 of them. Each is then weighed by the cases
    that have its truth, and one that was changed and has too few is not let pass.
    """
    return frozenset() if release.contract.recipe is not None else always_held(release, store)


def learnt_from(patient: str, log: Log) -> set[int]:
    """Return the releases that learnt from a patient or were calibrated on it."""
    return {one.said.release for one in log.all(*MADE) if patient in one.said.patients}


def tuned_from(learnt: set[int], releases: ReleaseStore) -> list[int]:
    """Return the releases that come of these and did not learn the same themselves."""
    inherited: set[int] = set()
    for number in sorted(releases.numbers()):
        parent = releases.release(number).parent
        if number not in learnt and parent is not None and parent in learnt | inherited:
            inherited.add(number)
    return sorted(inherited)
