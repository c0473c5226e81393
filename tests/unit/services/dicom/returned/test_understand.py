"""Which segment is which organ, and what is left in doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.errors import Refused
from models.findings import Flag
from models.geometry import Geometry
from models.masks import BoxedMask
from models.organs import CATALOGUE, LEFT, RIGHT, Code, organ
from services.dicom.returned.answers import Answers, WrongAnswer
from services.dicom.returned.claims import Doubt, Question
from services.dicom.returned.understand import ReturnedSeg, Status, understand
from services.dicom.seg.names import marked_label, organ_by_code, organ_by_label, plain_label
from services.dicom.seg.reader import ReadSegment, SegObject

SHAPE = (3, 12, 12)
GRID = Geometry(SHAPE, np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float))
TISSUE = Code("T-D0050", "SRT", "Tissue")


def box(rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, slice(*rows), slice(*columns)] = True
    return mask


PLACES = {
    "right_kidney": box((7, 10), (1, 4)),
    "left_kidney": box((7, 10), (8, 11)),
    "liver": box((1, 6), (1, 7)),
    "stomach": box((1, 6), (7, 11)),
    "gallbladder": np.zeros(SHAPE, dtype=bool),
}


def seg(*segments: ReadSegment) -> SegObject:
    return SegObject("1.2.3", "1.2", segments)


def sent_segment(number: int, key: str) -> ReadSegment:
    entry = organ(key)
    return ReadSegment(
        number,
        entry.label,
        entry.type,
        entry.laterality,
        f"9.{number}",
        "AUTOMATIC",
        BoxedMask.of(PLACES[key]),
    )


def redrawn(segment: ReadSegment, mask: np.ndarray) -> ReadSegment:
    return replace(segment, mask=BoxedMask.of(mask))


def drawn(number: int, label: str, mask: np.ndarray, type_: Code | None = TISSUE) -> ReadSegment:
    """A segment as a viewer saves it that drops tracking and code."""
    return ReadSegment(number, label, type_, None, None, "MANUAL", BoxedMask.of(mask))


SENT = seg(*(sent_segment(number, key) for number, key in enumerate(PLACES, start=1)))


def saved(**masks: np.ndarray) -> list[ReadSegment]:
    """What was sent, saved by such a viewer, with some masks redrawn."""
    return [
        drawn(number, organ(key).label, masks.get(key, PLACES[key]))
        for number, key in enumerate(PLACES, start=1)
    ]


def doubts(*segments: ReadSegment) -> dict[int | None, Doubt]:
    return {question.segment: question.why for question in understand(seg(*segments), SENT, GRID).questions}


def test_our_own_seg_is_unchanged_with_and_without_its_tags():
    assert understand(SENT, SENT, GRID).status is Status.UNCHANGED
    assert understand(seg(*saved()), SENT, GRID).status is Status.UNCHANGED


def test_order_and_numbers_of_segments_say_nothing():
    shuffled = [
        drawn(9 - n, segment.label, segment.mask.dense()) for n, segment in enumerate(reversed(saved()))
    ]
    assert understand(seg(*shuffled), SENT, GRID).status is Status.UNCHANGED


def test_one_voxel_makes_a_correction():
    liver = PLACES["liver"].copy()
    liver[0, 0, 0] = True
    answer = understand(seg(*saved(liver=liver)), SENT, GRID)
    assert answer.status is Status.CORRECTION
    assert answer.questions == ()
    assert answer.returned["liver"].plane(0)[0, 0]


@pytest.mark.parametrize("label", ["Leber", "liver (edited)", "LIVER", "Segment 1", ""])
def test_a_label_in_other_words_or_none_is_settled_by_overlap(label):
    segments = [drawn(7, label, PLACES["liver"]), *(s for s in saved() if s.label != "Liver")]
    assert understand(seg(*segments), SENT, GRID).status is Status.UNCHANGED


def test_a_label_in_other_words_is_doubted_where_the_overlap_disagrees():
    others = [s for s in saved() if s.label not in ("Liver", "Stomach")]
    found = doubts(drawn(7, "Leber", PLACES["stomach"]), drawn(8, "Stomach", PLACES["stomach"]), *others)
    assert found == {7: Doubt.OVERLAP_DISAGREES}, "the stomach is certain, the liver already in question"


def test_swapped_sides_are_caught_whatever_the_labels_say():
    kidneys = {"right_kidney": PLACES["left_kidney"], "left_kidney": PLACES["right_kidney"]}
    assert doubts(*saved(**kidneys)) == {1: Doubt.SIDES_SWAPPED, 2: Doubt.SIDES_SWAPPED}


def test_a_kidney_drawn_where_none_was_sent_must_lie_on_its_side_of_the_other():
    absent = redrawn(sent_segment(2, "left_kidney"), np.zeros(SHAPE, bool))
    sent = seg(SENT.segments[0], absent)

    def returned(columns):
        left = drawn(2, "Left kidney", box((7, 10), columns))
        return understand(seg(saved()[0], left), sent, GRID)

    assert returned((8, 11)).questions == ()
    (question,) = returned((0, 1)).questions
    assert (question.segment, question.why) == (2, Doubt.SIDES_SWAPPED)


def test_a_change_that_an_algorithm_drew_is_no_readers_word():
    liver = PLACES["liver"].copy()
    liver[0, 0, 0] = True
    others = [s for s in saved() if s.label != "Liver"]
    answer = understand(seg(redrawn(SENT.segments[2], liver), *others), SENT, GRID)
    assert answer.questions == (Question(3, "Liver", ("liver",), Doubt.AUTOMATIC),)
    assert "liver" not in answer.returned
    semi = replace(redrawn(SENT.segments[2], liver), algorithm_type="SEMIAUTOMATIC")
    assert doubts(semi, *others) == {}


@pytest.mark.parametrize("algorithm_type", ["", "MANUAM"])
def test_a_change_of_which_nobody_says_who_drew_it_is_asked_about(algorithm_type):
    redrawn = drawn(3, "Liver", box((1, 6), (1, 6)))
    others = [s for s in saved() if s.label != "Liver"]
    assert doubts(replace(redrawn, algorithm_type=algorithm_type), *others) == {3: Doubt.DRAWER_UNKNOWN}


def test_a_segment_in_which_nothing_was_drawn_is_no_question():
    nothing = np.zeros(SHAPE, bool)
    added = (drawn(6, "Bladder", nothing), drawn(7, "Spleen", nothing), drawn(8, "Check: Liver", nothing))
    answer = understand(seg(*saved(), *added), SENT, GRID)
    assert (answer.status, answer.questions) == (Status.UNCHANGED, ())
    emptied = [s for s in saved() if s.label != "Liver"]
    assert doubts(*emptied, drawn(3, "Leber", nothing)) == {3: Doubt.NOT_RECOGNISED}, "the liver was sent"


def test_a_region_of_our_review_seg_is_no_organ_however_well_it_overlaps():
    others = [s for s in saved() if s.label != "Stomach"]
    region = drawn(4, "Check: Stomach", PLACES["stomach"])
    assert doubts(*others, region) == {4: Doubt.NOT_RECOGNISED}
    with pytest.raises(Refused, match="not-ours"):
        understand(seg(region), SENT, GRID)


def test_a_type_that_names_something_else_is_doubted_where_it_lies_in_an_organs_place():
    heart = Code("80891009", "SCT", "Heart")
    others = [s for s in saved() if s.label != "Stomach"]
    assert doubts(*others, drawn(4, "", PLACES["stomach"], heart)) == {4: Doubt.NOT_RECOGNISED}
    assert doubts(*others, drawn(4, "Stomach", PLACES["stomach"], heart)) == {4: Doubt.NAMES_DISAGREE}
    organ_at_large = Code("T-D0060", "SRT", "Organ")
    assert doubts(*others, drawn(4, "Stomach", PLACES["stomach"], organ_at_large)) == {}


def answered(segments: list[ReadSegment], *words: str) -> ReturnedSeg:
    return understand(seg(*segments), SENT, GRID, Answers.parse(words))


NEW = drawn(6, "Thing", box((10, 12), (10, 12)))


def test_an_answer_names_a_segment_that_was_not_recognised():
    assert [q.segment for q in answered([*saved(), NEW]).questions] == [6]
    answer = answered([*saved(), NEW], "6=spleen")
    assert (answer.status, answer.questions) == (Status.CORRECTION, ())
    assert answer.returned["spleen"].voxels == 12


def test_a_segment_answered_to_be_none_is_no_organ_and_no_question():
    answer = answered([*saved(), NEW], "6=none")
    assert (answer.status, answer.questions) == (Status.UNCHANGED, ())


def test_an_answer_says_which_of_two_segments_is_the_organ():
    twice = [*saved(), drawn(6, "Liver", box((1, 6), (1, 6)))]
    answer = answered(twice, "6=liver")
    assert answer.returned["liver"].voxels == 75
    assert [(q.segment, q.why) for q in answer.questions] == [(3, Doubt.CLAIMED_TWICE)]
    assert answered(twice, "6=liver", "3=none").questions == ()


def test_an_answer_lets_a_person_vouch_for_what_a_viewer_left_automatic():
    liver = PLACES["liver"].copy()
    liver[0, 0, 0] = True
    segments = [
        *(s for s in saved() if s.label != "Liver"),
        redrawn(SENT.segments[2], liver),
    ]
    answer = answered(segments, "3=liver")
    assert (answer.status, answer.questions) == (Status.CORRECTION, ())
    assert np.array_equal(answer.returned["liver"].dense(), liver)


@pytest.mark.parametrize(
    ("fate", "status", "voxels"),
    [("deleted", Status.CORRECTION, 0), ("not-reviewed", Status.UNCHANGED, None)],
)
def test_an_answer_says_why_an_organ_did_not_come_back(fate, status, voxels):
    answer = answered([s for s in saved() if s.label != "Stomach"], f"stomach={fate}")
    assert (answer.status, answer.questions) == (status, ())
    assert (answer.returned["stomach"].voxels if "stomach" in answer.returned else None) == voxels


def test_an_organ_whose_segment_is_none_may_then_be_deleted():
    segments = [*(s for s in saved() if s.label != "Stomach"), drawn(4, "Stomach", box((10, 12), (10, 12)))]
    assert [q.why for q in answered(segments).questions] == [Doubt.NO_OVERLAP]
    left = answered(segments, "4=none").questions
    assert [(q.segment, q.candidates, q.why) for q in left] == [(None, ("stomach",), Doubt.NOT_RETURNED)]
    assert answered(segments, "4=none", "stomach=deleted").questions == ()
    with pytest.raises(WrongAnswer, match="answer that first"):
        answered(segments, "stomach=deleted")


def test_an_answer_cannot_put_a_kidney_on_the_other_side():
    kidneys = {"right_kidney": PLACES["left_kidney"], "left_kidney": PLACES["right_kidney"]}
    believed = answered(saved(**kidneys), "1=left_kidney", "2=right_kidney")
    assert (believed.status, believed.questions) == (Status.UNCHANGED, ()), "only the labels were swapped"
    stays = answered(saved(**kidneys), "1=right_kidney", "2=left_kidney")
    assert [q.why for q in stays.questions] == [Doubt.SIDES_SWAPPED] * 2
    assert not {"right_kidney", "left_kidney"} & stays.returned.keys()


def test_sides_that_were_sent_swapped_are_believed_from_the_reader_who_put_them_right():
    wrong = seg(
        redrawn(sent_segment(1, "right_kidney"), PLACES["left_kidney"]),
        redrawn(sent_segment(2, "left_kidney"), PLACES["right_kidney"]),
    )
    right = seg(*saved()[:2])
    assert {q.why for q in understand(right, wrong, GRID).questions} == {Doubt.SIDES_SWAPPED}
    answers = Answers.parse(["1=right_kidney", "2=left_kidney"])
    answer = understand(right, wrong, GRID, answers)
    assert answer.questions == ()
    assert np.array_equal(answer.returned["right_kidney"].dense(), PLACES["right_kidney"])


def test_answers_told_again_change_nothing_and_an_answer_that_is_certain_is_none():
    answer = answered([*saved(), NEW], "6=spleen", "3=liver")
    assert answer.returned.keys() == {*PLACES, "spleen"}


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("9=liver", "there is no segment 9"),
        ("3=stomach", "segment 3 is the liver beyond doubt"),
        ("3=none", "segment 3 is the liver beyond doubt"),
        ("6=liver", "two segments"),
        ("liver=deleted", "the liver came back"),
        ("aorta=deleted", "no aorta was sent"),
        ("gallbladder=not-reviewed", "no gallbladder was sent"),
    ],
)
def test_an_answer_to_what_is_not_asked_is_a_slip(word, why):
    with pytest.raises(WrongAnswer, match=why):
        answered([*saved(), NEW], word)


def test_a_stranger_does_not_become_a_correction_by_an_answer():
    with pytest.raises(Refused, match="not-ours"):
        answered([drawn(1, "Vertebra", box((10, 12), (4, 6)))], "1=spleen")


def test_two_segments_for_one_organ_are_both_doubted():
    found = doubts(*saved(), drawn(6, "Liver", box((1, 6), (1, 6))))
    assert found == {3: Doubt.CLAIMED_TWICE, 6: Doubt.CLAIMED_TWICE}


def test_an_organ_that_did_not_come_back_is_a_question_not_a_removal():
    answer = understand(seg(*(s for s in saved() if s.label != "Stomach")), SENT, GRID)
    (question,) = answer.questions
    assert (question.segment, question.candidates, question.why) == (None, ("stomach",), Doubt.NOT_RETURNED)
    assert "stomach" not in answer.returned


def test_an_organ_erased_altogether_is_a_removal():
    answer = understand(seg(*saved(stomach=np.zeros(SHAPE, bool))), SENT, GRID)
    assert answer.questions == ()
    assert not answer.returned["stomach"].any()


def test_an_absent_organ_may_be_drawn_where_nothing_was_sent():
    answer = understand(seg(*saved(gallbladder=box((4, 6), (5, 7)))), SENT, GRID)
    assert answer.questions == ()
    assert answer.returned["gallbladder"].voxels == 12


def test_a_new_organ_counts_by_its_code_and_not_by_its_label_alone():
    spleen = box((10, 12), (10, 12))
    coded = understand(seg(*saved(), drawn(6, "Milz", spleen, organ("spleen").type)), SENT, GRID)
    assert coded.returned["spleen"].voxels == 12
    assert doubts(*saved(), drawn(6, "Spleen", spleen)) == {6: Doubt.NOT_RECOGNISED}


def test_an_organ_redrawn_wholly_elsewhere_is_doubted():
    assert doubts(*saved(stomach=box((10, 12), (10, 12)))) == {4: Doubt.NO_OVERLAP}


def test_names_that_disagree_are_settled_by_overlap_or_doubted():
    liver_by_code = organ("liver").type
    others = [s for s in saved() if s.label not in ("Liver", "Stomach")]
    clear = drawn(4, "Stomach", PLACES["stomach"], liver_by_code)
    assert 4 not in doubts(clear, *others)
    unclear = drawn(4, "Stomach", box((10, 12), (10, 12)), liver_by_code)
    assert doubts(unclear, *others)[4] is Doubt.NAMES_DISAGREE


def test_nothing_drawn_is_refused_unless_nothing_was_sent():
    nothing = {key: np.zeros(SHAPE, bool) for key in PLACES}
    with pytest.raises(Refused, match="empty"):
        understand(seg(*saved(**nothing)), SENT, GRID)
    absent = seg(SENT.segments[-1])
    assert understand(seg(drawn(1, "Gallbladder", nothing["liver"])), absent, GRID).status is Status.UNCHANGED


def test_a_seg_of_other_things_is_a_stranger():
    with pytest.raises(Refused, match="not-ours"):
        understand(seg(drawn(1, "Vertebra", box((10, 12), (4, 6)))), SENT, GRID)


def test_a_sent_seg_that_names_no_organ_of_ours_is_refused():
    with pytest.raises(Refused, match="unknown-organ"):
        understand(SENT, seg(drawn(1, "Thing", PLACES["liver"])), GRID)


def test_retired_codes_and_codes_that_hold_the_side_name_organs():
    assert organ_by_code(Code("T-62000", "SRT", "Liver"), None) == "liver"
    assert organ_by_code(Code("9846003", "SCT", "Right kidney"), None) == "right_kidney"
    kidney = organ("left_kidney").type
    assert organ_by_code(kidney, LEFT) == "left_kidney"
    assert organ_by_code(kidney, RIGHT) == "right_kidney"
    assert organ_by_code(kidney, None) is None, "a kidney without a side may be either"
    assert organ_by_code(TISSUE, None) is None


def test_labels_name_organs_through_case_brackets_and_other_words():
    assert organ_by_label("Right_Kidney") == "right_kidney"
    assert organ_by_label("inferior vena cava") == organ_by_label("IVC") == "postcava"
    assert organ_by_label("Check: Liver") is None


@given(st.sampled_from([one.label for one in CATALOGUE]) | st.text(max_size=57), st.sampled_from(Flag))
def test_a_label_that_bears_a_flag_is_read_back_as_the_organs_own(label, flag):
    assume(plain_label(label) == label == label.strip())  # a site's file may name none that says a flag
    marked = marked_label(label, flag)
    assert plain_label(marked) == label
    assert organ_by_label(marked) == organ_by_label(label)
    assert len(marked) <= 64
    assert (marked == label) == (flag in (Flag.CLEAR, Flag.NOT_JUDGED))
