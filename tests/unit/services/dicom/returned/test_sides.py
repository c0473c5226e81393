"""Which side a kidney lies on, with a partner and without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.masks import BoxedMask
from models.organs import organ
from services.dicom.returned.answers import Answers
from services.dicom.returned.claims import Doubt
from services.dicom.returned.understand import understand
from services.dicom.seg.reader import ReadSegment
from tests.unit.services.dicom.returned.test_understand import (
    GRID,
    PLACES,
    SENT,
    SHAPE,
    answered,
    box,
    doubts,
    redrawn,
    saved,
    seg,
    sent_segment,
)

EMPTY = np.zeros(SHAPE, dtype=bool)


def test_a_kidney_painted_over_an_erased_partner_is_asked_about():
    asked = {1: Doubt.SIDES_SWAPPED, 2: Doubt.SIDES_SWAPPED}  # the erased one may be there by another name
    both = PLACES["right_kidney"] | PLACES["left_kidney"]
    assert doubts(*saved(right_kidney=both, left_kidney=EMPTY)) == asked
    part = PLACES["right_kidney"] & box((7, 8), (3, 4))
    part[0] |= PLACES["left_kidney"][0]
    assert doubts(*saved(right_kidney=part, left_kidney=EMPTY)) == asked
    mirrored = PLACES["left_kidney"] & box((7, 8), (8, 9)) | PLACES["right_kidney"]
    assert doubts(*saved(left_kidney=mirrored, right_kidney=EMPTY)) == asked
    grown = box((6, 10), (1, 4))
    assert doubts(*saved(right_kidney=grown, left_kidney=EMPTY)) == {}, "a kidney may be erased altogether"
    settled = answered(saved(right_kidney=both, left_kidney=EMPTY), "1=right_kidney", "2=left_kidney")
    assert settled.questions == ()
    assert not settled.returned["left_kidney"].any()


def test_a_kidney_that_was_given_to_the_other_by_us_may_be_put_right():
    wrong = PLACES["left_kidney"] | box((7, 10), (1, 3))
    sent = seg(
        redrawn(sent_segment(1, "right_kidney"), box((7, 10), (3, 4))),
        redrawn(sent_segment(2, "left_kidney"), wrong),
    )
    assert understand(seg(*saved()[:2]), sent, GRID).questions == (), "each lies on its side"
    taken = PLACES["right_kidney"] | box((7, 10), (8, 10))
    back = saved(right_kidney=taken)[:2]
    (question,) = understand(seg(*back), SENT_KIDNEYS, GRID).questions
    assert (question.segment, question.why) == (1, Doubt.SIDES_SWAPPED), "painted over a part of the other"


SENT_KIDNEYS = seg(*SENT.segments[:2])


@pytest.mark.parametrize("others", [("liver", "stomach"), ("liver", "spleen"), ("stomach",)])
@pytest.mark.parametrize(("key", "wrong"), [("right_kidney", "left_kidney"), ("left_kidney", "right_kidney")])
def test_a_kidney_without_any_partner_must_lie_on_its_side_of_the_body(others, key, wrong):
    """By liver and spleen, else by the middle of the volume; a person may say that it is right."""
    places = {**PLACES, "spleen": box((1, 4), (10, 12))}
    sent = [
        replace(
            sent_segment(n, "liver"), label=organ(o).label, type=organ(o).type, mask=BoxedMask.of(places[o])
        )
        for n, o in enumerate(others, start=1)
    ]

    def new(mask, *words):
        entry = organ(key)
        kidney = ReadSegment(9, entry.label, entry.type, entry.laterality, None, "MANUAL", BoxedMask.of(mask))
        return understand(seg(*sent, kidney), seg(*sent), GRID, Answers.parse(words))

    assert new(PLACES[key]).questions == ()
    (question,) = new(PLACES[wrong]).questions
    assert (question.segment, question.why) == (9, Doubt.SIDES_SWAPPED)
    assert question.candidates == (key, wrong)
    believed = new(PLACES[wrong], f"9={key}")
    assert believed.questions == ()
    assert key in believed.returned


def test_a_kidney_drawn_where_both_were_sent_as_absent_must_lie_on_its_side():
    sent = seg(*(redrawn(s, EMPTY) if "kidney" in s.label else s for s in SENT.segments))
    back = saved(right_kidney=PLACES["left_kidney"], left_kidney=EMPTY)
    (question,) = understand(seg(*back), sent, GRID).questions
    assert (question.segment, question.why) == (1, Doubt.SIDES_SWAPPED)
    assert understand(seg(*saved(left_kidney=EMPTY)), sent, GRID).questions == ()
