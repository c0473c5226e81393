"""Paired scores of the gate in flat words: ``incumbent_dsc``, ``candidate_outcome`` and so on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from models.gate.organ_score import LACKING, OrganScore
from models.gate.paired import PairedScore
from models.metrics.dsc import Outcome

SIDES = ("incumbent_", "candidate_")


def paired(**facts: Any) -> PairedScore:
    """Return a pair; what is not said of a release is not known."""
    return changed(PairedScore(LACKING, LACKING, "", "", "", ""), **facts)


def changed(score: PairedScore, **facts: Any) -> PairedScore:
    """Return a pair with other facts; ``again`` is DSC and surface DSC of each further scan."""
    other = {name: value for name, value in facts.items() if not name.startswith(SIDES)}
    if "again" in other:
        other["again"] = tuple(OrganScore("", dsc, Outcome.PRESENT, nsd) for dsc, nsd in other["again"])
    for side in SIDES:
        said = {name.removeprefix(side): value for name, value in facts.items() if name.startswith(side)}
        other[side[:-1]] = replace(getattr(score, side[:-1]), **said)
    return replace(score, **other)
