"""What a returned SEG is to the one that was sent, and which of its segments is which organ.

A viewer may drop or rewrite every tag, so texts and codes only propose an organ and the voxels must
agree. What stays in doubt becomes a question, and nothing is learnt from that segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.corrections import Mask
from models.errors import Refused
from models.geometry import Geometry
from models.resampling import Box, bounding_box
from services.dicom.seg_frames import SegCode
from services.dicom.seg_reader import ReadSegment, SegObject
from services.dicom.segment_names import organ_by_code, organ_by_label

SAME_ORGAN_DSC = 0.5
"""At this Dice overlap and above, a segment can only be the organ that was sent there."""

OTHER_SIDE = {"right_kidney": "left_kidney", "left_kidney": "right_kidney"}


class Status(StrEnum):
    """What a SEG that came in is."""

    UNCHANGED = "ours-unchanged"
    CORRECTION = "correction"
    STRANGER = "stranger"


class Doubt(StrEnum):
    """Why it is not certain which organ a segment is, or whether a reader drew it."""

    NOT_RECOGNISED = "not-recognised"
    NAMES_DISAGREE = "names-disagree"
    OVERLAP_DISAGREES = "overlap-disagrees"
    NO_OVERLAP = "no-overlap"
    SIDES_SWAPPED = "sides-swapped"
    CLAIMED_TWICE = "claimed-twice"
    AUTOMATIC = "automatic"
    NOT_RETURNED = "not-returned"


@dataclass(frozen=True)
class Question:
    """What a person has to answer before anything is learnt from a segment.

    Parameters
    ----------
    segment
        SegmentNumber; None when an organ that was sent did not come back (deleted, or left out?).
    label
        SegmentLabel as it came, or as it was sent.
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
class ReturnedSeg:
    """A SEG that came back, understood.

    Parameters
    ----------
    status
        `UNCHANGED` or `CORRECTION`.
    sent, returned
        Mask of each organ as it was sent, and of each that came back and is certain.
    questions
        What is in doubt; nothing of these segments is in `returned`.
    """

    status: Status
    sent: dict[str, Mask]
    returned: dict[str, Mask]
    questions: tuple[Question, ...]


def understand(returned: SegObject, sent: SegObject, geometry: Geometry) -> ReturnedSeg:
    """Tell what a returned SEG is, and which of its segments is which organ.

    An organ is found by TrackingUID, code and label as far as these are there and agree, and by overlap
    with what was sent; a name without overlap counts only for an organ that was sent empty, or that is
    new and named by its code. A segment that differs from what was sent and still says that an algorithm
    drew it is no reader's word: it is asked about.

    Parameters
    ----------
    returned, sent
        Both read onto the grid of the same CT series.
    geometry
        That grid.

    Returns
    -------
    ReturnedSeg
        `UNCHANGED` when every organ came back with exactly the voxels that were sent.

    Raises
    ------
    Refused
        `empty` if nothing is drawn though something was sent; `not-ours` if no segment has anything
        to do with what was sent; `unknown-organ` if the sent SEG is not of the catalogue's organs.
    """
    ours = _sent_organs(sent, geometry)
    theirs = [(segment, _Region(segment.mask, geometry)) for segment in returned.segments]
    if not any(region.voxels for _, region in theirs) and any(organ.region.voxels for organ in ours.values()):
        raise Refused(SegCode.EMPTY, "nothing is drawn in the SEG")
    claims = [_claim(segment, region, ours) for segment, region in theirs]
    claims = _without_double_claims(claims, theirs)
    claims = _without_swapped_sides(claims, theirs, ours)
    claims = _without_automatic_changes(claims, theirs, ours)
    masks = {
        claim: segment.mask
        for claim, (segment, _) in zip(claims, theirs, strict=True)
        if isinstance(claim, str)
    }
    questions = [claim for claim in claims if isinstance(claim, Question)]
    if theirs and not masks and all(question.why is Doubt.NOT_RECOGNISED for question in questions):
        raise Refused(SegCode.NOT_OURS, "no segment has anything to do with what was sent")
    in_doubt = {organ for question in questions for organ in question.candidates}
    questions += [
        Question(None, organ.segment.label, (key,), Doubt.NOT_RETURNED)
        for key, organ in ours.items()
        if organ.region.voxels and key not in masks and key not in in_doubt
    ]
    sent_masks = {key: organ.segment.mask for key, organ in ours.items()}
    same = not questions and all(
        np.array_equal(mask, sent_masks[key]) if key in sent_masks else not mask.any()
        for key, mask in masks.items()
    )
    return ReturnedSeg(Status.UNCHANGED if same else Status.CORRECTION, sent_masks, masks, tuple(questions))


class _Region:
    """A mask with what is asked of it again and again."""

    def __init__(self, mask: Mask, geometry: Geometry) -> None:
        self.mask = mask
        self.box: Box | None = bounding_box(mask)
        self.voxels = int(np.count_nonzero(mask))
        self._geometry = geometry

    def dsc(self, other: _Region) -> float:
        """Return the Dice overlap; 0 when either is empty."""
        if self.box is None or other.box is None:
            return 0.0
        both = int(np.count_nonzero(self.mask[self.box] & other.mask[self.box]))
        return 2 * both / (self.voxels + other.voxels)

    def centre_mm(self) -> NDArray[np.float64]:
        """Return the centroid in LPS millimetres, shape (3,)."""
        if self.box is None:
            raise ValueError("an empty mask has no centre")
        first = [side.start for side in self.box]
        return self._geometry.to_lps(np.argwhere(self.mask[self.box]).mean(axis=0) + first)


