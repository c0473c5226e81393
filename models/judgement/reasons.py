"""Why an organ is flagged: one code each, and what it says to the reader."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason code, the most important first."""

    OUT_OF_DOMAIN = "out-of-domain"
    DOUBTFUL_SLICES = "doubtful-slices"
    NOT_FOUND = "not-found"
    WRONG_SIDE = "wrong-side"
    OUTSIDE_BODY = "outside-body"
    BOUND_UNDER_HALF_TARGET = "bound-under-half-target"
    PRESENCE_NOT_CHECKED = "presence-not-checked"
    OVERLAPPING = "overlapping"
    NOT_ADJACENT = "not-adjacent"
    FRAGMENTED = "fragmented"
    VOLUME_OUT_OF_RANGE = "volume-out-of-range"
    BOUND_UNDER_TARGET = "bound-under-target"
    NO_TARGET = "no-target"
    UNCALIBRATED = "uncalibrated"
    RANDOM_AUDIT = "random-audit"

    @property
    def sentence(self) -> str:
        """One plain sentence for the reader."""
        return _SENTENCES[self]


_SENTENCES: dict[Reason, str] = {
    Reason.OUT_OF_DOMAIN: "This CT is unlike those the release was calibrated on; check every organ.",
    Reason.DOUBTFUL_SLICES: "Slices in or beside the organ may not be of their place; compare with the CT.",
    Reason.NOT_FOUND: "The organ was not found although its surroundings were; it is missed or removed.",
    Reason.WRONG_SIDE: "What was found lies on the wrong side of the body.",
    Reason.OUTSIDE_BODY: "Part of what was found lies outside the body.",
    Reason.BOUND_UNDER_HALF_TARGET: "The outline is probably unusable.",
    Reason.PRESENCE_NOT_CHECKED: (
        "The organ was not found, nor its surroundings in full; it may be missed, removed or out of view."
    ),
    Reason.OVERLAPPING: "Another organ claims part of the same voxels.",
    Reason.NOT_ADJACENT: "The organ lies farther from its neighbours than it should.",
    Reason.FRAGMENTED: "The organ is in more pieces than it should be.",
    Reason.VOLUME_OUT_OF_RANGE: "The volume is outside the plausible range of an adult.",
    Reason.BOUND_UNDER_TARGET: "The outline may be less exact than asked for.",
    Reason.NO_TARGET: "How exact this must be is not established; nothing is said of it.",
    Reason.UNCALIBRATED: "The release has not been calibrated on this organ; its accuracy is unknown.",
    Reason.RANDOM_AUDIT: "Drawn at random to check the release; nothing seems amiss.",
}
CONTRADICTS_PRESENCE = frozenset({Reason.NOT_FOUND, Reason.WRONG_SIDE})
"""Rules that say the organ is there although it was not found, or is not what was found."""

NO_BOUND = frozenset({Reason.UNCALIBRATED, Reason.OUT_OF_DOMAIN, Reason.DOUBTFUL_SLICES})
"""With one of these nothing is claimed of how exact an outline is."""
