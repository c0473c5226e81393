"""Whether the bounds of DSC that a candidate claims hold on the gate set, as often as they say."""

from __future__ import annotations

import math
from collections.abc import Collection

from scipy import stats

from models.bounds.conformal import lower_bound
from models.calibration import OrganCalibration
from models.gate.paired import PairedScore
from models.gate.report import BoundCheck, Decision, GateReason


def bound_check(scores: Collection[PairedScore], calibration: OrganCalibration | None) -> BoundCheck | None:
    """Count the patients in whom the candidate's lower bound of DSC held; None where it claims none.

    Of several cases of a patient the first by identifier counts: they are not independent.
    """
    claimed: dict[str, tuple[float, float]] = {}
    for s in sorted(scores, key=lambda s: s.case):
        if s.candidate.dsc is not None and s.candidate.expected_dsc is not None:
            claimed.setdefault(s.patient, (s.candidate.dsc, s.candidate.expected_dsc))
    if calibration is None or not claimed:
        return None
    held = sum(bool(dsc >= lower_bound(expected, calibration)) for dsc, expected in claimed.values())
    return BoundCheck(len(claimed), held, calibration.confidence, calibration.cases)


def bound_holds(check: BoundCheck | None, share: float) -> list[GateReason]:
    """Refuse bounds that hold less often than they claim, as far as the gate set can show it.

    Parameters
    ----------
    check
        What was counted.
    share
        Chance that bounds as good as they claim are refused.

    Notes
    -----
    With n calibration cases the bound is the k-th smallest of their residuals, k = ceil((n+1) confidence).
    How often it holds from then on is itself a draw from Beta(k, n+1-k), so what is counted on other
    patients is beta-binomial (Vovk 2012, Conditional validity of inductive conformal predictors).
    """
    if check is None:
        return []
    rank = math.ceil((check.calibrated_on + 1) * check.confidence - 1e-9)
    beyond = check.calibrated_on + 1 - rank
    by_chance = float(stats.betabinom.cdf(check.held, check.cases, rank, beyond)) if beyond > 0 else 0.0
    if by_chance >= share:
        return []
    detail = (
        f"The bound of DSC held in {check.held} of {check.cases} patients; it claims {check.confidence:.0%}, "
        f"and from {check.calibrated_on} calibration cases so few are chance in {by_chance:.1%}."
    )
    return [GateReason("bound-not-held", Decision.REFUSE, detail)]
