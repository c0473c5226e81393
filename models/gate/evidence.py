"""What both releases scored, as the gate is given it, and which of it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.corrections.ledger import INDEPENDENT
from models.gate.paired import Metric, PairedScore
from models.gate.report import GateCase


@dataclass(frozen=True)
class OrganEvidence:
    """Both releases on one organ; the candidate alone where the incumbent lacks it.

    Parameters
    ----------
    gate_set
        Every case of the frozen gate set, all sites the incumbent serves.
    target
        Held-out cases of the kind the corrections came from, where a gain is expected; may share cases
        with the gate set, never a patient with the corrections learnt from. May be empty when untouched.
    """

    gate_set: tuple[PairedScore, ...]
    target: tuple[PairedScore, ...] = ()

    @property
    def every(self) -> tuple[PairedScore, ...]:
        """Every case once, by identifier."""
        found = {score.case: score for score in self.gate_set + self.target}
        return tuple(score for _, score in sorted(found.items()))

    @property
    def deciding(self) -> tuple[PairedScore, ...]:
        """Every case with independent truth, once, by identifier."""
        return independent(self.every)


def independent(scores: tuple[PairedScore, ...]) -> tuple[PairedScore, ...]:
    """Return the cases whose truth was drawn without our result."""
    return tuple(score for score in scores if score.origin == INDEPENDENT)


def every_case(evidence: OrganEvidence, allowed: Mapping[str, float]) -> tuple[GateCase, ...]:
    """Return what both releases scored, case by case, and what each may lose."""
    return tuple(
        GateCase(
            case=s.case,
            site=s.site,
            origin=s.origin,
            groups=s.groups,
            incumbent=s.incumbent.dsc,
            candidate=s.candidate.dsc,
            difference=s.difference,
            surface_difference=s.change(Metric.NSD),
            may_lose=allowed.get(s.case),
        )
        for s in evidence.every
    )


def taken_voxels(scores: Sequence[PairedScore]) -> dict[str, int]:
    """Return by other organ the voxels the candidate shares with it beyond those the incumbent shared."""
    taken: dict[str, int] = {}
    for score in scores:
        for organ, voxels in score.taken_voxels.items():
            taken[organ] = taken.get(organ, 0) + voxels
    return dict(sorted(taken.items()))
