"""From the slices of a series to its geometry verdict: order, affine, tilt, gaps.

Only ImagePositionPatient, ImageOrientationPatient and PixelSpacing are believed; SliceThickness,
SliceLocation and the tilt tag are not looked at, and InstanceNumber only names a slice to a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import Refused
from models.geometry import SAME_POSITION_MM, Geometry
from models.series.limits import FEWEST_SLICES, off_grid_mm
from models.series.passes import named, notes_on_passes, refuse_interleaved
from models.series.rules import (
    notes_of,
    refuse_bad_pixel_format,
    refuse_bad_rescale,
    refuse_derived_image,
    refuse_missing_geometry,
    refuse_missing_uid,
    refuse_mixed_frame_of_reference,
    refuse_mixed_orientation,
    refuse_mixed_patient,
    refuse_not_ct,
    refuse_too_large,
    refuse_too_small,
    refuse_too_wide,
)
from models.series.slice_facts import SliceFacts, hu_type
from models.series.verdict import Code, GeometryVerdict, Verdict

MISSING_SLICE_STEPS = 1.5
"""A step of so many regular steps or more has lost a slice."""

TILT_DEGREES = 0.1
"""From this angle between the stack and the slice normal on, the gantry was tilted."""

TILT_LIMIT_DEGREES = 35.0
"""Gantries tilt to 30 degrees; of a stack that leans more, orientation or positions are wrong."""

NAMED_AT_MOST = 6
"""So many slices are named at one position; there may be dozens."""

Content = Callable[[int], str]
"""Digest of the stored pixels (and their rescale) of slice number n; asked only where slices collide."""

Require = Callable[[Geometry, int], None]
"""Refuses a grid, with voxels of so many bytes, that takes more memory than there is to segment it."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """The verdict on a series with the volume it allows.

    Parameters
    ----------
    verdict
        Verdict, code and measured numbers.
    order
        Indices of the slices that make the volume, in k order (along the slice normal); empty when
        refused.
    geometry
        The volume's grid; None exactly when refused.
    """

    verdict: GeometryVerdict
    order: tuple[int, ...]
    geometry: Geometry | None


@dataclass(frozen=True)
class Repair:
    """The one provably right thing done to a series, for the reader to know."""

    code: Code
    detail: str
    measured: Mapping[str, object]


def judge(
    slices: Sequence[SliceFacts],
    content: Content,
    made: Sequence[Repair] = (),
    require: Require | None = None,
) -> Judgement:
    """Return the verdict on a series from its headers.

    The first code in `models.series.verdict.Code`'s order is given; any refusal goes before any repair.

    Parameters
    ----------
    slices
        All images of one series, in any order; at least one.
    content
        Digest of slice n's pixels, called only for slices at one position, to tell a resend from a
        second image.
    made
        Repairs of the headers before they came here.
    require
        Asked last of a series that is to be segmented; None: it is only read.

    Returns
    -------
    Judgement
        With geometry whose k axis is the true step between slices: a regular tilt is a sheared
        affine, so world coordinates are exact without touching a voxel.

    Notes
    -----
    Source: DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
    """
    notes: list[str] = []
    repairs = list(made)
    try:
        order, geometry, measured = _arranged(slices, content, repairs, notes, require)
    except Refused as refusal:
        code = Code(refusal.code)
        refused = GeometryVerdict(Verdict.REFUSED, code, refusal.detail, refusal.measured, tuple(notes))
        return Judgement(refused, (), None)
    if not repairs:
        fit = GeometryVerdict(Verdict.OK, measured=measured, notes=tuple(notes))
        return Judgement(fit, order, geometry)
    precedence = list(Code)
    first, *others = sorted(repairs, key=lambda repair: precedence.index(repair.code))
    for repair in repairs:
        measured |= repair.measured
    notes += [f"{repair.code}: {repair.detail}" for repair in others]
    repaired = GeometryVerdict(Verdict.REPAIRED, first.code, first.detail, measured, tuple(notes))
    return Judgement(repaired, order, geometry)


def _arranged(
    slices: Sequence[SliceFacts],
    content: Content,
    repairs: list[Repair],
    notes: list[str],
    require: Require | None,
) -> tuple[tuple[int, ...], Geometry, dict[str, object]]:
    """Return k order, geometry and measured numbers; raise Refused by precedence.

    Repairs and notes are added to their lists as they arise, so that a refusal keeps the notes.
    """
    refuse_missing_uid(slices)
    refuse_mixed_patient(slices)
    refuse_not_ct(slices)
    refuse_derived_image(slices)
    indices = _without_localizers(slices, repairs)
    kept = [slices[n] for n in indices]
    notes += notes_of(kept)
    refuse_mixed_frame_of_reference(kept)
    refuse_missing_geometry(kept)
    refuse_mixed_orientation(kept)

    normal = _normal(kept[0])
    indices.sort(key=lambda n: (float(np.dot(slices[n].position, normal)), slices[n].sop_instance_uid))
    indices = _without_resends(slices, indices, normal, content, repairs)
    kept = [slices[n] for n in indices]
    refuse_interleaved(kept)
    notes += notes_on_passes(kept)
    if len(indices) < FEWEST_SLICES:
        raise Refused(
            Code.TOO_FEW_SLICES,
            f"The series has {len(indices)} slice(s); their spacing can be checked from {FEWEST_SLICES} on.",
            {"slices": len(indices)},
        )
    step, measured = _regular_step(kept, normal, repairs)
    refuse_bad_rescale(kept)
    refuse_bad_pixel_format(kept)
    refuse_too_small(kept, float(step @ normal))
    refuse_too_large(kept)
    geometry = _geometry(kept, np.array(kept[0].position), step)
    refuse_too_wide(geometry)
    if require is not None:
        require(geometry, np.dtype(hu_type(kept)).itemsize)
    return tuple(indices), geometry, measured


def _normal(s: SliceFacts) -> NDArray[np.float64]:
    """Return the unit normal of a slice, row cosines x column cosines."""
    orientation = np.array(s.orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def _geometry(kept: Sequence[SliceFacts], origin: NDArray[np.float64], step: NDArray[np.float64]) -> Geometry:
    first = kept[0]
    orientation = np.array(first.orientation)
    between_rows, between_columns = first.pixel_spacing
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = orientation[3:] * between_rows
    affine[:3, 2] = orientation[:3] * between_columns
    affine[:3, 3] = origin
    return Geometry((len(kept), first.rows or 0, first.columns or 0), affine)


def _without_localizers(slices: Sequence[SliceFacts], repairs: list[Repair]) -> list[int]:
    kept = [n for n, s in enumerate(slices) if not s.is_localizer]
    left_out = len(slices) - len(kept)
    if not kept:
        raise Refused(Code.LOCALIZER_EXCLUDED, "The series holds only localizers.", {"localizers": left_out})
    if left_out:
        detail = f"{left_out} localizer(s) in the series were left out."
        repairs.append(Repair(Code.LOCALIZER_EXCLUDED, detail, {"localizers": left_out}))
    return kept


def _without_resends(
    slices: Sequence[SliceFacts],
    ordered: list[int],
    normal: NDArray[np.float64],
    content: Content,
    repairs: list[Repair],
) -> list[int]:
    """Drop exact copies of a slice; raise Refused where different slices share a plane."""
    along = np.array([np.dot(slices[n].position, normal) for n in ordered])
    runs = np.split(np.array(ordered), np.flatnonzero(np.diff(along) >= SAME_POSITION_MM) + 1)
    kept: list[int] = []
    clashes: list[list[int]] = []
    for run in runs:
        kept.append(int(run[0]))
        if len(run) == 1:
            continue
        apart = np.ptp(np.array([slices[n].position for n in run]), axis=0).max()
        if apart >= SAME_POSITION_MM or len({content(int(n)) for n in run}) > 1:
            clashes.append([int(n) for n in run])
    if clashes:
        _refuse_clashes(slices, clashes, normal)
    dropped = len(ordered) - len(kept)
    if dropped:
        detail = f"{dropped} slice(s) had been sent again, identical; the copies were dropped."
        repairs.append(Repair(Code.DUPLICATE_POSITIONS, detail, {"resent_slices": dropped}))
    return kept


def _refuse_clashes(
    slices: Sequence[SliceFacts], clashes: Sequence[Sequence[int]], normal: NDArray[np.float64]
) -> None:
    """Refuse planes with several different slices, as phases when each of them is of another phase."""
    first = [slices[n] for n in clashes[0]]
    where = float(np.dot(first[0].position, normal))
    measured = {
        "positions": len(clashes),
        "first_mm": round(where, 4),
        "first_instances": [s.sop_instance_uid for s in first[:NAMED_AT_MOST]],
    }
    place = f"first {len(first)} at {where:.2f} mm along the normal ({_names(first)})."
    if all(len({slices[n].phase for n in clash}) == len(clash) for clash in clashes):
        what = f"{len(clashes)} position(s) hold slices of several acquisitions or times, {place}"
        raise Refused(Code.MULTI_PHASE, what, measured)
    raise Refused(
        Code.DUPLICATE_POSITIONS,
        f"{len(clashes)} position(s) hold several different slices, {place}",
        measured,
    )


def _names(slices: Sequence[SliceFacts]) -> str:
    """Return how a person finds slices; no more than `NAMED_AT_MOST` of them."""
    return named(slices[:NAMED_AT_MOST]) + (", ..." if len(slices) > NAMED_AT_MOST else "")


def _regular_step(
    kept: Sequence[SliceFacts], normal: NDArray[np.float64], repairs: list[Repair]
) -> tuple[NDArray[np.float64], dict[str, object]]:
    """Return the step vector of a regular stack, its slices in k order, and what was measured.

    The regular step, by which gaps are told, is the lower median of the steps along the normal: more
    than half of all steps would have to be wrong to mislead it upwards.
    """
    positions = np.array([s.position for s in kept])
    along = positions @ normal
    steps = np.diff(along)
    regular = float(np.sort(steps)[(len(steps) - 1) // 2])
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), step @ normal)))
    measured: dict[str, object] = {
        "slices": len(positions),
        "step_mm": round(regular, 4),
        "tilt_degrees": round(tilt, 3),
    }
    _refuse_gaps(kept, along, regular, measured)
    grid = positions[0] + np.arange(len(positions))[:, None] * step
    _refuse_uneven(kept, along, grid, regular, off_grid_mm(float(step @ normal)), measured)
    if tilt > TILT_LIMIT_DEGREES:
        raise Refused(
            Code.GANTRY_TILT,
            f"The stack leans {tilt:.1f} degrees from the slice normal, more than any gantry tilts "
            f"({TILT_LIMIT_DEGREES:.0f} degrees are allowed): orientation or positions cannot be right.",
            measured | {"limit_degrees": TILT_LIMIT_DEGREES},
        )
    if tilt >= TILT_DEGREES:
        detail = (
            f"The gantry was tilted by {tilt:.1f} degrees; the stack is read as the sheared grid it is and "
            "resampled from there in patient space."
        )
        repairs.append(Repair(Code.GANTRY_TILT, detail, {"tilt_degrees": round(tilt, 3)}))
    return step, measured


def _refuse_gaps(
    kept: Sequence[SliceFacts], along: NDArray[np.float64], regular: float, measured: dict[str, object]
) -> None:
    """Refuse steps of `MISSING_SLICE_STEPS` regular ones or more; the widest is named with its ends."""
    steps = np.diff(along)
    gaps = np.flatnonzero(steps >= MISSING_SLICE_STEPS * regular)
    if not len(gaps):
        return
    worst = int(gaps[np.argmax(steps[gaps])])
    ends = kept[worst : worst + 2]
    gap = float(steps[worst])
    raise Refused(
        Code.MISSING_SLICES,
        f"Slices are missing in {len(gaps)} place(s); the widest gap is {gap:.2f} mm where "
        f"{regular:.2f} mm is regular, between slices {worst + 1} and {worst + 2} "
        f"({along[worst]:.2f} and {along[worst + 1]:.2f} mm along the normal; {_names(ends)}).",
        measured
        | {
            "gap_mm": round(gap, 4),
            "gaps": len(gaps),
            "between_slices": [worst + 1, worst + 2],
            "between_mm": [round(float(along[n]), 4) for n in (worst, worst + 1)],
            "between_instances": [s.sop_instance_uid for s in ends],
        },
    )


def _refuse_uneven(
    kept: Sequence[SliceFacts],
    along: NDArray[np.float64],
    grid: NDArray[np.float64],
    regular: float,
    allowed: float,
    measured: dict[str, object],
) -> None:
    """Refuse slices that lie off the regular grid; the farthest is named, and where the step changes most."""
    astray = np.linalg.norm(np.array([s.position for s in kept]) - grid, axis=1)
    worst = int(astray.argmax())
    if astray[worst] <= allowed:
        return
    steps = np.diff(along)
    odd = int(np.abs(steps - regular).argmax())
    ends = kept[odd : odd + 2]
    raise Refused(
        Code.UNEVEN_SPACING,
        f"Slice {worst + 1} ({_names(kept[worst : worst + 1])}) lies {astray[worst]:.3f} mm off the regular "
        f"grid ({allowed:.3f} mm is allowed); steps run from {steps.min():.3f} to {steps.max():.3f} mm, the "
        f"oddest between slices {odd + 1} and {odd + 2} ({_names(ends)}).",
        measured
        | {
            "off_grid_mm": round(float(astray[worst]), 4),
            "smallest_step_mm": round(float(steps.min()), 4),
            "largest_step_mm": round(float(steps.max()), 4),
            "between_slices": [odd + 1, odd + 2],
            "between_mm": [round(float(along[n]), 4) for n in (odd, odd + 1)],
            "between_instances": [s.sop_instance_uid for s in ends],
        },
    )
