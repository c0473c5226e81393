"""Which reader's word on an organ counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.corrections.ledger import OrganLedger, OrganState
from services.cases.disagreements import (
    OpenDisagreement,
    ReadersDisagree,
    takes_back,
    teaching_words,
    valid_words,
)
from services.records.entries.corrections import Agreement, Correction


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
    assert takes_back(unchanged, [first]) == (left != ["1"])
    found = names([first, unchanged])
    assert found.pop("aorta") == ["1"], "it did not come back"
    assert found.get("liver", []) == left
    early, late = "2026-01-01T12:00:00", "2026-01-02T12:00:00"
    assert not takes_back(replace(unchanged, saved_at=early), [replace(first, saved_at=late)])


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
    teaching, open_ = teaching_words(words, agreements, ReadersDisagree.ASK)
    if teaches:
        assert open_ == ()
        assert teaching["1.3", "liver"].correction.name == "3"
    else:
        assert teaching == {}
        assert open_ == (OpenDisagreement("1.3", "1.2", "liver", ("1", "2", "3"), worst),)
    latest, still_open = teaching_words(words, agreements, ReadersDisagree.LATEST)
    assert latest["1.3", "liver"].correction.name == "3"
    assert still_open == open_, "the policy decides what teaches, not what is said"
