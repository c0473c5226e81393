"""In which order studies are read: urgent ones first, then the worst."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from models.findings import Flag, OrganFinding
from models.judgement.reasons import Reason

NOT_URGENT = 10
"""Added to the rank of a study that is not urgent."""

REJECTED, UNLIKE, FLAGGED, NOTHING = 0, 1, 2, 9
"""Ranks: an organ must not be used; the CT is unlike those known; an organ is for review; nothing is."""

AUDITED_UP_TO_ML = 16.0
"""A study of the random audit takes a place by chance among those with so much in doubt."""


@dataclass(frozen=True)
class Rank:
    """Where a study stands among those that wait; the smaller is read first, of equals the older.

    Parameters
    ----------
    rank
        Urgency, then flag.
    doubt_ml
        Millilitres of voxels that may be wrong; the more is read first.
    """

    rank: int
    doubt_ml: float


def rank_of(organs: Iterable[OrganFinding], *, urgent: bool, audited: bool, page: str) -> Rank:
    """Return where a study stands.

    What is said of a study of the random audit must not be told by its place: it stands among those for
    review, at a place that its name on the pages decides. Out of domain, millilitres mean nothing: by age.

    Parameters
    ----------
    organs
        What was found.
    urgent
        Whether it was requested so.
    audited
        Whether it was drawn for the random audit.
    page
        Its name on the pages.
    """
    found = tuple(organs)
    before = 0 if urgent else NOT_URGENT
    if audited:
        chance = int.from_bytes(hashlib.sha256(page.encode()).digest()[:4]) / 2**32
        return Rank(before + FLAGGED, chance * AUDITED_UP_TO_ML)
    flagged = [one for one in found if one.flagged]
    doubt_ml = sum(one.importance_ml or 0.0 for one in flagged)
    if any(one.flag is Flag.REJECT for one in flagged):
        return Rank(before + REJECTED, doubt_ml)
    if any(Reason.OUT_OF_DOMAIN in one.reasons for one in flagged):
        return Rank(before + UNLIKE, 0.0)
    return Rank(before + (FLAGGED if flagged else NOTHING), doubt_ml)
