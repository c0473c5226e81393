"""Which slice of a CT series each frame of a SEG lies on, and whether it may lie there at all.

A frame's place is that of the CT image it cites, or, if it cites none, of the CT slice at its position in
the same frame of reference. Whatever contradicts this is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.errors import Refused
from models.uids import SeriesUid, SopUid, StudyUid

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
SEG_CLASSES = frozenset({SEGMENTATION_STORAGE, LABEL_MAP_STORAGE})

POSITION_TOLERANCE_MM = 0.02
"""A frame lies on a CT slice when it is no farther off; positions pass through decimal strings."""

COSINE_TOLERANCE = 1e-4
"""Direction cosines are parallel when their product is no farther from 1; they carry six digits."""

UNIT_TOLERANCE = 0.01
"""A direction whose length is farther from 1 is none; some writers give three digits."""

SPACING_TOLERANCE = 1e-3
"""Relative difference of pixel spacings that still counts as equal."""


class SegCode(StrEnum):
    """Why a SEG is refused, in order of precedence."""

    NOT_DICOM = "not-dicom"
    NOT_A_SEG = "not-a-seg"
    TOO_LARGE = "too-large"
    MALFORMED = "malformed-seg"
    OTHER_PATIENT = "other-patient"
    OTHER_STUDY = "other-study"
    OTHER_FRAME_OF_REFERENCE = "other-frame-of-reference"
    OTHER_SERIES = "other-series"
    GRID_MISMATCH = "grid-mismatch"
    UNKNOWN_IMAGE = "unknown-image"
    SERIES_NOT_CITED = "series-not-cited"
    POSITION_MISMATCH = "position-mismatch"
    BAD_PIXEL_DATA = "bad-pixel-data"
    EMPTY = "empty"
    NOT_OURS = "not-ours"
    UNKNOWN_ORGAN = "unknown-organ"
    AMBIGUOUS_RESULT = "ambiguous-result"


class ReferencedSeries(Protocol):
    """The CT series a SEG is placed on."""

    @property
    def study_uid(self) -> StudyUid:
        """StudyInstanceUID."""

    @property
    def series_uid(self) -> SeriesUid:
        """SeriesInstanceUID."""

    @property
    def frame_of_reference_uid(self) -> str:
        """FrameOfReferenceUID."""

    @property
    def names_frame_of_reference(self) -> bool:
        """Whether its images name one; else none can be another."""

    @property
    def images(self) -> Sequence[Dataset]:
        """Headers of the CT images, one per slice, in k order."""

    @property
    def not_used(self) -> Mapping[SopUid, SopUid | None]:
        """What bears the series' UID and is no slice, each with the slice that it is a copy of, if it is."""


def unknown_image(count: int) -> Refused:
    """Return the refusal of a SEG that refers to a number of images we do not have."""
    return Refused(
        SegCode.UNKNOWN_IMAGE,
        "the SEG refers to images the CT series does not have",
        {"unknown_images": count},
    )


