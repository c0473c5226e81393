"""Which organ each segment of a returned SEG is, and what stays in doubt.

Texts and codes only propose an organ; the voxels must agree. What stays in doubt becomes a question, and
nothing is learnt from that segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from models.errors import Refused
from models.geometry import Geometry
from models.organs import KEYS
from services.dicom.returned.further import further_key, lies_crosswise, partners
from services.dicom.returned.sides import OTHER_SIDE, Region, beyond_partner, doubtful_side
from services.dicom.seg.frames import SegCode
from services.dicom.seg.names import (
    is_review_region,
    names_another_structure,
    organ_by_code,
    organ_by_label,
    type_may_be,
)
from services.dicom.seg.reader import ReadSegment, SegObject

SAME_ORGAN_DSC = 0.5
"""At this Dice overlap and above, a segment can only be the organ that was sent there."""


class Doubt(StrEnum):
    """Why it is not certain which organ a segment is, or whether a reader drew it."""

    NOT_RECOGNISED = "not-recognised"
    NAMES_DISAGREE = "names-disagree"
    OVERLAP_DISAGREES = "overlap-disagrees"
    NO_OVERLAP = "no-overlap"
    SIDES_SWAPPED = "sides-swapped"
    CLAIMED_TWICE = "claimed-twice"
    AUTOMATIC = "automatic"
    DRAWER_UNKNOWN = "drawer-unknown"
    NOT_RETURNED = "not-returned"


@dataclass(frozen=True)
class Question:
    """What a person has to answer before anything is learnt from a segment.

    Parameters
    ----------
    segment
        SegmentNumber; None when an organ that was sent did not come back (deleted, or left out?).
    label
        SegmentLabel as it came, or as it was sent, without the mark of a flag.
    candidates
        Organs it may be, likeliest first; may be empty.
    why
        The reason of the doubt.
    """

    segment: int | None
    label: str
    candidates: tuple[str, ...]
    why: Doubt


@dataclass(frozen=True, eq=False)
class SentOrgan:
    """One organ as it was sent."""

    segment: ReadSegment
    region: Region


Theirs = Sequence[tuple[ReadSegment, Region]]
"""The segments that came back."""

Claim = str | Question | None
"""The organ a segment is, or the doubt about it; None for a segment that says nothing of any organ."""


def identities(theirs: Theirs, ours: Mapping[str, SentOrgan]) -> list[Claim]:
    """Return the organ each segment is, or the doubt about it, whoever drew it.

    An organ is found by TrackingUID, code and label as far as these are there and agree, and by overlap
    with what was sent; a name without overlap counts only for an organ that was sent empty, or that is
    new and named by its code. No organ is found twice, and none on the wrong side of its partner or, as far
    as that can be told without one, of the body.
    """
    claims = [_claim(segment, region, ours) for segment, region in theirs]
    claims = without_swapped_sides(_without_double_claims(claims, theirs), theirs, ours)
    return without_doubtful_sides(claims, theirs, ours)


def sent_organs(sent: SegObject, geometry: Geometry) -> dict[str, SentOrgan]:
    """Return what was sent, by organ: of the catalogue, or outside of it by its TrackingID.

    Our own SEG names its organs; one that does not is not ours.
    """
    organs: dict[str, SentOrgan] = {}
    for segment in sent.segments:
        key = _catalogued(segment) or further_key(segment)
        if key is None or key in organs:
            raise Refused(
                SegCode.UNKNOWN_ORGAN, "the SEG that was sent does not name each organ once",
                {"segment": segment.number},
            )  # fmt: skip
        organs[key] = SentOrgan(segment, Region(segment.mask, geometry))
    return organs


def _catalogued(segment: ReadSegment) -> str | None:
    return organ_by_code(segment.type, segment.laterality) or organ_by_label(segment.label)


def _claim(segment: ReadSegment, region: Region, ours: Mapping[str, SentOrgan]) -> Claim:
    """Return the organ a segment is by its names and its overlap with what was sent."""
    overlap = {key: region.dsc(organ.region) for key, organ in ours.items()}
    likely = sorted((key for key in ours if overlap[key] > 0), key=lambda key: -overlap[key])
    there = likely[0] if likely and overlap[likely[0]] >= SAME_ORGAN_DSC else None

    def doubt(why: Doubt, *first: str) -> Question:
        return Question(segment.number, segment.label, tuple(dict.fromkeys((*first, *likely))), why)

    names = _names(segment, ours)
    if not region.voxels and not any(strong or _was_found(name, ours) for name, strong in names.items()):
        return None  # declared, and nothing drawn: it is about nothing that was sent
    if is_review_region(segment.label, segment.type):
        return doubt(Doubt.NOT_RECOGNISED)
    if len(names) > 1:
        return there if there in names else doubt(Doubt.NAMES_DISAGREE, *names)
    typed = [name for name in names if _type_may_be(name, segment, ours)]
    if names_another_structure(segment.type) and not typed:
        return doubt(Doubt.NAMES_DISAGREE if names else Doubt.NOT_RECOGNISED, *names)
    if not names:
        return there or doubt(Doubt.NOT_RECOGNISED)
    (name,) = names
    if there is not None and there != name:
        swapped = there == OTHER_SIDE.get(name) or {there, name} in _pairs(ours)
        return doubt(Doubt.SIDES_SWAPPED if swapped else Doubt.OVERLAP_DISAGREES, name)
    if not region.voxels or (name in ours and not _was_found(name, ours)):
        # Nothing to overlap with: the name must then be one that we gave it, or a code.
        return name if names[name] else doubt(Doubt.NOT_RECOGNISED, name)
    if name not in ours:
        return name if organ_by_code(segment.type, segment.laterality) else doubt(Doubt.NOT_RECOGNISED, name)
    agrees = overlap[name] > 0 if names[name] else there == name
    return name if agrees else doubt(Doubt.NO_OVERLAP, name)


def _type_may_be(name: str, segment: ReadSegment, ours: Mapping[str, SentOrgan]) -> bool:
    """Tell whether type and side may be those of an organ: of one outside the catalogue, those sent."""
    if name in KEYS:
        return type_may_be(name, segment.type, segment.laterality)
    sent = ours[name].segment
    return segment.type == sent.type and segment.laterality in (None, sent.laterality)


def _pairs(ours: Mapping[str, SentOrgan]) -> list[set[str]]:
    return [set(pair) for pair in partners({key: organ.segment for key, organ in ours.items()})]


def _was_found(organ: str, ours: Mapping[str, SentOrgan]) -> bool:
    """Tell whether an organ was sent, and not as an absent one."""
    return organ in ours and ours[organ].region.voxels > 0


def _names(segment: ReadSegment, ours: Mapping[str, SentOrgan]) -> dict[str, bool]:
    """Return the organs a segment's tags name, and whether the name is ours or a code, not a mere word."""
    tracked = [
        key
        for key, o in ours.items()
        if segment.tracking_uid and o.segment.tracking_uid == segment.tracking_uid
    ]
    labelled = [key for key, o in ours.items() if o.segment.label == segment.label]
    coded = organ_by_code(segment.type, segment.laterality)
    strong = [*tracked, *([coded] if coded else []), *labelled]
    word = organ_by_label(segment.label)
    names = dict.fromkeys(strong, True)
    return names if word is None or word in names else {**names, word: False}


