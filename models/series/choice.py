"""Which series of a study is segmented: rules that are data, and what each of them said.

The rules shipped are ``choice.toml`` beside this file; a site may give its own. They choose among
series whose geometry is fit and never make one fit.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.errors import Refused
from models.geometry import Geometry
from models.series.slice_facts import SliceFacts
from models.uids import SeriesUid

SHIPPED = Path(__file__).with_suffix(".toml")

WORDS = ("orientation", "image_type", "kernel", "description", "contrast")
NUMBERS = ("slices", "step_mm", "extent_mm", "pixel_mm", "voltage_kv")

Value = str | float


@dataclass(frozen=True)
class Candidate:
    """A series whose geometry is fit.

    Parameters
    ----------
    series_uid, series_number
        What it is called; no number counts as the highest.
    facts
        Its value for each of `WORDS` and `NUMBERS`.
    """

    series_uid: SeriesUid
    series_number: int | None
    facts: Mapping[str, Value]


@dataclass(frozen=True)
class Rule:
    """One rule of the file; see there for what each key means.

    Raises
    ------
    ValueError
        If the fact is unknown, or the keys do not suit it.
    """

    name: str
    fact: str
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    most: bool = False
    least: bool = False
    enough: float | None = None
    equal_within: float = 0.0

    def __post_init__(self) -> None:
        words = bool(self.first or self.last)
        if self.fact not in WORDS + NUMBERS:
            raise ValueError(f"rule {self.name!r}: there is no fact {self.fact!r}")
        if self.fact in WORDS and (not words or self.most or self.least):
            raise ValueError(f"rule {self.name!r}: {self.fact} is words and takes `first` or `last`")
        if self.fact in NUMBERS and (words or self.most == self.least):
            raise ValueError(f"rule {self.name!r}: {self.fact} is a number and takes `most` or `least`")
        if not 0 <= self.equal_within < 1:
            raise ValueError(f"rule {self.name!r}: equal_within is a fraction from 0 to 1")
        for pattern in self.first + self.last:
            re.compile(pattern)

    def best(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return those of the candidates that count as best under this rule; the very best first."""
        costs = [self._cost(candidate.facts[self.fact]) for candidate in candidates]
        least = min(costs)
        allowed = least + abs(least) * self.equal_within
        kept = [n for n, cost in enumerate(costs) if cost <= allowed]
        return [candidates[n] for n in sorted(kept, key=costs.__getitem__)]

    def _cost(self, value: Value) -> float:
        if isinstance(value, str):
            if any(re.search(pattern, value, re.IGNORECASE) for pattern in self.last):
                return 2.0
            return 0.0 if any(re.search(p, value, re.IGNORECASE) for p in self.first) else 1.0
        if self.least:
            return value if self.enough is None else max(value, self.enough)
        return -(value if self.enough is None else min(value, self.enough))


@dataclass(frozen=True)
class Exclusion:
    """A rule that takes a series out: words that match, or a number outside the limits.

    Raises
    ------
    ValueError
        If the fact is unknown, or the keys do not suit it.
    """

    name: str
    fact: str
    matches: str | None = None
    under: float | None = None
    over: float | None = None

    def __post_init__(self) -> None:
        limits = self.under is not None or self.over is not None
        if self.fact not in WORDS + NUMBERS:
            raise ValueError(f"exclusion {self.name!r}: there is no fact {self.fact!r}")
        if (self.fact in WORDS) != (self.matches is not None) or (self.fact in NUMBERS) != limits:
            raise ValueError(f"exclusion {self.name!r}: words take `matches`, numbers `under` or `over`")
        re.compile(self.matches or "")

    def takes_out(self, candidate: Candidate) -> bool:
        """Tell whether the series is excluded."""
        value = candidate.facts[self.fact]
        if isinstance(value, str):
            return re.search(self.matches or "", value, re.IGNORECASE) is not None
        return (self.under is not None and value < self.under) or (
            self.over is not None and value > self.over
        )


