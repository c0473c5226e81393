"""The geometry verdict from headers alone: what is repaired, and what is noted and forbids nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.series.slice_spacing import Repair, judge
from models.series.verdict import Code, GeometryVerdict, Verdict
from tests.support.slices import SLICE, changed, judged, regular, tilted, unlike

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
NAN = float("nan")


def test_a_localizer_is_left_out_and_said() -> None:
    scout = replace(
        SLICE,
        sop_instance_uid="9",
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
        orientation=CORONAL,
        rows=256,
        frame_of_reference_uid="other",
    )
    result = judged([scout, *regular()])
    assert result.verdict.verdict is Verdict.REPAIRED
    assert result.verdict.code is Code.LOCALIZER_EXCLUDED
    assert result.verdict.measured["localizers"] == 1
    assert result.order == (1, 2, 3, 4, 5, 6)


def test_an_identical_resend_is_dropped_and_said() -> None:
    slices = [*regular(), regular()[2]]
    result = judged(slices, content=lambda n: "same")
    assert result.verdict.verdict is Verdict.REPAIRED
    assert result.verdict.code is Code.DUPLICATE_POSITIONS
    assert result.verdict.measured["resent_slices"] == 1
    assert len(result.order) == 6


def test_pixels_are_asked_for_only_where_slices_collide() -> None:
    asked: list[int] = []

    def content(n: int) -> str:
        asked.append(n)
        return "same"

    judged([*regular(), regular()[2]], content)
    assert sorted(asked) == [2, 6]


@pytest.mark.parametrize("degrees", [-20.0, 0.11, 14.0, 30.0, 34.9])
def test_a_regular_tilt_is_repaired_as_a_sheared_grid(degrees: float) -> None:
    slices = tilted(degrees)
    result = judged(slices)
    assert result.verdict.verdict is Verdict.REPAIRED
    assert result.verdict.code is Code.GANTRY_TILT
    assert result.verdict.measured["tilt_degrees"] == pytest.approx(abs(degrees), abs=1e-3)
    assert result.geometry is not None
    for k, n in enumerate(result.order):
        np.testing.assert_allclose(result.geometry.to_lps((k, 0, 0)), slices[n].position, atol=1e-9)


def test_a_tilt_under_a_tenth_of_a_degree_does_not_count() -> None:
    assert judged(tilted(0.09)).verdict.verdict is Verdict.OK


@pytest.mark.parametrize("degrees", [45.0, -75.0])
def test_a_lean_beyond_any_gantry_is_refused_with_its_angle(degrees: float) -> None:
    verdict = judged(tilted(degrees)).verdict
    assert verdict.code is Code.GANTRY_TILT
    assert verdict.measured["tilt_degrees"] == pytest.approx(abs(degrees), abs=1e-3)
    assert verdict.measured["limit_degrees"] == 35.0


def test_interleaved_acquisitions_are_said_with_their_number_and_place() -> None:
    slices = [replace(s, phase=(str(1 + n % 2), "", "", "")) for n, s in enumerate(regular(40, 1.25))]
    verdict = judged(slices[::-1]).verdict
    assert (verdict.code, verdict.measured["passes"], verdict.measured["changes"]) == (
        Code.MULTI_PHASE,
        2,
        39,
    )
    assert "first between slices 1 and 2 (instance 1, instance 2)" in verdict.detail


@pytest.mark.parametrize("n", range(len(SLICE.setting)))
def test_settings_that_alternate_are_two_passes_and_one_that_changes_or_wavers_is_not(n: int) -> None:
    def judged_with(values: list[str]) -> GeometryVerdict:
        slices = regular(len(values), 1.25)
        settings = [
            (*s.setting[:n], value, *s.setting[n + 1 :]) for s, value in zip(slices, values, strict=True)
        ]
        return judged([replace(s, setting=one) for s, one in zip(slices, settings, strict=True)]).verdict

    assert judged_with(["40", "75"] * 10).code is Code.MULTI_PHASE
    assert judged_with(["40"] * 10 + ["75"] * 10).verdict is Verdict.OK
    assert judged_with([str(300 + 7 * k % 5) for k in range(20)]).verdict is Verdict.OK


def test_a_kernel_or_voltage_that_alternates_is_two_passes() -> None:
    slices = [
        replace(s, technique=("soft", "80" if k % 2 else "140")) for k, s in enumerate(regular(20, 1.25))
    ]
    assert judged(slices).verdict.code is Code.MULTI_PHASE


def test_a_clock_that_steps_back_once_interleaves_nothing() -> None:
    slices = [replace(s, phase=("1", "", f"12000{'001011'[n]}", "")) for n, s in enumerate(regular())]
    assert judged(slices).verdict.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"phase": ("2", "20200101", "120000", "")}, "The acquisition changes"),
        ({"contrast": False}, "Contrast is named on one side only"),
        ({"phase": ("1", "20200101", "120101", "")}, "Acquisition times lie over 60 s apart"),
    ],
)
def test_two_passes_one_after_the_other_are_a_note_with_the_place(
    changes: dict[str, object], words: str
) -> None:
    slices = [replace(s, **changes) if n > 2 else s for n, s in enumerate(regular())]
    verdict = judged(slices[::-1]).verdict
    assert verdict.verdict is Verdict.OK
    assert verdict.notes == (
        f"{words} in 1 place(s), first between slices 3 and 4 (instance 3, instance 4).",
    )


def test_a_number_for_every_slice_says_nothing_of_passes() -> None:
    slices = [replace(s, phase=(str(n), "20200101", f"1200{n:02}.5", "")) for n, s in enumerate(regular())]
    assert judged(slices).verdict.notes == ()


@pytest.mark.parametrize("word", ["VMI", "MONO_70KEV", "VIRTUAL MONOENERGETIC", "MONOE"])
def test_an_image_for_one_photon_energy_is_a_note(word: str) -> None:
    verdict = judged(regular(image_type=("ORIGINAL", "PRIMARY", "AXIAL", word))).verdict
    assert verdict.verdict is Verdict.OK
    assert verdict.notes[0].startswith("6 of 6 slices are computed for one photon energy")


def test_the_unit_may_be_written_small() -> None:
    assert judged(regular(rescale_type="hu")).verdict.verdict is Verdict.OK


def test_a_rescale_that_changes_is_a_note() -> None:
    verdict = judged(changed(regular(), 2, intercept=0.0)).verdict
    assert verdict.notes == (
        "RescaleSlope or RescaleIntercept changes within the series (2 settings); each slice is read with "
        "its own.",
    )


def test_made_identifiers_are_the_first_repair_told() -> None:
    """A made identifier goes before other repairs, and its numbers stand beside theirs."""
    made = Repair(Code.MISSING_UID, "made.", {"made_StudyInstanceUID": 6})
    verdict = judge(tilted(10.0), unlike, (made,)).verdict
    assert (verdict.verdict, verdict.code) == (Verdict.REPAIRED, Code.MISSING_UID)
    assert verdict.measured["tilt_degrees"] == pytest.approx(10.0)
    assert verdict.measured["made_StudyInstanceUID"] == 6
    assert any(note.startswith("gantry-tilt: ") for note in verdict.notes)


def test_a_tilted_stack_with_a_gap_is_refused() -> None:
    slices = tilted(14.0, count=8)
    assert judged(slices[:3] + slices[4:]).verdict.code is Code.MISSING_SLICES


def test_of_two_repairs_the_first_is_the_code_and_the_other_a_note() -> None:
    scout = replace(SLICE, sop_instance_uid="9", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    verdict = judged([scout, *tilted(10.0)]).verdict
    assert verdict.code is Code.LOCALIZER_EXCLUDED
    assert any(note.startswith("gantry-tilt: ") for note in verdict.notes)
    assert verdict.measured["tilt_degrees"] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lossy": True}, "lossy"),
        ({"burned_in": True}, "burned-in"),
        ({"frame_of_reference_uid": ""}, "FrameOfReferenceUID"),
        ({"image_type": ("DERIVED", "SECONDARY", "AXIAL")}, "derived"),
    ],
)
def test_what_forbids_nothing_is_a_note(changes: dict[str, object], words: str) -> None:
    verdict = judged(regular(**changes)).verdict
    assert verdict.verdict is Verdict.OK
    assert [words in note for note in verdict.notes] == [True]


def test_a_kernel_that_changes_is_a_note() -> None:
    verdict = judged(changed(regular(), 2, technique=("sharp", "120"))).verdict
    assert verdict.verdict is Verdict.OK
    assert "2 settings" in verdict.notes[0]
