"""What a returned SEG is to the one that was sent, and which of its segments is which organ.

A viewer may drop or rewrite every tag, so texts and codes only propose an organ and the voxels must
agree. What stays in doubt becomes a question; nothing is learnt from it until a person answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum

from models.errors import Refused
from models.geometry import Geometry
from models.masks import BoxedMask
from models.organs import KEYS
from services.dicom.returned.answers import Answers, Fate, WrongAnswer
from services.dicom.returned.claims import (
    Claim,
    Doubt,
    Question,
    SentOrgan,
    Theirs,
    identities,
    sent_organs,
    without_changes_by_no_person,
    without_swapped_sides,
)
from services.dicom.returned.sides import Region
from services.dicom.seg.frames import SegCode
from services.dicom.seg.reader import SegObject


class Status(StrEnum):
    """What a SEG that came in is."""

    UNCHANGED = "ours-unchanged"
    CORRECTION = "correction"
    STRANGER = "stranger"


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
    sent: dict[str, BoxedMask]
    returned: dict[str, BoxedMask]
    questions: tuple[Question, ...]


def understand(
    returned: SegObject, sent: SegObject, geometry: Geometry, answers: Answers | None = None
) -> ReturnedSeg:
    """Tell what a returned SEG is, and which of its segments is which organ.

    An organ is found as `identities` says. A segment that differs from what was sent and does not say
    that a person had a hand in it is no reader's word: it is asked about, as is an organ that was sent
    and did not come back.

    A person's answer is believed, against tags, overlap and SegmentAlgorithmType, with two bounds. Only
    what is asked may be answered: an answer against what is certain is a slip. And a kidney is not
    believed on the wrong side of the other: that question stays.

    Parameters
    ----------
    returned, sent
        Both read onto the grid of the same CT series.
    geometry
        That grid.
    answers
        What a person answered to the questions that this function asked before; told again once they are
        settled, they change nothing.

    Returns
    -------
    ReturnedSeg
        `UNCHANGED` when every organ came back with exactly the voxels that were sent, or is answered not
        to have been reviewed.

    Raises
    ------
    Refused
        `empty` if nothing is drawn though something was sent; `not-ours` if no segment has anything
        to do with what was sent; `unknown-organ` if the sent SEG does not name each of its organs once.
    WrongAnswer
        If an answer is about a segment that is not there, an organ that came back or was not sent, or
        something that is certain or must wait; or makes two segments one organ.
    """
    answers = answers or Answers()
    ours = sent_organs(sent, geometry)
    theirs = [(segment, Region(segment.mask, geometry)) for segment in returned.segments]
    if not any(region.voxels for _, region in theirs) and any(organ.region.voxels for organ in ours.values()):
        raise Refused(SegCode.EMPTY, "nothing is drawn in the SEG")
    claims = identities(theirs, ours)
    if theirs and ours and all(not isinstance(claim, str) and _not_recognised(claim) for claim in claims):
        raise Refused(SegCode.NOT_OURS, "no segment has anything to do with what was sent")
    settled = _settled(without_changes_by_no_person(claims, theirs, ours), theirs, ours, answers)
    masks = {
        claim: segment.mask
        for claim, (segment, _) in zip(settled, theirs, strict=True)
        if isinstance(claim, str)
    }
    questions = [claim for claim in settled if isinstance(claim, Question)]
    in_doubt = {organ for question in questions for organ in question.candidates}
    _add_deleted(masks, ours, answers, in_doubt)
    questions += [
        Question(None, organ.segment.label, (key,), Doubt.NOT_RETURNED)
        for key, organ in ours.items()
        if organ.region.voxels and key not in masks and key not in in_doubt and key not in answers.organs
    ]
    sent_masks = {key: organ.segment.mask for key, organ in ours.items()}
    same = not questions and all(
        mask == sent_masks[key] if key in sent_masks else not mask.any() for key, mask in masks.items()
    )
    return ReturnedSeg(Status.UNCHANGED if same else Status.CORRECTION, sent_masks, masks, tuple(questions))


def _not_recognised(claim: Question | None) -> bool:
    return claim is None or claim.why is Doubt.NOT_RECOGNISED


def _settled(
    claims: list[Claim], theirs: Theirs, ours: Mapping[str, SentOrgan], answers: Answers
) -> list[Claim]:
    """Put a person's answers in place of the questions; None for what is answered to be no organ."""
    numbers = [segment.number for segment, _ in theirs]
    for number in answers.segments:
        if number not in numbers:
            raise WrongAnswer(f"there is no segment {number}; there are {', '.join(map(str, numbers))}")
    settled: list[Claim] = []
    for number, claim in zip(numbers, claims, strict=True):
        named = answers.segments.get(number)
        if named is not None and named not in KEYS and named not in ours:
            raise WrongAnswer(f"{named!r} is no organ of the catalogue, and none that was sent")
        answer = answers.segments.get(number, claim)
        if not isinstance(claim, Question) and answer != claim:
            what = "empty" if claim is None else f"the {claim} beyond doubt"
            raise WrongAnswer(f"segment {number} is {what}; only what is asked is answered")
        settled.append(answer)
    organs = [claim for claim in settled if isinstance(claim, str)]
    for organ in organs:
        if organs.count(organ) > 1:
            raise WrongAnswer(f"two segments cannot both be the {organ}")
    return without_swapped_sides(settled, theirs, ours)


def _add_deleted(
    masks: dict[str, BoxedMask], ours: Mapping[str, SentOrgan], answers: Answers, in_doubt: Set[str]
) -> None:
    """Add, empty, the organs that are answered to have been deleted."""
    for organ, fate in answers.organs.items():
        if organ not in ours or not ours[organ].region.voxels:
            raise WrongAnswer(f"no {organ} was sent")
        if organ in masks:
            raise WrongAnswer(f"the {organ} came back; it is not {fate}")
        if organ in in_doubt:
            raise WrongAnswer(f"a segment in question may be the {organ}; answer that first")
        if fate is Fate.DELETED:
            masks[organ] = BoxedMask.empty(ours[organ].segment.mask.shape)
