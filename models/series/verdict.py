"""The verdict on a series' geometry: fit to be segmented, repaired, or refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What may be done with a series."""

    OK = "ok"
    REPAIRED = "repaired"
    REFUSED = "refused"


class Code(StrEnum):
    """Why a series is repaired or refused, in order of precedence: the first that holds is given."""

    NOT_DICOM = "not-dicom"
    MISSING_UID = "missing-uid"
    MIXED_PATIENT = "mixed-patient"
    NOT_CT = "not-ct"
    DERIVED_IMAGE = "derived-image"
    LOCALIZER_EXCLUDED = "localizer-excluded"
    MIXED_FRAME_OF_REFERENCE = "mixed-frame-of-reference"
    MISSING_GEOMETRY = "missing-geometry"
    MIXED_ORIENTATION = "mixed-orientation"
    DUPLICATE_POSITIONS = "duplicate-positions"
    MULTI_PHASE = "multi-phase"
    TOO_FEW_SLICES = "too-few-slices"
    GANTRY_TILT = "gantry-tilt"
    MISSING_SLICES = "missing-slices"
    UNEVEN_SPACING = "uneven-spacing"
    BAD_RESCALE = "bad-rescale"
    BAD_PIXEL_DATA = "bad-pixel-data"
    SLICE_OUT_OF_PLACE = "slice-out-of-place"
    NO_BODY = "no-body"
    ILLEGIBLE_HEADER = "illegible-header"
    TOO_SMALL = "too-small"
    TOO_LARGE = "too-large"


@dataclass(frozen=True)
class GeometryVerdict:
    """The verdict on one series.

    Parameters
    ----------
    verdict
        `ok`, `repaired` (one provably right repair was made and the reader is told) or `refused`.
    code
        The reason; None exactly when the verdict is `ok`.
    detail
        One sentence for a person, without patient data; empty when `ok`.
    measured
        The numbers behind it, the unit in each key (``step_mm``, ``tilt_degrees``).
    notes
        What must be told but forbids nothing (lossy compression, padding), one sentence each.
    doubted
        Slices, from 0 in k order, whose pictures may not be of their place; the notes say why.
    """

    verdict: Verdict
    code: Code | None = None
    detail: str = ""
    measured: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubted: tuple[int, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the series must not be segmented."""
        return self.verdict is Verdict.REFUSED
