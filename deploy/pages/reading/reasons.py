"""Why an organ is flagged, in a reader's words and with the numbers behind it.

A finding of an earlier version has no numbers, and its reasons are then told without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from models.bounds.acquisition_facts import FACTS
from models.findings import Figure
from models.judgement.reasons import Reason
from models.organs import name_of
from services.records.entries.reading import OrganSaid

TEN = 10
UNITS = {"mm": "mm", "cm2": "cm²", "hu": "HU", "ml": "ml"}
"""By the end of a figure's name."""

FACT_WORDS = {fact.name: fact.words for fact in FACTS}


def sentence(reason: Reason, said: OrganSaid) -> str:
    """Return why an organ is flagged, in one sentence."""
    behind = [one for one in said.figures if one.reason == reason]
    told = _SENTENCES.get(reason)
    if behind and told is not None:
        return told(behind)
    if reason is Reason.VOLUME_OUT_OF_RANGE:
        return f"It measures {_number(said.volume_ml)} ml, which is outside what adults have."
    if reason is Reason.BOUND_UNDER_TARGET:
        return "The outline may be less exact than wanted."
    return reason.sentence


def _unlike(behind: list[Figure]) -> str:
    facts = "; ".join(
        f"{FACT_WORDS.get(one.what, one.what)} {_with_unit(one.value, one.what)}, usual {_range(one)}"
        for one in behind
    )
    return f"This CT is unlike those the model was checked on: {facts}. Check every organ."


def _slices(behind: list[Figure]) -> str:
    count = round(behind[0].value)
    what = "1 slice in or beside it may not be of its place"
    if count != 1:
        what = f"{count} slices in or beside it may not be of their place"
    return f"{what}; compare with the CT."


def _surroundings(behind: list[Figure]) -> str:
    found = " and ".join(f"{name_of(one.organ).lower()} ({_number(one.value)} ml)" for one in behind)
    were = "was" if len(behind) == 1 else "were"
    return f"It was not found, although {found} {were}; it is missed or removed."


def _beyond(behind: list[Figure]) -> str:
    one = behind[0]
    what = f"the {name_of(one.organ).lower()}" if one.organ else "the middle of the body"
    return f"It lies on the wrong side, {_number(one.value)} mm beyond {what}."


def _outside(behind: list[Figure]) -> str:
    return f"{_number(behind[0].value)} ml of it lie outside the skin."


def _shared(behind: list[Figure]) -> str:
    others = " and ".join(f"{_number(one.value)} ml as {name_of(one.organ).lower()}" for one in behind)
    return f"Part of it is also drawn as another organ: {others}."


def _gap(behind: list[Figure]) -> str:
    one = behind[0]
    return (
        f"It lies {_number(one.value)} mm from the {name_of(one.organ).lower()}; "
        f"at most {_number(one.usual[-1])} mm are usual."
    )


def _pieces(behind: list[Figure]) -> str:
    of = {one.what: one for one in behind}
    pieces, largest = of["pieces"], of["largest_share"]
    usual = round(pieces.usual[0])
    return (
        f"It is in {round(pieces.value)} pieces, the largest {largest.value:.0%} of it; "
        f"{'one is' if usual == 1 else f'{usual} are'} expected."
    )


def _volume(behind: list[Figure]) -> str:
    one = behind[0]
    return f"It measures {_number(one.value)} ml; adults have {_range(one)}."


_SENTENCES: Mapping[Reason, Callable[[list[Figure]], str]] = {
    Reason.OUT_OF_DOMAIN: _unlike,
    Reason.DOUBTFUL_SLICES: _slices,
    Reason.NOT_FOUND: _surroundings,
    Reason.WRONG_SIDE: _beyond,
    Reason.OUTSIDE_BODY: _outside,
    Reason.OVERLAPPING: _shared,
    Reason.NOT_ADJACENT: _gap,
    Reason.FRAGMENTED: _pieces,
    Reason.VOLUME_OUT_OF_RANGE: _volume,
}
"""Of reasons with numbers; what is claimed of the outline, and what is wanted, stands below on the page."""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= TEN else f"{value:.1f}"


def _range(one: Figure) -> str:
    low, high = one.usual[0], one.usual[-1]
    return f"{_plain(low, one.what)} to {_with_unit(high, one.what)}"


def _with_unit(value: float, what: str) -> str:
    if what.endswith("_share"):
        return f"{value:.0%}"
    unit = UNITS.get(what.rpartition("_")[2], "")
    return f"{_number(value)} {unit}".rstrip()


def _plain(value: float, what: str) -> str:
    return f"{value:.0%}" if what.endswith("_share") else _number(value)
