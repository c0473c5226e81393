"""What a reader says of an organ without drawing."""

from __future__ import annotations

from enum import StrEnum


class Opinion(StrEnum):
    """What is said of an outline; ``taken-back`` undoes what the same reader said before."""

    ACCEPT = "accept"
    WRONG = "wrong"
    CANNOT_SAY = "cannot-say"
    TAKEN_BACK = "taken-back"


class Wrong(StrEnum):
    """In which way an outline is wrong; the order is that of the keys 1 to 6 on the page."""

    TOO_SMALL = "too-small"
    TOO_LARGE = "too-large"
    WRONG_PLACE = "wrong-place"
    OTHER_ORGAN = "other-organ"
    MISSED = "missed"
    OTHER = "other"


class Seen(StrEnum):
    """What a reader looked at: pictures of single slices, or the whole study in a viewer."""

    PICTURES = "pictures"
    VIEWER = "viewer"