def _without_double_claims(claims: list[Claim], theirs: Theirs) -> list[Claim]:
    """Turn every claim to an organ that another segment claims too into a question."""
    return [
        Question(segment.number, segment.label, (claim,), Doubt.CLAIMED_TWICE)
        if isinstance(claim, str) and claims.count(claim) > 1
        else claim
        for claim, (segment, _) in zip(claims, theirs, strict=True)
    ]


def without_swapped_sides(claims: list[Claim], theirs: Theirs, ours: Mapping[str, SentOrgan]) -> list[Claim]:
    """Turn a paired organ that does not lie on its side of its partner into a question.

    The partner is the one that came back, or else was sent. What came back as it was sent is not
    questioned: it is our result, right or wrong.
    """
    regions = {key: organ.region for key, organ in ours.items()} | _certain(claims, theirs)
    sent = {key: organ.segment for key, organ in ours.items()}
    crosswise = {
        one: other
        for pair in partners(sent)
        if lies_crosswise(*(regions[key] for key in pair))
        for one, other in (pair, pair[::-1])
    }
    return [
        _swapped(segment, claim, crosswise)
        if isinstance(claim, str)
        and not as_sent(claim, region, ours)
        and (claim in crosswise or beyond_partner(claim, region, regions))
        else claim
        for claim, (segment, region) in zip(claims, theirs, strict=True)
    ]


def without_doubtful_sides(claims: list[Claim], theirs: Theirs, ours: Mapping[str, SentOrgan]) -> list[Claim]:
    """Turn a paired organ that may be its partner, as `doubtful_side` says, into a question.

    So is then a partner that was erased: it may be there, under the wrong name.
    """
    back, sent = _certain(claims, theirs), {key: organ.region for key, organ in ours.items()}
    doubtful = {
        organ
        for organ, region in back.items()
        if not as_sent(organ, region, ours) and doubtful_side(organ, region, back, sent)
    }
    asked = [one.candidates for one in claims if isinstance(one, Question) and one.why is Doubt.SIDES_SWAPPED]
    in_question = doubtful.union(*asked)
    doubtful |= {
        organ
        for organ, region in back.items()
        if not region.voxels and OTHER_SIDE.get(organ) in in_question and not as_sent(organ, region, ours)
    }
    return [
        _swapped(segment, claim, OTHER_SIDE) if isinstance(claim, str) and claim in doubtful else claim
        for claim, (segment, _) in zip(claims, theirs, strict=True)
    ]


def _certain(claims: list[Claim], theirs: Theirs) -> dict[str, Region]:
    return {
        claim: region for claim, (_, region) in zip(claims, theirs, strict=True) if isinstance(claim, str)
    }


def _swapped(segment: ReadSegment, claim: str, partner: Mapping[str, str]) -> Question:
    other = partner.get(claim) or OTHER_SIDE[claim]
    return Question(segment.number, segment.label, (claim, other), Doubt.SIDES_SWAPPED)


def without_changes_by_no_person(
    claims: list[Claim], theirs: Theirs, ours: Mapping[str, SentOrgan]
) -> list[Claim]:
    """Turn every changed organ that no person says to have drawn into a question.

    A viewer may keep our own `AUTOMATIC` through a reader's edits (3D Slicer does), and another algorithm
    may have changed our result: nothing in the object tells these apart, so a person must.
    """
    return [
        Question(
            segment.number,
            segment.label,
            (claim,),
            Doubt.AUTOMATIC if segment.automatic else Doubt.DRAWER_UNKNOWN,
        )
        if isinstance(claim, str) and not segment.by_a_person and not as_sent(claim, region, ours)
        else claim
        for claim, (segment, region) in zip(claims, theirs, strict=True)
    ]


def as_sent(organ: str, region: Region, ours: Mapping[str, SentOrgan]) -> bool:
    """Tell whether an organ came back with exactly the voxels that were sent; none if it was not sent."""
    if organ not in ours:
        return not region.voxels
    return region.mask == ours[organ].region.mask
