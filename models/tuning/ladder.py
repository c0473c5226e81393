"""Which level of tuning to keep, and what it means where none is enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.tuning.settings import LEVELS, LadderEnd, Rung

FORGETS = 0.02
"""Most DSC that a level may lose on studies of the old sites and still meet the target."""

ANY_TARGET = 0.8
"""DSC aimed at for an organ of which nobody has established one."""

LEVEL_WORTH = 0.005
"""DSC that a higher level must gain over a lower one to be worth its cost."""

PLATEAU = 0.02
"""Where the highest level gains less DSC over the one before, climbing further is no hope."""


def meets(rung: Rung, before: Rung, target: float) -> bool:
    """Tell whether a level is good enough.

    That is the target on new studies, no worse there than the incumbent, and the old ones not forgotten.
    """
    reached = rung.new_dsc is not None and rung.new_dsc >= target
    return reached and not _loses(rung, before) and not _forgets(rung, before)


def choose(rungs: Sequence[Rung], before: Rung, target: float) -> tuple[Rung, LadderEnd]:
    """Choose the level to keep.

    Parameters
    ----------
    rungs
        The levels tried, lowest first, at least one.
    before
        The incumbent.
    target
        DSC to reach.

    Returns
    -------
    rung, end
        The lowest that meets the target; else, of those that do not forget the old sites, if there are any,
        the lowest that is within `LEVEL_WORTH` of the best, and what that means. `forgets-old-site`: the
        target is reached where the old sites lose too much, or they lose too much at every level.
        `no-gain`: it is reached, by more than `LEVEL_WORTH` worse than the incumbent, whose head stays.
        `more-studies`: the highest fits what it learnt from and falls short on others.
        `climb-higher`: it does not fit that, and climbing still gained. `heads-not-enough`: it does not
        fit that, and climbing gains nothing any more: the trunk does not show what would be needed.
    """
    if any(rung.score is None for rung in rungs):
        return rungs[-1], LadderEnd.NOT_VALIDATED
    for rung in rungs:
        if meets(rung, before, target):
            return rung, LadderEnd.TARGET_MET
    faithful = [rung for rung in rungs if not _forgets(rung, before)] or list(rungs)
    best = max(rung.score or 0.0 for rung in faithful)
    kept = next(rung for rung in faithful if (rung.score or 0.0) >= best - LEVEL_WORTH)
    reached = [rung for rung in rungs if rung.new_dsc is not None and rung.new_dsc >= target]
    if reached:
        lost = all(_loses(rung, before) for rung in reached)
        return kept, LadderEnd.NO_GAIN if lost else LadderEnd.FORGETS
    if _forgets(kept, before):
        return kept, LadderEnd.FORGETS
    highest = rungs[-1]
    if highest.train_dsc is not None and highest.train_dsc >= target:
        return kept, LadderEnd.MORE_STUDIES
    if highest.level is LEVELS[-1] or _plateau(rungs):
        return kept, LadderEnd.HEADS_NOT_ENOUGH
    return kept, LadderEnd.CLIMB_HIGHER


def worth_keeping(rung: Rung, before: Rung) -> bool:
    """Tell whether a head is to take the incumbent's place.

    Not where it is worse on the new studies, nor where it loses on the old sites what it does not gain there.
    """
    if _loses(rung, before):
        return False
    return not _forgets(rung, before) or (rung.score or 0.0) > (before.score or 0.0)


def split(patients: Sequence[str], share: float, random: np.random.Generator) -> frozenset[str]:
    """Draw the patients that only judge: at least one of two or more, never all.

    Parameters
    ----------
    patients
        By study, in any order; a patient may come several times.
    share
        Of the patients, 0..1.
    random
        Where the draw comes from.
    """
    unique = sorted(set(patients))
    if len(unique) < 2 or share <= 0:
        return frozenset()
    count = min(max(1, round(share * len(unique))), len(unique) - 1)
    return frozenset(unique[n] for n in random.permutation(len(unique))[:count])


def _loses(rung: Rung, before: Rung) -> bool:
    """Tell whether a level is worse than the incumbent on the new studies it was to gain on."""
    if rung.new_dsc is None or before.new_dsc is None:
        return False
    return rung.new_dsc < before.new_dsc - LEVEL_WORTH


def _forgets(rung: Rung, before: Rung) -> bool:
    """Tell whether a level loses more on studies of the old sites than it may."""
    if rung.old_dsc is None or before.old_dsc is None:
        return False
    return rung.old_dsc < before.old_dsc - FORGETS


def _plateau(rungs: Sequence[Rung]) -> bool:
    return len(rungs) > 1 and (rungs[-1].new_dsc or 0.0) - (rungs[-2].new_dsc or 0.0) < PLATEAU
