"""The rules a series must meet before its geometry is looked at: whose it is, and what kind.

Each rule takes all slices of a series and raises `Refused`; `models.series.slice_spacing` calls them in the
order of precedence. Nothing here guesses: what is not said, is not assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from models.body import BODY_HU
from models.errors import Refused
from models.geometry import Geometry
from models.series.image_kinds import is_derived, is_one_energy, told_of, why_refused
from models.series.limits import (
    FARTHEST_MM,
    LONGEST_MM,
    MATRIX_LIMIT,
    MOST_SLICES,
    SAME_ORIENTATION,
    SAME_PIXEL_SPACING_MM,
    THINNEST_MM,
    UNIT_TOLERANCE,
    VOLUME_LIMIT_BYTES,
)
from models.series.slice_facts import CT_CLASSES, ENHANCED_CT_CLASSES, UID_FORM, SliceFacts
from models.series.terms import MODALITIES, PHOTOMETRIC, RESCALE_TYPES, term, uid_or_length
from models.series.verdict import Code


def refuse_missing_uid(slices: Sequence[SliceFacts]) -> None:
    """Refuse a series in which an image lacks an identifier, or two different images share one.

    An identifier that is none (letters, over 64 characters) counts as missing: whatever refers to it
    would not be valid either. To a localizer nothing refers.
    """
    slices = [s for s in slices if not s.is_localizer] or slices
    names = ("sop_instance_uid", "sop_class_uid", "study_uid", "series_uid")
    lacking = {name: sum(not UID_FORM.fullmatch(getattr(s, name)) for s in slices) for name in names}
    lacking = {name: count for name, count in lacking.items() if count}
    if lacking:
        what = ", ".join(f"{name} in {count} of {len(slices)}" for name, count in lacking.items())
        raise Refused(
            Code.MISSING_UID,
            f"Identifiers are missing or not valid ({what} images).",
            {f"lacking_{k}": n for k, n in lacking.items()},
        )
    places: dict[str, object] = {}
    for s in slices:
        if places.setdefault(s.sop_instance_uid, s.position) != s.position:
            raise Refused(Code.MISSING_UID, "Images at different positions bear the same SOP Instance UID.")


def refuse_mixed_patient(slices: Sequence[SliceFacts]) -> None:
    """Refuse one series UID used for several patients or studies."""
    patients, studies = _kinds(s.patient for s in slices), _kinds(s.study_uid for s in slices)
    if patients > 1:
        raise Refused(
            Code.MIXED_PATIENT, f"One series holds images of {patients} patients.", {"patients": patients}
        )
    if studies > 1:
        raise Refused(Code.MIXED_PATIENT, f"One series lies in {studies} studies.", {"studies": studies})


def refuse_mixed_patients_of_study(series: Sequence[SliceFacts]) -> None:
    """Refuse a study whose series are of several patients.

    Parameters
    ----------
    series
        One image of each series of one study.

    Raises
    ------
    Refused
        `mixed-patient` if PatientIDs differ (an empty one counts), or issuers or dates of birth do
        where they are given: not every device writes these two.
    """
    identities = [s.patient for s in series]
    patients = _kinds(identity[0] for identity in identities)
    others = [_kinds(said for said in values if said) for values in list(zip(*identities, strict=True))[1:]]
    if max(patients, *others) > 1:
        raise Refused(
            Code.MIXED_PATIENT,
            f"The {len(series)} series of one study name {patients} patient identifiers, "
            f"{others[0]} issuers and {others[1]} dates of birth.",
            {"series": len(series), "patients": patients, "issuers": others[0], "birth_dates": others[1]},
        )


def refuse_not_ct(slices: Sequence[SliceFacts]) -> None:
    """Refuse what is not a CT image object."""
    for s in slices:
        if s.modality != "CT":
            raise Refused(Code.NOT_CT, f"The modality is {term(s.modality, MODALITIES)}, not CT.")
        if s.sop_class_uid not in CT_CLASSES:
            raise Refused(
                Code.NOT_CT,
                f"The SOP class is {uid_or_length(s.sop_class_uid)}, not CT Image Storage, though the "
                "modality is CT.",
            )


def refuse_derived_image(slices: Sequence[SliceFacts]) -> None:
    """Refuse images whose values are no HU of the patient's tissue, and multi-frame objects.

    What they are is told by `models.series.image_kinds`. That they are derived refuses none: whether their
    voxels look like a CT's is asked when these are read.
    """
    for s in slices:
        if s.sop_class_uid in ENHANCED_CT_CLASSES or s.frames != 1:
            what = ENHANCED_CT_CLASSES.get(s.sop_class_uid, "An image of several frames")
            raise Refused(
                Code.DERIVED_IMAGE,
                f"{what} is not read ({s.frames} frames); only CT Image Storage, one slice a file, is.",
                {"frames": s.frames},
            )
        if len(s.image_type) < 2:
            raise Refused(Code.DERIVED_IMAGE, "ImageType is missing: nothing says these are original slices.")
        if s.is_localizer:
            continue
        kind = why_refused(s)
        if kind is not None:
            raise Refused(
                Code.DERIVED_IMAGE, f"By their headers the images are {kind}: no HU of the patient's tissue."
            )


def refuse_mixed_frame_of_reference(slices: Sequence[SliceFacts]) -> None:
    """Refuse a series whose positions are not all given in one frame of reference."""
    frames = _kinds(s.frame_of_reference_uid for s in slices)
    if frames > 1:
        raise Refused(
            Code.MIXED_FRAME_OF_REFERENCE,
            f"Positions are given in {frames} frames of reference.",
            {"frames_of_reference": frames},
        )


def refuse_missing_geometry(slices: Sequence[SliceFacts]) -> None:
    """Refuse slices without a usable position, orientation, spacing or size."""
    requirements: dict[str, Callable[[SliceFacts], bool]] = {
        "ImagePositionPatient": lambda s: bool(s.position) and bool(np.abs(s.position).max() <= FARTHEST_MM),
        "ImageOrientationPatient": lambda s: _are_unit_and_square(s.orientation),
        "PixelSpacing": lambda s: _are_positive(s.pixel_spacing),
        "Rows and Columns": lambda s: bool(s.rows and s.columns),
    }
    for name, holds in requirements.items():
        lacking = sum(not holds(s) for s in slices)
        if lacking:
            raise Refused(
                Code.MISSING_GEOMETRY,
                f"{name} is missing or not usable in {lacking} of {len(slices)} slices.",
                {"lacking": lacking, "slices": len(slices)},
            )


def refuse_mixed_orientation(slices: Sequence[SliceFacts]) -> None:
    """Refuse slices that are not parallel, or of different size or pixel spacing."""
    orientations = np.array([s.orientation for s in slices])
    spread = float(np.ptp(orientations, axis=0).max())
    if spread > SAME_ORIENTATION:
        raise Refused(
            Code.MIXED_ORIENTATION,
            f"Direction cosines differ by up to {spread:.4f} within the series.",
            {"cosine_spread": spread},
        )
    sizes = _kinds((s.rows, s.columns) for s in slices)
    if sizes > 1:
        raise Refused(Code.MIXED_ORIENTATION, f"Slices come in {sizes} sizes.", {"sizes": sizes})
    spread = float(np.ptp(np.array([s.pixel_spacing for s in slices]), axis=0).max())
    if spread > SAME_PIXEL_SPACING_MM:
        raise Refused(
            Code.MIXED_ORIENTATION,
            f"Pixel spacings differ by up to {spread:.5f} mm within the series.",
            {"pixel_spacing_spread_mm": spread},
        )


def refuse_bad_rescale(slices: Sequence[SliceFacts]) -> None:
    """Refuse slices whose stored values cannot be turned into Hounsfield units."""
    for s in slices:
        if s.lookup_table:
            raise Refused(Code.BAD_RESCALE, "A modality lookup table stands in place of slope and intercept.")
        if s.slope is None or s.intercept is None:
            raise Refused(Code.BAD_RESCALE, "RescaleSlope or RescaleIntercept is missing or not a number.")
        if not (np.isfinite(s.slope) and np.isfinite(s.intercept) and s.slope > 0):
            raise Refused(
                Code.BAD_RESCALE,
                "RescaleSlope must be positive and finite, RescaleIntercept finite.",
                {"slope": str(s.slope), "intercept": str(s.intercept)},
            )
        if s.rescale_type.upper() not in ("", "HU"):
            raise Refused(
                Code.BAD_RESCALE, f"RescaleType is {term(s.rescale_type.upper(), RESCALE_TYPES)}, not HU."
            )


def refuse_bad_pixel_format(slices: Sequence[SliceFacts]) -> None:
    """Refuse stored values that no CT image holds (PS3.3 C.8.2.1): colour, inverted, odd sizes.

    MONOCHROME1 is refused: the standard lets it change the display only, but who writes it for CT
    may have inverted the values too, and the two cannot be told apart.
    """
    for pixels in {s.pixels for s in slices}:
        if pixels.samples != 1 or pixels.photometric != "MONOCHROME2":
            raise Refused(
                Code.BAD_PIXEL_DATA,
                f"PhotometricInterpretation is {term(pixels.photometric, PHOTOMETRIC)} with {pixels.samples} "
                "samples, not MONOCHROME2 with 1.",
            )
        allocated, stored, high = pixels.bits_allocated, pixels.bits_stored, pixels.high_bit
        sound = allocated in (8, 16) and stored is not None and 1 < stored <= allocated and high == stored - 1
        if not sound or pixels.representation not in (0, 1):
            raise Refused(
                Code.BAD_PIXEL_DATA,
                f"Pixels of {allocated} bits allocated, {stored} stored, high bit {high}, "
                f"representation {pixels.representation} are not CT.",
            )


def refuse_too_small(slices: Sequence[SliceFacts], step_mm: float) -> None:
    """Refuse voxels thinner than `THINNEST_MM`; the step is that between slices, along their normal."""
    sides = (step_mm, *slices[0].pixel_spacing)
    if min(sides) < THINNEST_MM:
        spacing = " x ".join(f"{mm:.4g}" for mm in sides)
        raise Refused(
            Code.TOO_SMALL,
            f"Voxels of {spacing} mm (slice, row, column) are finer than any CT of a patient; the least is "
            f"{THINNEST_MM} mm. See whether positions and PixelSpacing are in millimetres.",
            {"spacing_mm": [round(mm, 6) for mm in sides], "limit_mm": THINNEST_MM},
        )


def refuse_too_large(slices: Sequence[SliceFacts]) -> None:
    """Refuse a matrix, a number of slices or a volume over the limits, before memory is taken."""
    rows, columns = slices[0].rows or 0, slices[0].columns or 0
    if max(rows, columns) > MATRIX_LIMIT:
        raise Refused(
            Code.TOO_LARGE,
            f"A slice has {max(rows, columns)} rows or columns; the limit is {MATRIX_LIMIT}.",
            {"rows_or_columns": max(rows, columns), "limit": MATRIX_LIMIT},
        )
    if len(slices) > MOST_SLICES:
        raise Refused(
            Code.TOO_LARGE,
            f"The series has {len(slices)} slices; the limit is {MOST_SLICES}. Send it in thicker ones.",
            {"slices": len(slices), "limit": MOST_SLICES},
        )
    size = len(slices) * rows * columns * np.dtype(np.int16).itemsize
    if size > VOLUME_LIMIT_BYTES:
        raise Refused(
            Code.TOO_LARGE,
            f"The volume takes {size / 2**30:.1f} GiB; the limit is {VOLUME_LIMIT_BYTES / 2**30:.0f} GiB.",
            {"bytes": size, "limit_bytes": VOLUME_LIMIT_BYTES},
        )


def refuse_too_wide(grid: Geometry) -> None:
    """Refuse a field that is longer than `LONGEST_MM` along an axis of the patient."""
    corners = grid.corners_lps()
    field = corners.max(axis=0) - corners.min(axis=0)
    if field.max() > LONGEST_MM:
        extent = " x ".join(f"{mm:.0f}" for mm in field)
        raise Refused(
            Code.TOO_LARGE,
            f"The series spans {extent} mm (to the left, to posterior, to the head), more than any scanner; "
            f"the limit is {LONGEST_MM:.0f} mm. See whether positions and PixelSpacing are in millimetres.",
            {"field_mm": [round(float(mm), 1) for mm in field], "limit_mm": LONGEST_MM},
        )


def refuse_no_body(highest_hu: float) -> None:
    """Refuse a series whose highest value, in Hounsfield units, is that of air."""
    if highest_hu <= BODY_HU:
        raise Refused(
            Code.NO_BODY,
            f"Nothing but air was scanned: the highest value is {highest_hu:g} HU, and a body is above "
            f"{BODY_HU} HU.",
            {"highest_hu": highest_hu, "limit_hu": BODY_HU},
        )


def notes_of(slices: Sequence[SliceFacts]) -> tuple[str, ...]:
    """Return what the reader must be told but forbids nothing, one sentence each."""
    lossy = sum(s.lossy for s in slices)
    burned_in = sum(s.burned_in for s in slices)
    derived = sum(map(is_derived, slices))
    how = "; ".join(dict.fromkeys(what for s in slices for what in told_of(s)))
    nameless = not any(UID_FORM.fullmatch(s.frame_of_reference_uid) for s in slices)
    techniques = _kinds(s.technique for s in slices)
    one_energy = sum(map(is_one_energy, slices))
    rescales = _kinds((s.slope, s.intercept) for s in slices if s.slope is not None)
    candidates = (
        (lossy, f"{lossy} of {len(slices)} slices went through lossy compression."),
        (
            derived,
            f"{derived} of {len(slices)} slices are marked as derived from other images "
            f"({how or 'how is not said'}).",
        ),
        (burned_in, f"{burned_in} of {len(slices)} slices are said to hold burned-in annotation."),
        (
            nameless,
            "There is no FrameOfReferenceUID; the series counts as a frame of reference of its own.",
        ),
        (techniques > 1, f"Kernel or tube voltage changes within the series ({techniques} settings)."),
        (
            one_energy,
            f"{one_energy} of {len(slices)} slices are computed for one photon energy; contrast has other HU "
            "there than in plain CT.",
        ),
        (
            rescales > 1,
            f"RescaleSlope or RescaleIntercept changes within the series ({rescales} settings); each slice "
            "is read with its own.",
        ),
    )
    return tuple(sentence for holds, sentence in candidates if holds)


def _kinds(values: Iterable[Hashable]) -> int:
    return len(set(values))


def _are_positive(lengths: Sequence[float]) -> bool:
    return len(lengths) > 0 and all(0 < length < np.inf for length in lengths)


def _are_unit_and_square(orientation: Sequence[float]) -> bool:
    if not orientation:
        return False
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    misses = (np.linalg.norm(row) - 1, np.linalg.norm(column) - 1, row @ column)
    return bool(np.isfinite(misses).all() and np.abs(misses).max() < UNIT_TOLERANCE)
