"""A person's answers as they are given on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.organs import ORGANS
from services.dicom.returned.answers import Answers, Fate, WrongAnswer


def test_words_are_read_as_what_they_say():
    answers = Answers.parse(["3=stomach", " 5 = none ", "liver=deleted", "aorta=not-reviewed"])
    assert answers.segments == {3: "stomach", 5: None}
    assert answers.organs == {"liver": Fate.DELETED, "aorta": Fate.NOT_REVIEWED}
    assert answers.words == ("3=stomach", "5=none", "aorta=not-reviewed", "liver=deleted")
    assert Answers() == Answers.parse([])


@pytest.mark.parametrize(
    "words",
    [
        ["3"], ["3="], ["=stomach"], ["3=Stomach"], ["3=deleted"], ["-3=stomach"], ["3.0=liver"],
        ["stomach=3"], ["stomach=none"], ["Thing=deleted"], ["3=stomach", "3=liver"], ["3=stomach", "3=none"],
        ["3=liver", "5=liver"], ["3=liver", "liver=deleted"], ["liver=deleted", "liver=not-reviewed"],
        ["³=liver"],
    ],
)  # fmt: skip
def test_what_is_no_answer_or_contradicts_another_is_wrong_usage(words):
    with pytest.raises(WrongAnswer):
        Answers.parse(words)


organs = st.permutations(ORGANS)
numbers = st.lists(st.integers(0, 400), max_size=5, unique=True)


@settings(max_examples=50, deadline=None)
@given(organs, numbers, st.lists(st.sampled_from(Fate), max_size=4), st.lists(st.booleans(), min_size=5))
def test_answers_are_what_their_words_say(keys, segments, fates, is_none):
    named = {n: None if no else key for n, key, no in zip(segments, keys, is_none, strict=False)}
    answers = Answers(named, dict(zip(keys[5:], fates, strict=False)))
    assert Answers.parse(answers.words) == answers
    assert Answers.parse(reversed(answers.words)) == answers
