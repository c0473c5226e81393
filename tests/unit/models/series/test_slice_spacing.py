"""The geometry verdict from headers alone: every code, precedence, order and affine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.series import rules as series_rules
from models.series.limits import FARTHEST_MM, LONGEST_MM, MOST_SLICES, THINNEST_MM
from models.series.slice_facts import ENHANCED_CT_CLASSES, PixelFormat, SliceFacts
from models.series.verdict import Code, GeometryVerdict, Verdict
from tests.support.slices import SLICE, changed, judged, regular, stack, tilted

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
NAN = float("nan")


def test_a_regular_axial_stack_is_ok_with_its_numbers() -> None:
    result = judged(regular(6, 2.5))
    assert result.verdict.verdict is Verdict.OK
    assert result.verdict.code is None
    assert result.verdict.measured == {"slices": 6, "step_mm": 2.5, "tilt_degrees": 0.0}
    assert result.verdict.notes == ()
    assert result.geometry is not None
    assert result.geometry.shape == (6, 16, 20)
    assert result.geometry.spacing_mm == (2.5, 0.8, 0.8)


PIXELS = SLICE.pixels
REFUSED = {
    "no SOP UID": (changed(regular(), 2, sop_instance_uid=""), Code.MISSING_UID),
    "no SOP class": (regular(sop_class_uid=""), Code.MISSING_UID),
    "a UID over 64 characters": (changed(regular(), 2, sop_instance_uid="1." * 40), Code.MISSING_UID),
    "a UID with letters": (regular(study_uid="1.2.a"), Code.MISSING_UID),
    "no study UID": (regular(study_uid=""), Code.MISSING_UID),
    "no series UID": (regular(series_uid=""), Code.MISSING_UID),
    "one UID at two places": (changed(regular(), 2, sop_instance_uid="1.2.3.1.0"), Code.MISSING_UID),
    "two patients": (changed(regular(), 3, patient=("P2", "", "")), Code.MIXED_PATIENT),
    "two issuers of one id": (changed(regular(), 3, patient=("P1", "other", "")), Code.MIXED_PATIENT),
    "two studies": (changed(regular(), 3, study_uid="1.2.3.11"), Code.MIXED_PATIENT),
    "magnetic resonance": (regular(modality="MR"), Code.NOT_CT),
    "secondary capture": (regular(sop_class_uid="1.2.840.10008.5.1.4.1.1.7"), Code.NOT_CT),
    "enhanced CT": (regular(sop_class_uid=next(iter(ENHANCED_CT_CLASSES))), Code.DERIVED_IMAGE),
    "legacy converted CT": (regular(sop_class_uid=list(ENHANCED_CT_CLASSES)[1]), Code.DERIVED_IMAGE),
    "many frames": (regular(frames=7), Code.DERIVED_IMAGE),
    "no image type": (regular(image_type=()), Code.DERIVED_IMAGE),
    "projection": (regular(image_type=("ORIGINAL", "PRIMARY", "AXIAL", "MIP")), Code.DERIVED_IMAGE),
    "derived map": (regular(image_type=("DERIVED", "PRIMARY", "AXIAL", "VMI")), Code.DERIVED_IMAGE),
    "material map": (regular(image_type=("ORIGINAL", "PRIMARY", "AXIAL", "IODINE_MAP")), Code.DERIVED_IMAGE),
    "iodine taken out": (regular(image_type=("ORIGINAL", "PRIMARY", "AXIAL", "VNC")), Code.DERIVED_IMAGE),
    "basis image": (regular(image_type=("ORIGINAL", "PRIMARY", "GSI WATER(IODINE)")), Code.DERIVED_IMAGE),
    "effective atomic number": (
        regular(image_type=("ORIGINAL", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM")),
        Code.DERIVED_IMAGE,
    ),
    "virtual, unsaid how": (
        regular(image_type=("ORIGINAL", "PRIMARY", "AXIAL", "VIRTUAL")),
        Code.DERIVED_IMAGE,
    ),
    "only localizers": (regular(image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), Code.LOCALIZER_EXCLUDED),
    "two frames of reference": (
        changed(regular(), 1, frame_of_reference_uid="1.2.3.31"),
        Code.MIXED_FRAME_OF_REFERENCE,
    ),
    "one frame of reference lost": (
        changed(regular(), 1, frame_of_reference_uid=""),
        Code.MIXED_FRAME_OF_REFERENCE,
    ),
    "no position": (changed(regular(), 1, position=()), Code.MISSING_GEOMETRY),
    "position not a number": (changed(regular(), 1, position=(0.0, NAN, 1.0)), Code.MISSING_GEOMETRY),
    "no orientation": (regular(orientation=()), Code.MISSING_GEOMETRY),
    "cosines not of unit length": (regular(orientation=(1.1, 0, 0, 0, 1, 0)), Code.MISSING_GEOMETRY),
    "cosines not square": (regular(orientation=(1, 0, 0, 0.6, 0.8, 0)), Code.MISSING_GEOMETRY),
    "no pixel spacing": (regular(pixel_spacing=()), Code.MISSING_GEOMETRY),
    "pixel spacing of zero": (regular(pixel_spacing=(0.0, 0.8)), Code.MISSING_GEOMETRY),
    "a tenth of a micrometre": (regular(pixel_spacing=(1e-4, 0.8)), Code.TOO_SMALL),
    "no rows": (regular(rows=None), Code.MISSING_GEOMETRY),
    "one coronal slice": (changed(regular(), 2, orientation=CORONAL), Code.MIXED_ORIENTATION),
    "one flipped row cosine": (
        changed(regular(), 2, orientation=(-1, 0, 0, 0, 1, 0)),
        Code.MIXED_ORIENTATION,
    ),
    "two sizes": (changed(regular(), 2, rows=32), Code.MIXED_ORIENTATION),
    "two pixel spacings": (changed(regular(), 2, pixel_spacing=(0.8, 0.9)), Code.MIXED_ORIENTATION),
    "another image at a place": (stack([0, 1, 2, 2, 3]), Code.DUPLICATE_POSITIONS),
    "two images in one plane": (
        changed(stack([0, 1, 2, 2, 3]), 3, position=(50.0, -120.0, 2.0)),
        Code.DUPLICATE_POSITIONS,
    ),
    "two phases": (
        regular()
        + [replace(s, sop_instance_uid=f"9.{n}", phase=("2", "", "", "")) for n, s in enumerate(regular())],
        Code.MULTI_PHASE,
    ),
    "two phases at half steps": (
        [replace(s, phase=(str(n % 2), "", "", "")) for n, s in enumerate(regular())],
        Code.MULTI_PHASE,
    ),
    "a pass within another": (
        [replace(s, phase=("12211"[n], "", "", "")) for n, s in enumerate(regular(5))],
        Code.MULTI_PHASE,
    ),
    "two temporal positions at half steps": (
        [replace(s, phase=("1", "", "", str(n % 2))) for n, s in enumerate(regular())],
        Code.MULTI_PHASE,
    ),
    "two times at half steps": (
        [replace(s, phase=("", "", f"12000{n % 2}", "")) for n, s in enumerate(regular())],
        Code.MULTI_PHASE,
    ),
    "one slice": (regular(1), Code.TOO_FEW_SLICES),
    "two slices": (regular(2), Code.TOO_FEW_SLICES),
    "one slice lost": (stack([0, 5, 10, 20, 25]), Code.MISSING_SLICES),
    "a step of one and a half": (stack([0, 2, 4, 7, 9]), Code.MISSING_SLICES),
    "two step sizes": (stack([0, 5, 10, 15, 21]), Code.UNEVEN_SPACING),
    "one slice pushed aside": (
        changed(regular(), 2, position=(-99.0, -120.0, 5.0)),
        Code.UNEVEN_SPACING,
    ),
    "a lean beyond any gantry": (tilted(35.1), Code.GANTRY_TILT),
    "no slope": (regular(slope=None), Code.BAD_RESCALE),
    "intercept not a number": (changed(regular(), 4, intercept=NAN), Code.BAD_RESCALE),
    "slope of zero": (regular(slope=0.0), Code.BAD_RESCALE),
    "not Hounsfield": (regular(rescale_type="US"), Code.BAD_RESCALE),
    "modified Hounsfield": (regular(rescale_type="HU_MOD"), Code.BAD_RESCALE),
    "lookup table": (regular(lookup_table=True), Code.BAD_RESCALE),
    "inverted grey": (regular(pixels=replace(PIXELS, photometric="MONOCHROME1")), Code.BAD_PIXEL_DATA),
    "colour": (regular(pixels=replace(PIXELS, samples=3, photometric="RGB")), Code.BAD_PIXEL_DATA),
    "bits not said": (regular(pixels=PixelFormat(1, "MONOCHROME2", 16, None, 11, 0)), Code.BAD_PIXEL_DATA),
    "more bits stored than there are": (
        regular(pixels=PixelFormat(1, "MONOCHROME2", 8, 12, 11, 0)),
        Code.BAD_PIXEL_DATA,
    ),
    "huge": (regular(rows=60_000, columns=60_000), Code.TOO_LARGE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_code_and_a_sentence(name: str) -> None:
    slices, code = REFUSED[name]
    for arrival in (slices, slices[::-1]):
        result = judged(arrival)
        assert result.verdict.verdict is Verdict.REFUSED
        assert result.verdict.code is code, result.verdict.detail
        assert result.verdict.detail.endswith(".")
        assert result.geometry is None
        assert result.order == ()


def test_every_code_of_a_header_has_a_case() -> None:
    of_files = {Code.NOT_DICOM, Code.ILLEGIBLE_HEADER}  # tests/integration/test_hostile_files.py has those
    of_pixels = {Code.SLICE_OUT_OF_PLACE, Code.NO_BODY}  # test_slice_contents.py, test_every_ok_segmented.py
    assert {code for _, code in REFUSED.values()} | of_files | of_pixels == set(Code)


def test_the_first_code_in_order_of_precedence_is_given() -> None:
    wrong: list[tuple[Code, dict[str, object]]] = [
        (Code.MISSING_UID, {"study_uid": ""}),
        (Code.NOT_CT, {"modality": "MR"}),
        (Code.DERIVED_IMAGE, {"image_type": ()}),
        (Code.MISSING_GEOMETRY, {"pixel_spacing": ()}),
        (Code.BAD_RESCALE, {"slope": None}),
    ]
    for n, (code, _) in enumerate(wrong):
        changes = {name: value for _, change in wrong[n:] for name, value in change.items()}
        assert judged(regular(**changes)).verdict.code is code


def test_a_refusal_goes_before_any_repair() -> None:
    scout = replace(SLICE, sop_instance_uid="9", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    assert judged([scout, *regular(slope=None)]).verdict.code is Code.BAD_RESCALE


def test_a_gap_is_said_with_its_place_and_width() -> None:
    verdict = judged(stack([0, 5, 10, 20, 25])).verdict
    assert verdict.measured["gap_mm"] == 10.0
    assert verdict.measured["step_mm"] == 5.0
    assert verdict.measured["between_slices"] == [3, 4]
    assert verdict.measured["between_mm"] == [10.0, 20.0]
    assert verdict.measured["between_instances"] == ["1.2.3.1.2", "1.2.3.1.3"]
    assert "between slices 3 and 4 (10.00 and 20.00 mm" in verdict.detail
    assert "instance 3, instance 4" in verdict.detail


def test_of_several_gaps_the_widest_is_named_and_all_are_counted() -> None:
    verdict = judged(stack([0, 5, 15, 20, 25, 45, 50, 55])).verdict
    assert verdict.measured["gaps"] == 2
    assert verdict.measured["between_mm"] == [25.0, 45.0]


def test_mixed_steps_are_said_with_their_place() -> None:
    verdict = judged(stack([0, 5, 10, 15, 21])).verdict
    assert verdict.measured["between_slices"] == [4, 5]
    assert verdict.measured["between_mm"] == [15.0, 21.0]
    assert verdict.measured["between_instances"] == ["1.2.3.1.3", "1.2.3.1.4"]
    assert (verdict.measured["smallest_step_mm"], verdict.measured["largest_step_mm"]) == (5.0, 6.0)
    assert "the oddest between slices 4 and 5 (instance 4, instance 5)" in verdict.detail


def test_repeated_positions_are_said_with_their_place_and_slices() -> None:
    verdict = judged(stack([0, 1, 2, 2, 3, 3])).verdict
    assert verdict.measured == {
        "positions": 2,
        "first_mm": 2.0,
        "first_instances": ["1.2.3.1.2", "1.2.3.1.3"],
    }
    assert "first 2 at 2.00 mm along the normal (instance 3, instance 4)" in verdict.detail


def test_phases_are_said_with_their_place_and_slices() -> None:
    second = [
        replace(s, sop_instance_uid=f"9.{n}", phase=("2", "", "", ""), instance_number=None)
        for n, s in enumerate(regular())
    ]
    verdict = judged(regular() + second).verdict
    assert verdict.measured["positions"] == 6
    assert verdict.measured["first_instances"] == ["1.2.3.1.0", "9.0"]
    assert "(instance 1, 9.0)" in verdict.detail


def test_a_slice_wider_than_any_scanner_makes_is_too_large() -> None:
    fine = (0.2, 0.2)
    assert judged(regular(rows=4096, pixel_spacing=fine)).verdict.verdict is Verdict.OK
    verdict = judged(regular(rows=4097, pixel_spacing=fine)).verdict
    assert (verdict.code, verdict.measured) == (Code.TOO_LARGE, {"rows_or_columns": 4097, "limit": 4096})


@pytest.mark.parametrize("sop_class", list(ENHANCED_CT_CLASSES))
def test_multi_frame_ct_is_refused_by_its_name(sop_class: str) -> None:
    verdict = judged(regular(sop_class_uid=sop_class, frames=40)).verdict
    assert verdict.measured == {"frames": 40}
    assert verdict.detail.startswith(ENHANCED_CT_CLASSES[sop_class])


@pytest.mark.parametrize(
    ("step", "off_mm", "verdict"),
    [
        (1.0, 0.019, Verdict.OK),  # 0.02 mm rules
        (1.0, 0.021, Verdict.REFUSED),
        (5.0, 0.049, Verdict.OK),  # 1 % of the step rules
        (5.0, 0.051, Verdict.REFUSED),
    ],
)
def test_a_position_may_leave_the_grid_by_the_stated_tolerance(
    step: float, off_mm: float, verdict: Verdict
) -> None:
    slices = regular(7, step)
    slices = changed(slices, 3, position=(-100.0, -120.0, 3 * step + off_mm))
    assert judged(slices).verdict.verdict is verdict


def test_the_memory_limit_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 6 * 16 * 20 * 2
    monkeypatch.setattr(series_rules, "VOLUME_LIMIT_BYTES", size)
    assert judged(regular()).verdict.verdict is Verdict.OK
    monkeypatch.setattr(series_rules, "VOLUME_LIMIT_BYTES", size - 1)
    assert judged(regular()).verdict.measured == {"bytes": size, "limit_bytes": size - 1}


def test_two_thousand_slices_are_fit_and_over_four_thousand_too_large() -> None:
    assert judged(regular(2100, 0.5, rows=512, columns=512)).verdict.verdict is Verdict.OK
    assert judged(regular(MOST_SLICES, 0.25)).verdict.verdict is Verdict.OK
    verdict = judged(regular(MOST_SLICES + 1, 0.25)).verdict
    assert (verdict.code, verdict.measured) == (Code.TOO_LARGE, {"slices": 4097, "limit": 4096})


@pytest.mark.parametrize("axis", range(3))
def test_a_field_longer_than_any_scanner_sees_is_too_large(axis: int) -> None:
    def of(length: float) -> GeometryVerdict:
        sides = [10.0, 12.0, 15.0]
        sides[axis] = length
        step, *spacing = (mm / steps for mm, steps in zip(sides, (5, 15, 19), strict=True))
        return judged(regular(6, step, pixel_spacing=tuple(spacing))).verdict

    assert of(LONGEST_MM - 0.01).verdict is Verdict.OK
    verdict = of(LONGEST_MM + 1)
    assert verdict.code is Code.TOO_LARGE
    assert max(verdict.measured["field_mm"]) == LONGEST_MM + 1
    assert verdict.measured["limit_mm"] == LONGEST_MM
    assert "millimetres" in verdict.detail


@pytest.mark.parametrize(
    ("step", "spacing"),
    [(0.049, (0.8, 0.8)), (2.5, (0.0008, 0.8)), (2.5, (0.8, 1e-12)), (0.03, (1e-5, 1e-5))],
)
def test_voxels_finer_than_any_ct_of_a_patient_are_too_small(
    step: float, spacing: tuple[float, float]
) -> None:
    assert judged(regular(6, THINNEST_MM, pixel_spacing=(THINNEST_MM,) * 2)).verdict.verdict is Verdict.OK
    verdict = judged(regular(6, step, pixel_spacing=spacing)).verdict
    assert verdict.code is Code.TOO_SMALL
    assert verdict.measured["spacing_mm"] == pytest.approx([step, *spacing], abs=1e-6)
    assert verdict.measured["limit_mm"] == THINNEST_MM


@pytest.mark.parametrize("axis", range(3))
def test_a_position_a_kilometre_away_is_no_position(axis: int) -> None:
    def at(mm: float) -> Code | None:
        way = np.eye(3)[axis] * mm
        return judged([replace(s, position=tuple(s.position + way)) for s in regular()]).verdict.code

    assert at(FARTHEST_MM - 200) is None
    assert at(FARTHEST_MM + 200) is Code.MISSING_GEOMETRY
    assert at(-FARTHEST_MM - 200) is Code.MISSING_GEOMETRY


@st.composite
def grids(draw: st.DrawFn) -> tuple[list[SliceFacts], np.ndarray]:
    """Slices of any regular grid, shuffled, and the affine (k, j, i) they were made with."""
    turn = np.linalg.qr(
        np.array(draw(st.lists(st.floats(-1, 1), min_size=9, max_size=9))).reshape(3, 3) + np.eye(3) * 3
    )[0]
    row, column = turn[0], turn[1]
    normal = np.cross(row, column)
    row_mm, column_mm = draw(st.floats(0.3, 2)), draw(st.floats(0.3, 2))
    along, aside = draw(st.floats(0.5, 10)), draw(st.floats(-0.5, 0.5))
    step = along * normal + aside * along * column
    origin = np.array(draw(st.tuples(*[st.floats(-500, 500)] * 3)))
    count = draw(st.integers(3, 12))
    slices = [
        replace(
            SLICE,
            sop_instance_uid=f"1.{n}",
            position=tuple(float(x) for x in origin + n * step),
            orientation=tuple(float(x) for x in (*row, *column)),
            pixel_spacing=(row_mm, column_mm),
        )
        for n in range(count)
    ]
    affine = np.eye(4)
    affine[:3] = np.stack([step, column * row_mm, row * column_mm, origin], axis=1)
    return draw(st.permutations(slices)), affine


@settings(max_examples=60, deadline=None)
@given(grids())
def test_any_regular_grid_in_any_order_gives_every_voxel_its_place(
    grid: tuple[list[SliceFacts], np.ndarray],
) -> None:
    slices, affine = grid
    result = judged(slices)
    assert result.geometry is not None, result.verdict
    np.testing.assert_allclose(result.geometry.affine, affine, atol=1e-9)
    for k, n in enumerate(result.order):
        s = slices[n]
        row, column = np.array(s.orientation[:3]), np.array(s.orientation[3:])
        by_standard = np.array(s.position) + row * s.pixel_spacing[1] * 7 + column * s.pixel_spacing[0] * 5
        np.testing.assert_allclose(result.geometry.to_lps((k, 5, 7)), by_standard, atol=1e-9)
