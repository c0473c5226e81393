"""The sets of cases: frozen, version after version, and listed."""

from __future__ import annotations

from dataclasses import dataclass

from services.records.entries.cases import Case, Purpose
from services.records.port import Cases


@dataclass(frozen=True)
class Frozen:
    """The document of the `cases freeze` verb; `cases` is their number."""

    purpose: Purpose
    version: int
    digest: str
    cases: int


@dataclass(frozen=True)
class CaseSet:
    """One set in the document of the `cases list` verb.

    Parameters
    ----------
    purpose
        What it is kept for.
    frozen, version
        Digest and number of the newest frozen version; None without one.
    pending, lost
        Cases added since, and those of that version that were taken out: with any, the set must be frozen
        anew.
    cases
        By site.
    """

    purpose: Purpose
    frozen: str | None
    version: int | None
    pending: tuple[str, ...]
    lost: tuple[str, ...]
    cases: tuple[Case, ...]


def freeze_cases(purpose: Purpose, known: Cases) -> Frozen:
    """Freeze the set of a purpose; the next version if it has grown."""
    frozen = known.freeze(purpose)
    return Frozen(purpose, frozen.version, frozen.digest, len(frozen.manifest))


def list_cases(known: Cases, purpose: Purpose | None = None) -> list[CaseSet]:
    """Return every set, or one."""
    return [_set(one, known) for one in Purpose if purpose in (None, one)]


def _set(purpose: Purpose, known: Cases) -> CaseSet:
    frozen = known.frozen(purpose)
    cases = sorted(known.cases(purpose), key=lambda case: (case.site, case.case_id))
    listed = [str(entry["case_id"]) for entry in frozen.manifest] if frozen else []
    there = {case.case_id for case in cases}
    return CaseSet(
        purpose=purpose,
        frozen=frozen.digest if frozen else None,
        version=frozen.version if frozen else None,
        pending=tuple(case.case_id for case in cases if case.case_id not in listed),
        lost=tuple(case_id for case_id in listed if case_id not in there),
        cases=tuple(cases),
    )
