"""The document of the `tune` verb, and what a run says of itself on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from models.documents import LEFT_OUT
from models.tuning.settings import Cost


@dataclass(frozen=True)
class RefusedLabel:
    """One label that nothing is learnt from: the case by its name in the store, a code and a sentence."""

    organ: str
    case: str
    code: str
    detail: str


@dataclass(frozen=True)
class Studies:
    """From how many cases an organ is learnt, and of how many patients."""

    corrected: int
    replayed: int
    patients: int


@dataclass(frozen=True)
class TriedLevel:
    """One level as it was tried, ``incumbent`` the head that serves; DSC as `models.tuning.settings.Rung`."""

    level: str
    steps: int
    train_dsc: float | None
    new_dsc: float | None
    old_dsc: float | None


@dataclass(frozen=True)
class Climb:
    """What became of one organ: why the ladder ended, the DSC aimed at, and each level, incumbent first.

    `feature_shift` says how far new studies lie from old ones; None where there is no old one.
    """

    end: str
    target: float | None
    feature_shift: float | None
    rungs: tuple[TriedLevel, ...]

    def kept(self, level: str) -> TriedLevel:
        """Return what was tried at a level; the incumbent where it was not."""
        return next((rung for rung in self.rungs if rung.level == level), self.rungs[0])


@dataclass(frozen=True)
class NoCost:
    """Nothing was computed."""


Curve = Mapping[str, tuple[tuple[int, float], ...]]
"""By organ, steps and the loss at them."""


@dataclass(frozen=True)
class TuningReport:
    """What a run says beside its candidate.

    Parameters
    ----------
    organs
        Those whose heads were tuned; of a run that came to no fit, those it would have tuned.
    left_out
        By organ, why its head is left as it is.
    corrections, replayed
        Cases, new and older.
    studies
        By organ, the cases learnt from.
    doubts
        Labels refused, or counting less.
    levels
        By organ, the level that was kept, or ``incumbent``.
    ladders
        By organ, what each level came to.
    curve
        By organ, ``(step, loss)``.
    cost
        Windows, steps, seconds, FLOP.
    device
        That fitted.
    image
        Digest of the container image that fitted; None outside of one.
    """

    organs: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    corrections: int = 0
    replayed: int = 0
    studies: Mapping[str, Studies] = field(default_factory=dict)
    doubts: tuple[RefusedLabel, ...] = ()
    levels: Annotated[Mapping[str, str] | None, LEFT_OUT] = None
    ladders: Annotated[Mapping[str, Climb] | None, LEFT_OUT] = None
    curve: Annotated[Curve | None, LEFT_OUT] = None
    cost: Annotated[Cost | None, LEFT_OUT] = None
    device: Annotated[str | None, LEFT_OUT] = None
    image: Annotated[str | None, LEFT_OUT] = None

    def estimates(self) -> dict[str, float]:
        """Return by organ the DSC estimated of the level it kept, on patients that only judged."""
        found = {}
        for organ, climb in (self.ladders or {}).items():
            for rung in climb.rungs:
                judged = rung.old_dsc if rung.new_dsc is None else rung.new_dsc
                if rung.level == (self.levels or {})[organ] and judged is not None:
                    found[organ] = judged
        return found


@dataclass(frozen=True)
class TuningDocument:
    """The document of the `tune` verb.

    Parameters
    ----------
    release, digest, state
        The candidate, and how far it has come: one that was learnt before may be declined; None without.
    parent
        Release that was tuned.
    level
        Asked for; ``auto`` climbs the ladder.
    organs, left_out, corrections, replayed, studies, levels, ladders, doubts, curve, cost, device, image
        As `TuningReport`, empty where nothing was computed.
    seconds
        By step, and ``total``.
    """

    release: int | None
    digest: str | None
    state: str | None
    parent: int
    level: str
    organs: tuple[str, ...]
    left_out: Mapping[str, str]
    corrections: int
    replayed: int
    studies: Mapping[str, Studies]
    levels: Mapping[str, str]
    ladders: Mapping[str, Climb]
    doubts: tuple[RefusedLabel, ...]
    curve: Curve
    cost: Cost | NoCost
    device: str | None
    seconds: Mapping[str, float]
    image: Annotated[str | None, LEFT_OUT] = None