@dataclass(frozen=True, eq=False)
class _SentOrgan:
    segment: ReadSegment
    region: _Region


Claim = str | Question
"""The organ a segment is, or the doubt about it."""


def _sent_organs(sent: SegObject, geometry: Geometry) -> dict[str, _SentOrgan]:
    """Return what was sent, by organ. Our own SEG names its organs; one that does not is not ours."""
    organs: dict[str, _SentOrgan] = {}
    for segment in sent.segments:
        key = organ_by_code(segment.type, segment.laterality) or organ_by_label(segment.label)
        if key is None or key in organs:
            raise Refused(
                SegCode.UNKNOWN_ORGAN, "the SEG that was sent does not name each organ of the catalogue once",
                {"segment": segment.number},
            )  # fmt: skip
        organs[key] = _SentOrgan(segment, _Region(segment.mask, geometry))
    return organs


def _claim(segment: ReadSegment, region: _Region, ours: Mapping[str, _SentOrgan]) -> Claim:
    """Return the organ a segment is by its names and its overlap with what was sent."""
    overlap = {key: region.dsc(organ.region) for key, organ in ours.items()}
    likely = sorted((key for key in ours if overlap[key] > 0), key=lambda key: -overlap[key])
    there = likely[0] if likely and overlap[likely[0]] >= SAME_ORGAN_DSC else None

    def doubt(why: Doubt, *first: str) -> Question:
        return Question(segment.number, segment.label, tuple(dict.fromkeys((*first, *likely))), why)

    names = _names(segment, ours)
    if len(names) > 1:
        return there if there in names else doubt(Doubt.NAMES_DISAGREE, *names)
    if not names:
        return there or doubt(Doubt.NOT_RECOGNISED)
    (name,) = names
    if there is not None and there != name:
        swapped = there == OTHER_SIDE.get(name)
        return doubt(Doubt.SIDES_SWAPPED if swapped else Doubt.OVERLAP_DISAGREES, name)
    if not region.voxels or (name in ours and not ours[name].region.voxels):
        # Nothing to overlap with: the name must then be one that we gave it, or a code.
        return name if names[name] else doubt(Doubt.NOT_RECOGNISED, name)
    if name not in ours:
        return name if organ_by_code(segment.type, segment.laterality) else doubt(Doubt.NOT_RECOGNISED, name)
    agrees = overlap[name] > 0 if names[name] else there == name
    return name if agrees else doubt(Doubt.NO_OVERLAP, name)


def _names(segment: ReadSegment, ours: Mapping[str, _SentOrgan]) -> dict[str, bool]:
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


def _without_double_claims(claims: list[Claim], theirs: list[tuple[ReadSegment, _Region]]) -> list[Claim]:
    """Turn every claim to an organ that another segment claims too into a question."""
    return [
        Question(segment.number, segment.label, (claim,), Doubt.CLAIMED_TWICE)
        if isinstance(claim, str) and claims.count(claim) > 1
        else claim
        for claim, (segment, _) in zip(claims, theirs, strict=True)
    ]


def _without_swapped_sides(
    claims: list[Claim], theirs: list[tuple[ReadSegment, _Region]], ours: Mapping[str, _SentOrgan]
) -> list[Claim]:
    """Turn a paired organ that does not lie on its side of its partner into a question."""
    regions = {key: organ.region for key, organ in ours.items()}
    regions |= {
        claim: region for claim, (_, region) in zip(claims, theirs, strict=True) if isinstance(claim, str)
    }
    return [
        Question(segment.number, segment.label, (claim, OTHER_SIDE[claim]), Doubt.SIDES_SWAPPED)
        if isinstance(claim, str) and _on_wrong_side(claim, region, regions, ours)
        else claim
        for claim, (segment, region) in zip(claims, theirs, strict=True)
    ]


def _without_automatic_changes(
    claims: list[Claim], theirs: list[tuple[ReadSegment, _Region]], ours: Mapping[str, _SentOrgan]
) -> list[Claim]:
    """Turn every changed organ that an algorithm drew, by its own SegmentAlgorithmType, into a question."""
    return [
        Question(segment.number, segment.label, (claim,), Doubt.AUTOMATIC)
        if isinstance(claim, str) and segment.automatic and not _as_sent(claim, region, ours)
        else claim
        for claim, (segment, region) in zip(claims, theirs, strict=True)
    ]


def _as_sent(organ: str, region: _Region, ours: Mapping[str, _SentOrgan]) -> bool:
    """Tell whether an organ came back with exactly the voxels that were sent; none if it was not sent."""
    if organ not in ours:
        return not region.voxels
    return np.array_equal(region.mask, ours[organ].region.mask)


def _on_wrong_side(
    organ: str, region: _Region, regions: Mapping[str, _Region], ours: Mapping[str, _SentOrgan]
) -> bool:
    """Tell whether a paired organ lies beyond its partner, the one that came back or else was sent.

    What came back as it was sent is not questioned: it is our result, right or wrong.
    """
    partner = regions.get(OTHER_SIDE.get(organ, ""))
    if partner is None or not region.voxels or not partner.voxels:
        return False
    if _as_sent(organ, region, ours):
        return False
    to_left_mm = region.centre_mm()[0] - partner.centre_mm()[0]  # LPS: x grows to the patient's left
    return bool(to_left_mm >= 0 if organ.startswith("right") else to_left_mm <= 0)
