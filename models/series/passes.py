"""Several passes over the patient in one series: told from what each slice says of its acquisition."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

from models.errors import Refused
from models.series.slice_facts import SliceFacts
from models.series.verdict import Code

MOST_PASSES = 3
"""A setting of more values wavers from slice to slice, and says nothing of passes."""

ALTERNATES = 3
"""So often each value of a setting comes back before slices of several passes lie between each other."""

PAUSE_S = 60.0
"""Neighbouring slices of one pass are taken within seconds, also step by step; a longer pause is told."""


def refuse_interleaved(kept: Sequence[SliceFacts]) -> None:
    """Refuse slices of several passes that lie between each other, each at its own place.

    Parameters
    ----------
    kept
        Slices in k order.

    Raises
    ------
    Refused
        `multi-phase` if an acquisition number or temporal position comes back after another, so that
        there are more runs than passes; if acquisition times come back more than twice each on
        average (once may be the clock's coarseness); or values of a setting more than `ALTERNATES` times.
    """
    settings: list[Sequence[Hashable]] = [[s.technique for s in kept]]
    settings += zip(*(s.setting for s in kept), strict=True)
    told: list[tuple[str, Sequence[Hashable], int]] = [
        ("acquisitions", [(s.phase[0], s.phase[3]) for s in kept], 1),
        ("acquisition times", [s.phase[1:3] for s in kept], 2),
        *(("settings", one, ALTERNATES) for one in settings if len(set(one)) <= MOST_PASSES),
    ]
    for what, passes, runs_each in told:
        kinds, runs = len(set(passes)), 1 + len(_changes(passes))
        if runs <= runs_each * kinds:
            continue
        first = _changes(passes)[0]
        raise Refused(
            Code.MULTI_PHASE,
            f"Slices of {kinds} {what} lie between each other: from end to end they change {runs - 1} times, "
            f"first between slices {first + 1} and {first + 2} ({named(kept[first : first + 2])}).",
            {
                "passes": kinds,
                "changes": runs - 1,
                "between_slices": [first + 1, first + 2],
                "between_instances": [s.sop_instance_uid for s in kept[first : first + 2]],
            },
        )


def notes_on_passes(kept: Sequence[SliceFacts]) -> tuple[str, ...]:
    """Return where one pass ends and the next begins, one sentence each; slices are in k order.

    A series in which every slice has an acquisition number of its own says nothing of passes.
    """
    numbers = [(s.phase[0], s.phase[3]) for s in kept]
    said = {
        "The acquisition changes": _changes(numbers) if len(set(numbers)) < len(numbers) else [],
        "Contrast is named on one side only": _changes([s.contrast for s in kept]),
        f"Acquisition times lie over {PAUSE_S:.0f} s apart": [
            n for n, (a, b) in enumerate(pairwise(kept)) if _pause_s(a, b) > PAUSE_S
        ],
    }
    return tuple(
        f"{what} in {len(at)} place(s), first between slices {at[0] + 1} and {at[0] + 2} "
        f"({named(kept[at[0] : at[0] + 2])})."
        for what, at in said.items()
        if at
    )


def named(slices: Sequence[SliceFacts]) -> str:
    """Return how a person finds slices: by InstanceNumber where there is one, else by UID."""
    return ", ".join(
        s.sop_instance_uid if s.instance_number is None else f"instance {s.instance_number}" for s in slices
    )


def _changes(values: Sequence[Hashable]) -> list[int]:
    """Return every n at which value n + 1 is another."""
    return [n for n, (a, b) in enumerate(pairwise(values)) if a != b]


def _pause_s(a: SliceFacts, b: SliceFacts) -> float:
    """Return the seconds between two slices' times of one day; 0 where either does not say."""
    try:
        first, second = (
            3600 * int(time[:2]) + 60 * int(time[2:4]) + float(time[4:])
            for time in (s.phase[2] for s in (a, b))
        )
    except ValueError:
        return 0.0
    return abs(second - first)
