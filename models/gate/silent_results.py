"""How good results are that were made while the site was silent: each against the site's own label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from models.further_organs import TOLERANCE_MM
from models.masks import BoxedMask
from models.metrics.dsc import Outcome, dsc, outcome
from models.metrics.surface import surface_agreement
from models.organs import KEYS, catalogued

WORST = 5
"""Cases named of each organ."""


@dataclass(frozen=True)
class OrganAgreement:
    """One organ of one result against its label, both on the CT's grid.

    Parameters
    ----------
    organ
        Key in the catalogue.
    outcome
        Whether both say that it is there.
    dsc
        0..1; 0 where only one has it, None where neither has.
    hd95_mm
        As `models.metrics.surface.SurfaceAgreement`; None where neither has it.
    """

    organ: str
    outcome: Outcome
    dsc: float | None
    hd95_mm: float | None


@dataclass(frozen=True)
class StudyAgreement:
    """One result against the labels of its case: which case, by which release, organ by organ."""

    case: str
    release: int
    organs: tuple[OrganAgreement, ...]


@dataclass(frozen=True)
class NotCompared:
    """A case with labels that no result could be compared with: why, by code and in words."""

    case: str
    code: str
    detail: str


@dataclass(frozen=True)
class WorstCase:
    """A case and what its organ's result scored."""

    case: str
    dsc: float
    hd95_mm: float


@dataclass(frozen=True)
class OrganCompared:
    """What the results of one release come to for one organ.

    Parameters
    ----------
    release, organ
        Which.
    studies
        Of which result or label has the organ: all that follows is over these.
    median_dsc, median_hd95_mm
        Over them; a missed or hallucinated organ counts as DSC 0 and the grid's diagonal.
    worst
        Cases of the lowest DSC, the worst first, `WORST` at most.
    missed, hallucinated
        How many of them only the label has, or only the result.
    """

    release: int
    organ: str
    studies: int
    median_dsc: float
    median_hd95_mm: float
    worst: tuple[WorstCase, ...]
    missed: int
    hallucinated: int


@dataclass(frozen=True)
class SilentResults:
    """What a site's own labels say of the results that were made while it was silent; no verdict.

    Parameters
    ----------
    studies
        Results that were compared.
    organs
        By release and organ, in the catalogue's order, then those outside of it by key.
    not_compared
        Cases of independent truth that no result could be compared with.
    """

    studies: int
    organs: tuple[OrganCompared, ...]
    not_compared: tuple[NotCompared, ...]


def organ_agreement(
    key: str, result: BoxedMask, label: BoxedMask, spacing_mm: tuple[float, float, float]
) -> OrganAgreement:
    """Return how far a result and a label agree on an organ.

    Parameters
    ----------
    key
        Of the organ; the catalogue gives the surface's tolerance of its own.
    result, label
        On one grid.
    spacing_mm
        Of its voxels, along (k, j, i), millimetres.
    """
    ours, theirs = result.dense(), label.dense()
    entry = catalogued(key)
    tolerance_mm = TOLERANCE_MM if entry is None else entry.nsd_tolerance_mm
    surface = surface_agreement(ours, theirs, spacing_mm, tolerance_mm)
    agreed = outcome(predicted=result.any(), true=label.any())
    return OrganAgreement(key, agreed, dsc(ours, theirs), surface.hd95_mm if surface else None)


def summed(studies: Iterable[StudyAgreement], not_compared: Iterable[NotCompared]) -> SilentResults:
    """Return what single comparisons come to, by release and organ."""
    found: dict[tuple[int, str], list[tuple[WorstCase, Outcome]]] = defaultdict(list)
    all_studies = tuple(studies)
    for study in all_studies:
        for one in study.organs:
            if one.dsc is not None and one.hd95_mm is not None:
                scored = WorstCase(study.case, one.dsc, one.hd95_mm)
                found[study.release, one.organ].append((scored, one.outcome))
    places = {key: place for place, key in enumerate(KEYS)}
    order = sorted(found, key=lambda which: (which[0], places.get(which[1], len(places)), which[1]))
    return SilentResults(
        len(all_studies), tuple(_organ(*which, found[which]) for which in order), tuple(not_compared)
    )


def _organ(release: int, key: str, found: list[tuple[WorstCase, Outcome]]) -> OrganCompared:
    scores = sorted((one for one, _ in found), key=lambda one: (one.dsc, -one.hd95_mm, one.case))
    outcomes = [agreed for _, agreed in found]
    return OrganCompared(
        release=release,
        organ=key,
        studies=len(scores),
        median_dsc=median(one.dsc for one in scores),
        median_hd95_mm=median(one.hd95_mm for one in scores),
        worst=tuple(scores[:WORST]),
        missed=outcomes.count(Outcome.MISSED),
        hallucinated=outcomes.count(Outcome.HALLUCINATED),
    )