def signed_cosine(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> float:
    """Return the cosine between a stated direction and one of the CT's; 0 if it is no direction."""
    length = float(np.linalg.norm(theirs))
    if not abs(length - 1) <= UNIT_TOLERANCE:
        return 0.0
    return float(theirs @ ours) / (length * float(np.linalg.norm(ours)))


@dataclass(frozen=True)
class Frame:
    """The functional groups of one frame: its own, else those shared by all (PS3.3 C.7.6.16)."""

    own: Dataset
    shared: Dataset

    def group(self, keyword: str) -> Dataset | None:
        """Return the first item of a functional group, None if it is missing."""
        for groups in (self.own, self.shared):
            items = groups.get(keyword)
            if items:
                return items[0]
        return None

    def value(self, keyword: str, attribute: str) -> object | None:
        """Return an attribute of a functional group, None if either is missing."""
        group = self.group(keyword)
        return None if group is None else group.get(attribute)

    def cited(self) -> set[SopUid]:
        """Return the SOP Instance UIDs of the images this frame says it was drawn on."""
        return self._sources(of_segs=False)

    def cited_segs(self) -> set[SopUid]:
        """Return the SOP Instance UIDs of the SEGs this frame says it was made from."""
        return self._sources(of_segs=True)

    def _sources(self, *, of_segs: bool) -> set[SopUid]:
        derivations = (
            self.own.get("DerivationImageSequence") or self.shared.get("DerivationImageSequence") or ()
        )
        return {
            SopUid(str(image.get("ReferencedSOPInstanceUID")))
            for derivation in derivations
            for image in derivation.get("SourceImageSequence") or ()
            if (image.get("ReferencedSOPClassUID") in SEG_CLASSES) == of_segs
        }


@dataclass(frozen=True, eq=False)
class Place:
    """Where a frame lies on the CT grid.

    Parameters
    ----------
    k
        Index of the CT slice; None if the frame lies between those it could fill.
    rows, columns
        Which of the frame's rows and columns lie on those of the CT, in their order.
    transposed
        Whether the frame's rows run along the CT's columns; then its rows and columns change places first.
    """

    k: int | None
    rows: slice | NDArray[np.intp]
    columns: slice | NDArray[np.intp]
    transposed: bool = False

    def on_ct(self, stored: NDArray) -> NDArray:
        """Return a frame's pixels, axes (row, column), on the CT slice."""
        return (stored.T if self.transposed else stored)[self.rows][:, self.columns]


class CTSlices:
    """Where the slices of a CT series are, and which of them a frame lies on.

    Parameters
    ----------
    ct
        The series.

    Attributes
    ----------
    frame_of_reference_uid
        In which they are.
    rows, columns
        Size of a slice.
    origin
        LPS millimetres of each slice's first pixel, shape (slices, 3).
    along_row, along_column
        Direction in which the column index grows, and the row index, in LPS, as the CT states them: unit
        vectors but for their decimals.
    spacing
        Between rows, between columns, millimetres.
    """

    def __init__(self, ct: ReferencedSeries) -> None:
        images, first = ct.images, ct.images[0]
        self.frame_of_reference_uid = ct.frame_of_reference_uid
        self.rows, self.columns = int(first.Rows), int(first.Columns)
        self._index = {str(image.SOPInstanceUID): k for k, image in enumerate(images)}
        self._index |= {copy: self._index[of] for copy, of in ct.not_used.items() if of in self._index}
        self._set_aside = ct.not_used.keys() - self._index.keys()
        self.origin = np.array([image.ImagePositionPatient for image in images], dtype=np.float64)
        cosines = np.array(first.ImageOrientationPatient, dtype=np.float64)
        self.along_row, self.along_column = cosines[:3], cosines[3:]
        self.spacing = np.array(first.PixelSpacing, dtype=np.float64)

    def require_matrix(self, rows: int, columns: int) -> None:
        """Refuse a matrix of another size."""
        if (rows, columns) != (self.rows, self.columns):
            raise Refused(
                SegCode.GRID_MISMATCH,
                "the SEG's matrix is not that of the CT images",
                {"rows": rows, "columns": columns, "ct_rows": self.rows, "ct_columns": self.columns},
            )

    def cited_by(self, frame: Frame) -> list[int]:
        """Return the indices k of the CT images a frame cites, ascending; refuse images we do not have.

        A copy that was dropped is the slice it is a copy of; what was left out otherwise is no place.
        """
        cited = frame.cited() - self._set_aside
        unknown = cited - self._index.keys()
        if unknown:
            raise unknown_image(len(unknown))
        return sorted({self._index[uid] for uid in cited})

    def place(self, frame: Frame, same_frame_of_reference: bool) -> Place:
        """Return where a frame lies that has the grid of the CT's slices.

        Parameters
        ----------
        frame
            Its functional groups.
        same_frame_of_reference
            Whether the SEG says that its positions are in the CT's frame of reference.

        Returns
        -------
        Place
            The slice, and how to turn the frame's rows and columns to the CT's.

        Raises
        ------
        Refused
            If it cites an unknown image, has another grid or no place, or contradicts the place it has.
        """
        steps = self._steps(frame)
        turned = (slice(None, None, steps[0]), slice(None, None, steps[1]))
        cited = self.cited_by(frame)
        position = frame.value("PlanePositionSequence", "ImagePositionPatient")
        if position is None:
            if len(cited) != 1 or steps != (1, 1):
                raise Refused(
                    SegCode.POSITION_MISMATCH, "a frame has neither one source image nor a position"
                )
            return Place(cited[0], *turned)
        if not cited and not same_frame_of_reference:
            raise Refused(
                SegCode.OTHER_FRAME_OF_REFERENCE, "a frame has a position but no frame of reference"
            )
        candidates = cited or list(range(len(self.origin)))
        corners = self.origin[candidates] + self._corner_offset(steps)
        off_mm = np.linalg.norm(corners - np.array(position, dtype=np.float64), axis=1)
        nearest = int(off_mm.argmin())
        if not off_mm[nearest] <= POSITION_TOLERANCE_MM:  # a NaN is no place either
            raise Refused(
                SegCode.POSITION_MISMATCH,
                "a frame does not lie on the CT image it belongs to",
                {"off_mm": round(float(off_mm[nearest]), 3)},
            )
        return Place(candidates[nearest], *turned)

    def _corner_offset(self, steps: tuple[int, int]) -> NDArray[np.float64]:
        """Return the LPS mm from a slice's first pixel to that of the same slice mirrored."""
        along_column = self.along_column * self.spacing[0] * (self.rows - 1) * (steps[0] < 0)
        along_row = self.along_row * self.spacing[1] * (self.columns - 1) * (steps[1] < 0)
        return along_column + along_row

    def _steps(self, frame: Frame) -> tuple[int, int]:
        spacing = frame.value("PixelMeasuresSequence", "PixelSpacing")
        if spacing is not None and not np.allclose(
            np.array(spacing, dtype=np.float64), self.spacing, rtol=SPACING_TOLERANCE, atol=0
        ):
            raise Refused(SegCode.GRID_MISMATCH, "the SEG's pixel spacing is not that of the CT images")
        cosines = frame.value("PlaneOrientationSequence", "ImageOrientationPatient")
        if cosines is None:
            return 1, 1
        theirs = np.array(cosines, dtype=np.float64)
        row = signed_cosine(theirs[:3], self.along_row)
        column = signed_cosine(theirs[3:], self.along_column)
        if not min(abs(row), abs(column)) >= 1 - COSINE_TOLERANCE:
            raise Refused(SegCode.GRID_MISMATCH, "the SEG's orientation is not that of the CT images")
        return (1 if column > 0 else -1), (1 if row > 0 else -1)
