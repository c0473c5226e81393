"""What is said about each organ of one study, before any of it becomes DICOM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from models.bounds.acquisition_facts import StrangeFact
from models.further_organs import entry_of
from models.geometry import Geometry
from models.masks import BoxedMask
from models.organs import Organ
from models.weights_source import WeightsSource


class Presence(StrEnum):
    """Whether an organ was looked for and found."""

    FOUND = "found"
    ABSENT = "absent"
    NOT_ASKED = "not-asked"


class Flag(StrEnum):
    """What the reader is told about one organ."""

    CLEAR = "clear"
    REVIEW = "review"
    REJECT = "reject"
    NOT_JUDGED = "not-judged"
    """How exact it must be nobody has established: it is shown, and nothing is said of it."""


@dataclass(frozen=True)
class Figure:
    """A number that was measured behind a reason.

    Parameters
    ----------
    reason
        Its code.
    what
        What was measured, with its unit: ``pieces``, ``gap_mm``, ``outside_ml``.
    value
        What it came to.
    usual
        What is expected: one number, or the ends of a range; empty where nothing is.
    organ
        The other organ that it was measured to, by key; empty where there is none.
    """

    reason: str
    what: str
    value: float
    usual: tuple[float, ...] = ()
    organ: str = ""


@dataclass(frozen=True)
class OrganFinding:
    """The result for one organ.

    Parameters
    ----------
    organ
        Its key.
    presence
        Found, absent (asked for, nothing found) or not asked.
    cut_by_field_of_view
        Whether the organ touches the edge of the scanned volume.
    volume_ml
        Volume on the CT grid in millilitres; 0 when absent.
    flag
        Clear, review, reject or not judged; None exactly when not asked for, of which nothing is said.
    reasons
        Reason codes behind the flag, most important first; empty when clear or not asked for.
    dsc_lower_bound
        Lower bound of the Dice similarity coefficient against a reader, 0..1; None when no bound
        can be claimed (`uncalibrated`, `out-of-domain`, absent).
    confidence
        Probability with which the bound holds, e.g. 0.9; None with no bound.
    entropy
        Mean Bernoulli entropy of the voxels in and near the organ, nats, 0..ln 2; None when not found.
    disagreement
        Mean standard deviation of their probability over overlapping windows, 0..0.5; None when not
        found.
    importance_ml
        Volume a reader's attention is best spent on (`models.judgement.importance`), millilitres; None when
        not found.
    band_ml
        Volume of the shell round the outline within which, on average, at least 95 % of the true organ
        lies (`models.bounds.band`), millilitres; None when nothing is known of it.
    member_disagreement
        As `disagreement`, over the members of the head; None for a head of one, and when not found.
    figures
        The numbers behind the reasons, in their order; behind some there are none.
    """

    organ: str
    presence: Presence
    cut_by_field_of_view: bool
    volume_ml: float
    flag: Flag | None
    reasons: tuple[str, ...]
    dsc_lower_bound: float | None
    confidence: float | None
    entropy: float | None
    disagreement: float | None
    importance_ml: float | None = None
    band_ml: float | None = None
    member_disagreement: float | None = None
    figures: tuple[Figure, ...] = ()

    @property
    def flagged(self) -> bool:
        """Whether the reader is asked to look at the organ."""
        return self.flag in (Flag.REVIEW, Flag.REJECT)


@dataclass(frozen=True, eq=False)
class ReviewRegion:
    """A place the reader should look at.

    Parameters
    ----------
    organ
        Key in the catalogue.
    rank
        1 is the region with the largest expected error in the study.
    mask
        On the CT grid.
    centre_lps_mm
        Centroid in LPS millimetres.
    slices
        First and last k index, inclusive.
    volume_ml
        Size of the region in millilitres.
    expected_error_ml
        Millilitres of wrong voxels expected inside, from the voxels' probabilities.
    """

    organ: str
    rank: int
    mask: BoxedMask
    centre_lps_mm: tuple[float, float, float]
    slices: tuple[int, int]
    volume_ml: float
    expected_error_ml: float


@dataclass(frozen=True, eq=False)
class StudyFindings:
    """Everything said about one CT series.

    Parameters
    ----------
    release
        Number of the release that answered.
    release_digest
        Its digest, hexadecimal SHA-256.
    demonstration
        True for weights that are not for clinical use.
    geometry
        The CT grid.
    masks
        By organ key, in catalogue order, on the CT grid. Organs may overlap.
        An absent organ has an empty mask; an organ not asked for has none.
    organs
        One finding per organ of the catalogue, in its order, then of the further ones.
    regions
        Review regions in order of rank; empty when nothing is flagged.
    audited
        Whether the study was drawn at random for review.
    strange
        Acquisition facts unlike those of the calibration studies; empty when none is.
    targets
        SHA-256 of what the site had established of organs; None where the catalogue alone counts.
    further
        Organs outside the catalogue that the release carries.
    weights
        Whose weights the release has; None where nobody said so.
    shared_voxels
        By organ, the voxels that it shares with each other organ; those that share none are left out.
    """

    release: int
    release_digest: str
    demonstration: bool
    geometry: Geometry
    masks: dict[str, BoxedMask]
    organs: tuple[OrganFinding, ...]
    regions: tuple[ReviewRegion, ...]
    audited: bool = False
    strange: tuple[StrangeFact, ...] = ()
    targets: str | None = None
    further: tuple[Organ, ...] = ()
    weights: WeightsSource | None = None
    shared_voxels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def entry(self, organ: str) -> Organ:
        """Return what is known of an organ: its name, codes and colour.

        Raises
        ------
        KeyError
            If it is neither in the catalogue nor one of the further ones.
        """
        return entry_of(organ, self.further)

    @property
    def importance_ml(self) -> float:
        """What the study weighs in a work list: the importance of all organs, millilitres."""
        return sum(finding.importance_ml or 0.0 for finding in self.organs)
