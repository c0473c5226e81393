"""Why an organ is flagged: one code each, and what it says to the reader."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason code, the most important first."""

    OUT_OF_DOMAIN = "out-of-domain"
    NOT_FOUND = "not-found"
    WRONG_SIDE = "wrong-side"
    BOUND_UNDER_HALF_TARGET = "bound-under-half-target"
    FRAGMENTED = "fragmented"
    VOLUME_OUT_OF_RANGE = "volume-out-of-range"
    BOUND_UNDER_TARGET = "bound-under-target"
    UNCALIBRATED = "uncalibrated"
    CUT_BY_FIELD_OF_VIEW = "cut-by-field-of-view"

    @property
    def sentence(self) -> str:
        """One plain sentence for the reader."""
        return _SENTENCES[self]


_SENTENCES: dict[Reason, str] = {
    Reason.OUT_OF_DOMAIN: "This CT is unlike those the release was calibrated on; check every organ.",
    Reason.NOT_FOUND: "The organ was not found although its surroundings were; it is missed or removed.",
    Reason.WRONG_SIDE: "What was found lies on the wrong side of the body.",
    Reason.BOUND_UNDER_HALF_TARGET: "The outline is probably unusable.",
    Reason.FRAGMENTED: "The organ is in more pieces than it should be.",
    Reason.VOLUME_OUT_OF_RANGE: "The volume is outside the plausible range of an adult.",
    Reason.BOUND_UNDER_TARGET: "The outline may be less exact than asked for.",
    Reason.UNCALIBRATED: "The release has not been calibrated on this organ; its accuracy is unknown.",
    Reason.CUT_BY_FIELD_OF_VIEW: "The organ reaches the edge of the scan; its volume is a part only.",
}
CONTRADICTS_PRESENCE = frozenset({Reason.NOT_FOUND, Reason.WRONG_SIDE})
"""Rules that say the organ is there although it was not found, or is not what was found."""
