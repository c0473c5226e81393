"""The rules that choose the series of a study are data, and each says what it did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.errors import Refused
from models.geometry import Geometry
from models.series.choice import SHIPPED, Candidate, SeriesRules, candidate_of, choose
from services.settings import Settings
from tests.support.slices import regular

RULES = SeriesRules.read()
PLAIN = {
    "orientation": "axial",
    "image_type": "ORIGINAL\\PRIMARY\\AXIAL",
    "kernel": "B30f",
    "description": "Abdomen",
    "contrast": "yes",
    "slices": 100.0,
    "step_mm": 3.0,
    "extent_mm": 297.0,
    "pixel_mm": 0.8,
    "voltage_kv": 120.0,
}


def series(uid: str, number: int | None = 1, **facts: str | float) -> Candidate:
    return Candidate(uid, number, PLAIN | facts)


SOFT = "soft kernel, not sharp"

PAIRS = {
    "axial before coronal": ({}, {"orientation": "coronal"}, "axial"),
    "original before re-encoded": (
        {},
        {"image_type": "DERIVED\\SECONDARY\\AXIAL"},
        "original, not re-encoded",
    ),
    "the longer by far": ({}, {"extent_mm": 200.0, "step_mm": 1.0, "slices": 200.0}, "longest"),
    "Siemens soft before sharp": ({}, {"kernel": "B70f"}, SOFT),
    "Siemens quantitative before lung": (
        {"kernel": "Br40d\\3"},
        {"kernel": "Bl57d"},
        SOFT,
    ),
    "GE standard before lung": ({"kernel": "STANDARD"}, {"kernel": "LUNG"}, SOFT),
    "GE standard before bone plus": (
        {"kernel": "STANDARD"},
        {"kernel": "BONEPLUS"},
        SOFT,
    ),
    "Philips B before YA": ({"kernel": "B"}, {"kernel": "YA"}, SOFT),
    "Canon body before lung": ({"kernel": "FC08"}, {"kernel": "FC51"}, SOFT),
    "an unknown kernel before a sharp one": ({"kernel": "X1"}, {"kernel": "LUNG"}, SOFT),
    "a soft kernel before an unknown one": ({}, {"kernel": ""}, SOFT),
    "soft and thick before sharp and thin": ({"step_mm": 5.0}, {"kernel": "B60f"}, SOFT),
    "thin before thick": ({"step_mm": 1.5}, {"step_mm": 5.0}, "thinnest"),
    "more slices where both are thin enough": (
        {"step_mm": 0.9, "slices": 330.0},
        {"step_mm": 0.6, "slices": 300.0, "extent_mm": 290.0},
        "most slices",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_shipped_rules_prefer(name: str) -> None:
    better, worse, rule = PAIRS[name]
    pair = [series("1.1", **better), series("1.2", **worse)]
    for arrival in (pair, pair[::-1]):
        choice = choose(arrival, RULES)
        assert choice.series_uid == "1.1"
        assert choice.reasons["1.1"] == f"chosen: {rule}"
        assert choice.reasons["1.2"].startswith(f"another is preferred by the rule {rule!r}")


def test_equals_are_settled_by_number_then_uid_and_said() -> None:
    twins = [series("1.3", 7), series("1.2", 4), series("1.1", None)]
    for arrival in (twins, twins[::-1]):
        choice = choose(arrival, RULES)
        assert choice.series_uid == "1.2"
        assert choice.reasons == {
            "1.2": "chosen: no rule; of equals, the lowest SeriesNumber",
            "1.1": "equal under every rule; its SeriesNumber or UID is higher",
            "1.3": "equal under every rule; its SeriesNumber or UID is higher",
        }


def test_of_several_that_are_good_enough_the_best_number_is_told() -> None:
    three = [series("1.1", step_mm=1.0), series("1.2", step_mm=0.6), series("1.3", step_mm=3.0)]
    for arrival in (three, three[::-1]):
        assert choose(arrival, RULES).reasons["1.3"].endswith("'thinnest' (3 against 0.6)")


def test_a_site_may_refuse_where_rules_do_not_decide() -> None:
    strict = replace(RULES, tie="refuse")
    with pytest.raises(Refused) as refusal:
        choose([series("1.1", 1), series("1.2", 2)], strict)
    assert refusal.value.code == "ambiguous-series"
    assert refusal.value.measured == {"series": 2, "series_uids": ["1.1", "1.2"]}
    assert choose([series("1.1"), series("1.2", kernel="B70f")], strict).series_uid == "1.1"


def rules_of(text: str, tmp_path: Path) -> SeriesRules:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return SeriesRules.read(path)


EXCLUDING = """
[[exclude]]
name = "head"
fact = "description"
matches = "head|neck"
[[exclude]]
name = "thick"
fact = "step_mm"
over = 5.0
"""


def test_a_site_excludes_by_words_and_numbers(tmp_path: Path) -> None:
    rules = rules_of(EXCLUDING, tmp_path)
    head, thick, fit = series("1.1", description="CT HEAD"), series("1.2", step_mm=8.0), series("1.3", 9)
    choice = choose([head, thick, fit], rules)
    assert choice.series_uid == "1.3"
    assert choice.reasons["1.1"] == "excluded by the rule 'head'"
    assert choice.reasons["1.2"] == "excluded by the rule 'thick'"
    with pytest.raises(Refused, match="excluded-by-rules"):
        choose([head, thick], rules)


WRONG = {
    "no TOML": "tie :",
    "unknown tie": 'tie = "any"',
    "unknown key": "chose = 1",
    "unknown fact": '[[prefer]]\nname = "a"\nfact = "colour"\nfirst = ["a"]',
    "unknown word in a rule": '[[prefer]]\nname = "a"\nfact = "kernel"\nfirst = ["a"]\nthen = "b"',
    "words asked for most": '[[prefer]]\nname = "a"\nfact = "kernel"\nmost = true',
    "numbers asked for words": '[[prefer]]\nname = "a"\nfact = "slices"\nfirst = ["1"]',
    "most and least": '[[prefer]]\nname = "a"\nfact = "slices"\nmost = true\nleast = true',
    "no fraction": '[[prefer]]\nname = "a"\nfact = "slices"\nmost = true\nequal_within = 2.0',
    "no expression": '[[prefer]]\nname = "a"\nfact = "kernel"\nfirst = ["("]',
    "an exclusion without limit": '[[exclude]]\nname = "a"\nfact = "slices"',
    "an exclusion of an unknown fact": '[[exclude]]\nname = "a"\nfact = "colour"\nmatches = "a"',
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_no_rule_can_say_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        rules_of(WRONG[name], tmp_path)


def test_rules_that_cannot_be_read_stop_the_program_at_the_start(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("chose = 1")
    for path in (wrong, tmp_path / "none.toml"):
        with pytest.raises(ValidationError, match="series_rules"):
            Settings(series_rules=path)
    assert Settings(series_rules=SHIPPED).series_rules == SHIPPED


KERNELS = st.sampled_from(["", "B30f", "B70f", "LUNG", "STANDARD", "FC08", "X"])


@given(
    st.lists(
        st.tuples(KERNELS, st.sampled_from([0.6, 1.0, 3.0, 5.0]), st.floats(10, 400), st.integers(1, 4)),
        min_size=1,
        max_size=6,
    ).flatmap(lambda drawn: st.tuples(st.just(drawn), st.permutations(range(len(drawn)))))
)
def test_the_order_of_arrival_decides_nothing_and_every_series_gets_its_reason(
    drawn: tuple[list[tuple[str, float, float, int]], list[int]],
) -> None:
    candidates = [
        series(f"1.{n}", number, kernel=kernel, step_mm=step, extent_mm=extent)
        for n, (kernel, step, extent, number) in enumerate(drawn[0])
    ]
    choice = choose(candidates, RULES)
    assert choice == choose([candidates[n] for n in drawn[1]], RULES)
    assert set(choice.reasons) == {c.series_uid for c in candidates}
    assert [uid for uid, why in choice.reasons.items() if why.startswith("chosen")] == [choice.series_uid]


def test_what_the_rules_know_is_measured_from_the_slices() -> None:
    slices = regular(6, 2.5, technique=("B30f", "100"), kernel="B30f", contrast=False)
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 0.7], [0.6, 0.8, 0], [2.5, 0, 0]]  # a tilted stack
    facts = candidate_of(slices, Geometry((6, 16, 20), affine)).facts
    assert facts["orientation"] == "axial"
    assert facts["step_mm"] == pytest.approx(2.5)
    assert facts["extent_mm"] == pytest.approx(12.5)
    assert (facts["slices"], facts["voltage_kv"], facts["contrast"]) == (6.0, 100.0, "no")
    assert facts["pixel_mm"] == pytest.approx(0.8)


def test_the_shipped_file_names_every_fact_it_offers() -> None:
    text = SHIPPED.read_text()
    assert [fact for fact in PLAIN if fact not in text] == []
