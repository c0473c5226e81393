"""Which kept cases a calibration may use: independent truth, and one case of a patient."""

from __future__ import annotations

from collections.abc import Collection

from flows.progress import Progress
from models.corrections.ledger import INDEPENDENT
from models.release import Release
from services.cases.store import CaseStore
from services.records.entries.cases import Case, Purpose
from services.records.port import Cases


def usable(kept: Collection[Case]) -> tuple[list[Case], dict[str, int]]:
    """Return one case of each patient with independent truth, and how many are left out, by why.

    Two studies of a patient are no two draws: the guarantees count them as if they were.
    """
    independent = [case for case in kept if case.origin == INDEPENDENT]
    first = {case.patient: case for case in reversed(independent)}
    left_out = {
        "not_independent": len(kept) - len(independent),
        "same_patient": len(independent) - len(first),
    }
    return sorted(first.values(), key=lambda case: case.case_id), left_out


def untaught(cases: Collection[Case], store: CaseStore, kept: Cases) -> list[Case]:
    """Leave out the cases whose very volume is kept for tuning: the same images under another PatientID.

    Raises
    ------
    StorageFailed
        If a volume cannot be read.
    """
    digest = store.volume_digest
    taught = {digest(case) for case in kept.cases(Purpose.TUNING)} - {None} if cases else set()
    return [case for case in cases if digest(case) not in taught]


def measurable(
    cases: Collection[Case], release: Release, store: CaseStore, kept: Cases, progress: Progress
) -> list[Case]:
    """Leave out, too, the cases kept for a release asked on another grid, and the damaged; say how many.

    Raises
    ------
    StorageFailed
        If a volume cannot be read.
    """
    kept_for_it = [case for case in untaught(cases, store, kept) if store.is_whole(case)]
    if len(kept_for_it) < len(cases):
        progress(
            f"{len(cases) - len(kept_for_it)} calibration cases left out: damaged, or kept for tuning too"
        )
    found = [case for case in kept_for_it if store.other_grid(case, release.contract) is None]
    if len(found) < len(kept_for_it):
        progress(f"{len(kept_for_it) - len(found)} calibration cases left out: other-grid")
    return found
