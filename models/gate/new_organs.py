"""The gate on an organ that the incumbent lacks: nothing to compare with, so a person decides, told all.

What is known to be far too bad is refused, and what nobody has measured is not approved unseen: a name under
a promotion is no measurement.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from models.gate.evidence import OrganEvidence, every_case, independent, taken_voxels
from models.gate.paired import PairedScore
from models.gate.report import BoundCheck, Decision, GateReason, NewOrgan, OrganGate, gravest, in_order
from models.metrics.dsc import Outcome
from models.organs import organ as catalogue_entry
from models.targets import Required

POOR_SHARE = 0.5
"""Share of an organ's target under which a DSC is poor: as far down a single result is rejected."""

SHOWN = 5
"""Cases named to be looked at."""


def new_organ(
    organ: str,
    required: Required,
    evidence: OrganEvidence,
    estimate: float | None,
    bounded: bool,
    bound: BoundCheck | None,
    bound_reasons: Collection[GateReason],
) -> OrganGate:
    """Say what is known of an organ the incumbent lacks.

    Parameters
    ----------
    organ
        Key in the catalogue.
    required
        What is established of it.
    evidence
        The candidate's scores; cases of which nobody drew the organ say only what it shares with others.
    estimate
        DSC that tuning estimated on patients that only judged; None if it has none.
    bounded
        Whether the candidate claims a bound of DSC for it.
    bound, bound_reasons
        Whether its bounds held, and what follows.

    Returns
    -------
    OrganGate
        `needs-approval` at best.
    """
    entry = catalogue_entry(organ)
    found = _found(evidence, required.dsc_target, estimate, bounded)
    measured = found.estimate if found.mean is None else found.mean
    reasons = [
        GateReason("new-organ", Decision.NEEDS_APPROVAL, _told(entry.label, found)),
        *bound_reasons,
    ]
    if measured is None:
        detail = "No gate case has it by independent truth, and tuning judged it on no patient."
        reasons.append(GateReason("new-organ-unmeasured", Decision.INSUFFICIENT_EVIDENCE, detail))
    elif measured <= 0 or measured < POOR_SHARE * (found.target or 0):
        half = "" if found.target is None else f", under half its target of {found.target:.2f}"
        detail = f"Its DSC is {measured:.3f}{half}; no person's word makes that good enough."
        reasons.append(GateReason("new-organ-poor", Decision.REFUSE, detail))
    return OrganGate(
        organ=organ,
        tuned=False,
        margin=required.gate_margin,
        decision=gravest(reasons),
        reasons=in_order(reasons),
        bound=bound,
        taken_voxels=taken_voxels(evidence.every),
        cases=every_case(evidence, {}),
        new=found,
    )


def _found(evidence: OrganEvidence, target: float | None, estimate: float | None, bounded: bool) -> NewOrgan:
    deciding = independent(evidence.every)
    drawn = [score for score in deciding if score.candidate.outcome is not None]
    outcomes = [score.candidate.outcome for score in drawn]
    by_patient: dict[str, list[float]] = {}
    for score in drawn:
        if score.truly_there and score.candidate.dsc is not None:
            by_patient.setdefault(score.patient, []).append(score.candidate.dsc)
    means = [float(np.mean(values)) for values in by_patient.values()]
    return NewOrgan(
        cases=len(evidence.every),
        drawn=len(drawn),
        patients=len(means),
        mean=float(np.mean(means)) if means else None,
        least=min(means) if means else None,
        missed=outcomes.count(Outcome.MISSED),
        hallucinated=outcomes.count(Outcome.HALLUCINATED),
        target=target,
        estimate=estimate,
        bounded=bounded,
        shown=tuple((score.case, score.candidate.dsc) for score in _to_see(deciding)),
    )


def _to_see(scores: Collection[PairedScore]) -> list[PairedScore]:
    """Return the worst cases, then cases of which nobody drew it; where it is rightly absent, none."""
    there = [score for score in scores if score.candidate.outcome is not Outcome.ABSENT]
    return sorted(there, key=lambda s: (s.candidate.dsc is None, s.candidate.dsc or 0.0, s.case))[:SHOWN]


def _told(label: str, found: NewOrgan) -> str:
    """Return all a person needs in a few sentences."""
    name, asked = label.lower(), f"{found.cases} gate cases"
    target = "no target is established" if found.target is None else f"its target is {found.target:.2f}"
    said = [f"The incumbent has no {name} to compare it with; {target}."]
    if found.mean is not None and found.least is not None:
        said.append(
            f"{found.patients} gate patients have it by independent truth: mean DSC {found.mean:.3f}"
            f"{_under(found.mean, found.target)}, least {found.least:.3f}; missed in {found.missed} cases, "
            f"found in {found.hallucinated} that have none."
        )
    elif found.drawn:
        said.append(f"Nobody has measured it: it is absent from all {found.drawn} of {asked} that say so.")
    else:
        said.append(f"Nobody has measured it: none of {asked} has independent truth of it.")
    if found.estimate is not None:
        under = _under(found.estimate, found.target)
        said.append(
            f"Tuning itself estimated a DSC of {found.estimate:.3f}{under}, on patients that only judged."
        )
    if found.target is None:
        said.append("Results of it will not be judged.")
    elif not found.bounded:
        said.append("It has no bound: every result of it will be for review.")
    return " ".join(said)


def _under(dsc: float, target: float | None) -> str:
    return " (under the target)" if target is not None and dsc < target else ""
