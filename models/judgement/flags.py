"""From bound and reasons to what the reader is told: clear, review, reject, or nothing."""

from __future__ import annotations

from collections.abc import Iterable

from models.findings import Flag
from models.judgement.reasons import CONTRADICTS_PRESENCE, NO_BOUND, Reason


def flag(
    target: float | None, bound: float | None, reasons: Iterable[Reason]
) -> tuple[Flag, tuple[Reason, ...]]:
    """Decide one organ's flag.

    Parameters
    ----------
    target
        The organ's target of DSC (`models.targets`), 0..1; None: nobody has established it.
    bound
        Lower bound of DSC, 0..1; None when none can be claimed.
    reasons
        Broken rules (of an absent organ there is always one), `uncalibrated`, `out-of-domain`,
        `doubtful-slices` and `random-audit`, as they hold. An organ without a target gets `no-target`, and
        is not judged: it would be for review in every study.

    Returns
    -------
    flag : Flag
        `reject` when the bound is under half the organ's target or a rule contradicts presence;
        `review` for any other reason, a bound under the target among them; else `clear`. Out of domain
        everything is for review and nothing is rejected: what the rules rest on, the other organs,
        is then itself in doubt. `not-judged` without a target, whatever the reasons.
    reasons : tuple of Reason
        All of them, most important first; empty exactly when clear.

    Raises
    ------
    ValueError
        If a bound is claimed with one of `NO_BOUND`, or for an organ without a target.
    """
    held = set(reasons)
    if target is None:
        held.add(Reason.NO_TARGET)
    if bound is not None:
        if target is None or held & NO_BOUND:
            raise ValueError(f"no bound can be claimed: {sorted(held)}")
        if bound < target / 2:
            held.add(Reason.BOUND_UNDER_HALF_TARGET)
        elif bound < target:
            held.add(Reason.BOUND_UNDER_TARGET)
    ordered = tuple(reason for reason in Reason if reason in held)
    if target is None:
        return Flag.NOT_JUDGED, ordered
    if not ordered:
        return Flag.CLEAR, ()
    fatal = CONTRADICTS_PRESENCE | {Reason.BOUND_UNDER_HALF_TARGET}
    if held & fatal and Reason.OUT_OF_DOMAIN not in held:
        return Flag.REJECT, ordered
    return Flag.REVIEW, ordered
