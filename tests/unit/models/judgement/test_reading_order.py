"""In which order studies are read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.findings import Flag, OrganFinding, Presence
from models.judgement.reading_order import AUDITED_UP_TO_ML, Rank, rank_of


def finding(flag: Flag | None, *reasons: str, importance_ml: float | None = 3.0) -> OrganFinding:
    return OrganFinding(
        organ="liver",
        presence=Presence.FOUND,
        cut_by_field_of_view=False,
        volume_ml=100.0,
        flag=flag,
        reasons=reasons,
        dsc_lower_bound=None,
        confidence=None,
        entropy=None,
        disagreement=None,
        importance_ml=importance_ml,
    )


def rank(*organs: OrganFinding, urgent: bool = False, audited: bool = False, page: str = "a") -> Rank:
    return rank_of(organs, urgent=urgent, audited=audited, page=page)


REJECT = finding(Flag.REJECT, "wrong-side")
REVIEW = finding(Flag.REVIEW, "fragmented")
UNLIKE = finding(Flag.REVIEW, "out-of-domain", "fragmented")
CLEAR = finding(Flag.CLEAR)


def test_urgent_goes_before_all_then_reject_then_unlike_then_review_then_nothing() -> None:
    ranks = [
        rank(CLEAR, urgent=True),
        rank(REVIEW, REJECT, CLEAR),
        rank(UNLIKE, UNLIKE),
        rank(REVIEW, CLEAR),
        rank(CLEAR, finding(Flag.NOT_JUDGED, "no-target"), finding(None)),
    ]
    assert [one.rank for one in ranks] == sorted({one.rank for one in ranks})


def test_doubt_is_that_of_the_flagged_organs_and_nothing_where_the_ct_is_unlike_those_known() -> None:
    assert rank(REVIEW, REVIEW, CLEAR).doubt_ml == 6.0
    assert rank(REVIEW, finding(Flag.REVIEW, "not-found", importance_ml=None)).doubt_ml == 3.0
    assert rank(UNLIKE, UNLIKE).doubt_ml == 0.0


@given(st.text("0123456789abcdef", min_size=16, max_size=16), st.booleans())
def test_the_place_of_a_study_of_the_random_audit_tells_nothing_of_its_flags(page: str, urgent: bool) -> None:
    places = {
        rank(*organs, urgent=urgent, audited=True, page=page)
        for organs in ((CLEAR,), (REJECT, REVIEW), (UNLIKE,))
    }
    assert len(places) == 1
    (place,) = places
    assert place.rank == rank(REVIEW, urgent=urgent).rank
    assert 0 <= place.doubt_ml < AUDITED_UP_TO_ML