@dataclass(frozen=True)
class SeriesRules:
    """The rules of one file, in its order."""

    exclude: tuple[Exclusion, ...]
    prefer: tuple[Rule, ...]
    tie: Literal["lowest-number", "refuse"]

    @classmethod
    def read(cls, path: Path = SHIPPED) -> SeriesRules:
        """Read a file of rules.

        Raises
        ------
        ValueError
            If it is not TOML, or says something no rule can.
        OSError
            If it cannot be read.
        """
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        tie = document.pop("tie", "lowest-number")
        exclude, prefer = document.pop("exclude", []), document.pop("prefer", [])
        if document or tie not in ("lowest-number", "refuse"):
            raise ValueError(f"series rules: unknown keys {sorted(document)} or tie {tie!r}")
        try:
            return cls(
                tuple(Exclusion(**one) for one in exclude), tuple(Rule(**_tuples(one)) for one in prefer), tie
            )
        except (TypeError, re.error) as error:
            raise ValueError(f"series rules: {error}") from error


@dataclass(frozen=True)
class Choice:
    """The series chosen, and why each was or was not.

    Parameters
    ----------
    series_uid
        The one chosen.
    reasons
        Of every candidate, by series UID; one sentence each.
    """

    series_uid: SeriesUid
    reasons: Mapping[str, str]


def choose(candidates: Sequence[Candidate], rules: SeriesRules) -> Choice:
    """Choose one series; the order in which they are given decides nothing.

    Parameters
    ----------
    candidates
        At least one, of one study.
    rules
        What to go by.

    Raises
    ------
    Refused
        `excluded-by-rules` if every one is; `ambiguous-series` if rules leave several and a tie refuses.
    """
    reasons: dict[str, str] = {}
    left: list[Candidate] = []
    for candidate in candidates:
        out = next((rule for rule in rules.exclude if rule.takes_out(candidate)), None)
        if out is None:
            left.append(candidate)
        else:
            reasons[candidate.series_uid] = f"excluded by the rule {out.name!r}"
    if not left:
        raise Refused(
            "excluded-by-rules",
            "The site's rules exclude every series that is fit.",
            {"series": len(candidates)},
        )
    by = ", ".join(rule.name for rule in rules.prefer if _drop(rule, left, reasons))
    if len(left) > 1:
        if rules.tie == "refuse":
            raise Refused(
                "ambiguous-series",
                f"{len(left)} series are equal under every rule; name one.",
                {"series": len(left), "series_uids": sorted(c.series_uid for c in left)},
            )
        left.sort(key=_number_then_uid)
        for other in left[1:]:
            reasons[other.series_uid] = "equal under every rule; its SeriesNumber or UID is higher"
        by = f"{by or 'no rule'}; of equals, the lowest SeriesNumber"
    reasons[left[0].series_uid] = f"chosen: {by or 'the only one left'}"
    return Choice(left[0].series_uid, reasons)


def candidate_of(slices: Sequence[SliceFacts], geometry: Geometry) -> Candidate:
    """Return what the rules may know of a series, from its slices in k order and its grid."""
    first = slices[0]
    normal = np.cross(geometry.affine[:3, 2], geometry.affine[:3, 1])
    normal /= np.linalg.norm(normal)
    step = float(abs(geometry.affine[:3, 0] @ normal))
    kilovolts = re.match(r"\d+(\.\d+)?", first.technique[-1] if first.technique else "")
    facts: dict[str, Value] = {
        "orientation": ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())],
        "image_type": "\\".join(first.image_type),
        "kernel": first.kernel,
        "description": first.description,
        "contrast": "yes" if first.contrast else "no",
        "slices": float(len(slices)),
        "step_mm": step,
        "extent_mm": step * (len(slices) - 1),
        "pixel_mm": max(geometry.spacing_mm[1:]),
        "voltage_kv": float(kilovolts.group()) if kilovolts else 0.0,
    }
    return Candidate(first.series_uid, first.series_number, facts)


def _drop(rule: Rule, left: list[Candidate], reasons: dict[str, str]) -> bool:
    """Keep the best under a rule; tell whether it decided anything."""
    best = rule.best(left)
    values = [value for candidate in best if not isinstance(value := candidate.facts[rule.fact], str)]
    for candidate in left:
        if candidate not in best:
            own = candidate.facts[rule.fact]
            against = (min if rule.least else max)(values, default=0.0)
            numbers = "" if isinstance(own, str) else f" ({own:g} against {against:g})"
            reasons[candidate.series_uid] = f"another is preferred by the rule {rule.name!r}{numbers}"
    decided = len(best) < len(left)
    left[:] = best
    return decided


def _number_then_uid(candidate: Candidate) -> tuple[bool, int, str]:
    number = candidate.series_number
    return (number is None, number or 0, candidate.series_uid)


def _tuples(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in rule.items()}
