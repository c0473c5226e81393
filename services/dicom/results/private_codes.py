"""The private coding scheme 99ORGANLOOP: what no public code says, in one table.

Every object that uses it says what it is in its Coding Scheme Identification Sequence (PS3.3 C.12.1).
A code never changes its meaning; a new meaning is a new code.
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from models.findings import Flag, Presence
from models.judgement.reasons import Reason

SCHEME = "99ORGANLOOP"


def _code(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


# Names of content items.
PRESENCE = _code("PRESENCE", "Presence of the organ")
FLAG = _code("FLAG", "Flag for the reader")
REASON = _code("REASON", "Reason of the flag")
FIELD_OF_VIEW = _code("FIELD-OF-VIEW", "Field of view")
DSC_BOUND = _code("DSC-BOUND", "Lower bound of the Dice similarity coefficient")
CONFIDENCE = _code("CONFIDENCE", "Confidence of the lower bound")
ENTROPY = _code("ENTROPY", "Mean entropy in and near the organ in nats")
DISAGREEMENT = _code("DISAGREEMENT", "Mean disagreement of windows in and near the organ")
MEMBER_DISAGREEMENT = _code("MEMBER-SPREAD", "Mean disagreement of the head's members in and near the organ")
EXPECTED_ERROR = _code("EXPECTED-ERROR", "Expected volume of wrong voxels")
SERIES_REPAIR = _code("SERIES-REPAIR", "Repair of the geometry of the series")
SERIES_NOTE = _code("SERIES-NOTE", "Note on the series")
WEIGHTS = _code("WEIGHTS", "Purpose of the weights")
WEIGHTS_LICENCE = _code("WEIGHTS-LICENCE", "Licence of the weights")
WEIGHTS_ORIGIN = _code("WEIGHTS-ORIGIN", "Origin of the weights")

# Values of content items.
PRESENCES: dict[Presence, Code] = {
    Presence.FOUND: _code("FOUND", "found"),
    Presence.ABSENT: _code("ABSENT", "asked for and not found"),
    Presence.NOT_ASKED: _code("NOT-ASKED", "not asked for"),
}
FLAGS: dict[Flag, Code] = {
    Flag.CLEAR: _code("CLEAR", "clear"),
    Flag.REVIEW: _code("REVIEW", "to be reviewed"),
    Flag.REJECT: _code("REJECT", "rejected"),
    Flag.NOT_JUDGED: _code("NOT-JUDGED", "not judged"),
}
REASONS: dict[Reason, Code] = {
    Reason.OUT_OF_DOMAIN: _code("OUT-OF-DOMAIN", "CT unlike those the release was calibrated on"),
    Reason.DOUBTFUL_SLICES: _code("SLICES", "slices through it may not be of their place"),
    Reason.NOT_FOUND: _code("NOT-FOUND", "not found although its surroundings were"),
    Reason.WRONG_SIDE: _code("WRONG-SIDE", "found on the wrong side of the body"),
    Reason.OUTSIDE_BODY: _code("OUTSIDE", "found partly outside the body"),
    Reason.BOUND_UNDER_HALF_TARGET: _code("BOUND-HALF", "bound of DSC under half the target"),
    Reason.PRESENCE_NOT_CHECKED: _code("NOT-CHECKED", "not found, and surroundings not found in full"),
    Reason.OVERLAPPING: _code("OVERLAP", "another organ claims the same voxels"),
    Reason.NOT_ADJACENT: _code("NOT-ADJACENT", "far from its neighbours"),
    Reason.FRAGMENTED: _code("FRAGMENTED", "in more pieces than it should be"),
    Reason.VOLUME_OUT_OF_RANGE: _code("VOLUME", "volume outside the plausible range"),
    Reason.BOUND_UNDER_TARGET: _code("BOUND", "bound of DSC under the target"),
    Reason.NO_TARGET: _code("NO-TARGET", "how exact it must be is not established"),
    Reason.UNCALIBRATED: _code("UNCALIBRATED", "release not calibrated on this organ"),
    Reason.RANDOM_AUDIT: _code("AUDIT", "drawn at random for review"),
}
CUT = _code("CUT-BY-FOV", "organ cut by the field of view")
DEMONSTRATION = _code("DEMONSTRATION", "demonstration, not for clinical use")


def scheme_identification() -> CodingSchemeIdentificationItem:
    """Return the item of the Coding Scheme Identification Sequence."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME, name="Organloop result codes", version="1", responsible_organization="Organloop"
    )
