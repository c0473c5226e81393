"""Which reader's word on an organ counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.corrections.ledger import OrganLedger, OrganState
from services.cases.disagreements import (
    OpenDisagreement,
    Policy,
    ReadersDisagree,
    takes_back,
    teaching_words,
    valid_words,
)
from services.records.entries.corrections import Agreement, Correction
from tests.support.established import established


def entry(organ: str, state: OrganState = OrganState.EDITED) -> OrganLedger:
    return OrganLedger(organ, state, 9, 9, 0, 0.1, 0.1, 1.0)


def save(uid: str, *organs: str, reader: str = "A", **other: object) -> Correction:
    told = Correction(
        uid, "1.1", "1.2", "1.3", 1, "correction", reader, "viewer", tuple(entry(key) for key in organs)
    )
    return replace(told, **other)


def names(corrections: list[Correction]) -> dict[str, list[str]]:
    return {
        organ: [word.correction.name for word in said]
        for (_, organ), said in valid_words(corrections).items()
    }


def test_a_reader_replaces_an_own_word_organ_by_organ():
    assert names([save("1", "liver", "aorta"), save("2", "liver")]) == {"aorta": ["1"], "liver": ["2"]}


def test_readers_stand_side_by_side_in_order_of_arrival():
    said = [save("1", "liver"), save("2", "liver", reader="B"), save("3", "liver")]
    assert names(said) == {"liver": ["2", "3"]}


def test_saves_that_name_no_reader_are_a_word_each():
    assert names([save("1", "liver", reader=""), save("2", "liver", reader="")]) == {"liver": ["1", "2"]}
    assert names([save("1", "liver", reader=""), save("1", "liver", reader="", version=2)]) == {
        "liver": ["1/2"]
    }


def test_a_version_stands_for_the_whole_object():
    said = [save("1", "liver", "aorta"), save("1", "liver", version=2)]
    assert names(said) == {"liver": ["1/2"]}, "what is not in it any more was taken back by the reader"


def test_a_new_version_of_an_old_save_is_the_latest_word():
    said = [save("1", "liver"), save("2", "liver"), save("1", "liver", version=2, content="new")]
    assert names(said) == {"liver": ["1/2"]}


def test_what_is_said_of_an_old_content_keeps_its_place():
    assert names([save("1", "liver"), save("2", "liver"), save("1", "liver", version=2)]) == {"liver": ["2"]}


def test_what_is_withdrawn_counts_as_never_said():
    assert names([save("1", "liver"), save("2", "liver", withdrawn=True)]) == {"liver": ["1"]}
    assert names([save("1", "liver", withdrawn=True)]) == {}
    assert names([save("1", "liver"), save("2", "liver", reader="B", withdrawn=True)]) == {"liver": ["1"]}


@pytest.mark.parametrize(
    ("said", "back", "left"),
    [
        ("A", "A", []),
        ("A", "B", ["1"]),
        ("", "A", ["1", "2"]),
        ("A", "", ["1", "2"]),
        ("", "", ["1", "2"]),
    ],
)
def test_a_save_as_it_was_sent_takes_an_own_word_back_and_doubts_one_of_nobody(said, back, left):
    first = save("1", "liver", "aorta", reader=said)
    unchanged = save("2", reader=back, status="ours-unchanged")
    unchanged = replace(unchanged, organs=(entry("liver", OrganState.NOT_REVIEWED),))
    assert takes_back(unchanged, [first, unchanged]) == (left != ["1"])
    found = names([first, unchanged])
    assert found.pop("aorta") == ["1"], "it did not come back"
    assert found.get("liver", []) == left
    before, after = replace(unchanged, arrived=7), replace(first, arrived=8)
    assert not takes_back(before, [before, after])
    assert names([after, before])["liver"] == ["1"], "it came before, whichever was read first"


CLOCKS = st.none() | st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat)
"""What an object says of when it was saved: nothing, or any time of any zone or none, in summer or winter."""
KINDS = st.sampled_from(["correction", "ours-unchanged"])
SAVES = st.lists(st.tuples(KINDS, st.sampled_from(["A", "B", ""]), st.integers(1, 6)), max_size=6)


def came(kinds: list[tuple[str, str, int]]) -> list[Correction]:
    """Return saves with readers and places; those of one place came in an order that nobody knows."""
    return [
        save(f"1.{n}", "liver", reader=reader, status=status, arrived=place)
        for n, (status, reader, place) in enumerate(kinds)
    ]


@given(SAVES, st.data())
def test_whose_word_counts_is_the_same_whatever_clocks_say_and_whichever_save_is_read_first(kinds, data):
    saves = came(kinds)
    clocks = data.draw(st.lists(CLOCKS, min_size=len(saves), max_size=len(saves)))
    told = [replace(one, saved_at=clock) for one, clock in zip(saves, clocks, strict=True)]
    assert names(data.draw(st.permutations(told))) == names(saves)


@given(SAVES)
def test_a_word_counts_unless_its_reader_said_another_that_surely_came_later(kinds):
    saves = came(kinds)
    standing = set(names(saves).get("liver", ()))
    for one in saves:
        replaced = any(one.reader == other.reader != "" and other.arrived > one.arrived for other in saves)
        if one.status == "correction":
            assert (one.name in standing) == (not replaced)


def test_of_two_saves_of_one_reader_whose_order_nobody_knows_both_count_and_neither_is_the_latest():
    first, second = save("1", "liver", arrived=7), save("2", "liver", arrived=7)
    words = valid_words([first, second])
    assert [word.correction.name for word in words["1.3", "liver"]] == ["1", "2"]
    apart = [Agreement("1", "2", "liver", 0.5)]
    for policy in map(Policy, ReadersDisagree):
        teaching, open_ = teaching_words(words, apart, policy)
        assert (teaching, open_) == ({}, (OpenDisagreement("1.3", "1.2", "liver", ("1", "2"), 0.5),))
    teaching, open_ = teaching_words(words, [Agreement("1", "2", "liver", 0.99)], Policy())
    assert (teaching["1.3", "liver"].correction.name, open_) == ("2", ()), "they say the same"
    later = save("3", "liver", arrived=8)
    assert names([first, second, later]) == {"liver": ["3"]}


def test_a_save_as_it_was_sent_waits_where_nobody_knows_whether_the_correction_came_before_it():
    correction = save("1", "liver", arrived=7)
    unchanged = save("2", "liver", status="ours-unchanged", arrived=7)
    for order in ([correction, unchanged], [unchanged, correction]):
        words = valid_words(order)
        assert [word.correction.name for word in words["1.3", "liver"]] == ["1", "2"]
        assert takes_back(unchanged, order)
        for policy in map(Policy, ReadersDisagree):
            assert teaching_words(words, (), policy)[0] == {}


def test_what_an_earlier_version_put_on_record_came_before_all_that_has_a_place_in_the_order_of_record():
    earlier = [save("2", "liver"), save("1", "liver", status="ours-unchanged"), save("3", "liver")]
    assert names([save("4", "liver", arrived=1), *earlier]) == {"liver": ["4"]}
    assert names(earlier) == {"liver": ["3"]}
    assert names(earlier[:2]) == {}


@pytest.mark.parametrize(
    ("dscs", "teaches", "worst"),
    [
        ({"12": 0.95, "13": 0.93, "23": 0.92}, True, None),
        ({"12": 0.95, "13": 0.91, "23": 0.90}, False, 0.90),
        ({"12": 0.95, "13": 0.00, "23": 0.95}, False, 0.00),
        ({"12": 0.95, "13": 0.95}, False, None),
        ({"12": None, "13": None, "23": None}, True, None),
    ],
)
def test_three_readers_agree_in_every_pair_or_the_organ_waits(dscs, teaches, worst):
    words = valid_words([save(n, "liver", reader=n) for n in "123"])
    agreements = [Agreement(pair[0], pair[1], "liver", dsc) for pair, dsc in dscs.items()]
    teaching, open_ = teaching_words(words, agreements, Policy())
    if teaches:
        assert open_ == ()
        assert teaching["1.3", "liver"].correction.name == "3"
    else:
        assert teaching == {}
        assert open_ == (OpenDisagreement("1.3", "1.2", "liver", ("1", "2", "3"), worst),)
    latest, still_open = teaching_words(words, agreements, Policy(ReadersDisagree.LATEST))
    assert latest["1.3", "liver"].correction.name == "3"
    assert still_open == open_, "the policy decides what teaches, not what is said"


def test_readers_agree_by_what_the_site_has_established_before_what_the_catalogue_says():
    words = valid_words([save("1", "liver", reader="1"), save("2", "liver", reader="2")])
    apart = [Agreement("1", "2", "liver", 0.88)]
    assert teaching_words(words, apart, Policy())[0] == {}, "the catalogue asks for 0.92"
    for target, agreed in ((0.85, True), (0.9, False), (None, False)):
        site = Policy(targets=established({"liver": (target, 0.01)}))
        teaching, open_ = teaching_words(words, apart, site)
        assert (bool(teaching), open_ == ()) == (agreed, agreed), target
