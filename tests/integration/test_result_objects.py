"""The objects a reader gets, judged by tools that are not ours: dciodvfy, dcentvfy, dcmqi, highdicom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, config, dcmread

from models.errors import Refused
from models.masks import BoxedMask
from models.organs import ORGANS, organ
from models.series.verdict import Code, GeometryVerdict, Verdict
from models.weights_source import WeightsSource
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.dicom.results.heading import parameters_in
from services.dicom.results.write import write_results
from tests.support.ct_files import edit
from tests.support.result_cases import AFFINES, affine, ct_series, findings_of, organ_masks
from tests.support.waiting import GUARD_SECONDS

SHAPE = (7, 19, 21)
WRITTEN_AT = datetime(2026, 11, 22, 13, 4, 5, 678)


def judge(tool: str) -> str:
    beside_python = Path(sys.executable).parent / tool
    found = str(beside_python) if beside_python.exists() else shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    return found


def run(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=GUARD_SECONDS, check=False
    )
    return done.stdout + done.stderr


def written(folder: Path, series, findings, profile="ohif") -> dict[str, Path]:
    paths = {}
    for result in write_results(series, findings, profile=profile, written_at=WRITTEN_AT):
        paths[result.kind] = folder / result.file_name
        paths[result.kind].write_bytes(result.content)
    return paths


def errors(path: Path) -> list[str]:
    return [line for line in run(judge("dciodvfy"), path).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("profile", ["ohif", "slicer"])
@pytest.mark.parametrize("name", AFFINES)
def test_dciodvfy_finds_no_error_in_any_geometry(name, profile, tmp_path):
    series = ct_series(AFFINES[name])
    paths = written(tmp_path, series, findings_of(series, organ_masks(SHAPE), demonstration=True), profile)
    assert set(paths) == {"organ-seg", "review-seg", "report-sr"}
    assert {kind: errors(path) for kind, path in paths.items()} == {kind: [] for kind in paths}


@pytest.mark.parametrize("absent", [(), ORGANS], ids=["all found", "none found"])
def test_objects_stay_valid_when_every_organ_or_none_is_found(absent, tmp_path):
    series = ct_series(AFFINES["axial"])
    masks = organ_masks(SHAPE, absent=absent)
    paths = written(tmp_path, series, findings_of(series, masks, flagged=()))
    assert set(paths) == {"organ-seg", "report-sr"}
    assert {kind: errors(path) for kind, path in paths.items()} == {kind: [] for kind in paths}
    seg = dcmread(paths["organ-seg"])
    assert [item.SegmentLabel for item in seg.SegmentSequence] == [organ(key).label for key in ORGANS]
    if absent:
        assert (int(seg.NumberOfFrames), any(seg.PixelData)) == (1, False)


def test_one_organ_asked_for_is_a_valid_seg_of_one_segment(tmp_path):
    series = ct_series(AFFINES["axial"])
    paths = written(
        tmp_path, series, findings_of(series, {"liver": organ_masks(SHAPE)["liver"]}, flagged=("liver",))
    )
    assert {kind: errors(path) for kind, path in paths.items()} == {kind: [] for kind in paths}
    assert [item.SegmentLabel for item in dcmread(paths["organ-seg"]).SegmentSequence] == ["Liver"]


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Zoë"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (None, "Plain^Name"),
    ],
)
def test_patient_and_study_are_those_of_the_ct_in_every_character_set(character_set, name, tmp_path):
    series = ct_series(AFFINES["axial"])
    for image in series.images:
        del image.SpecificCharacterSet
        if character_set:
            image.SpecificCharacterSet = character_set
        image.PatientName, image.PatientWeight, image.PatientComments = name, "71.5", "-"
    through_a_file = BytesIO()
    series.images[0].save_as(through_a_file, enforce_file_format=True)
    image = dcmread(BytesIO(through_a_file.getvalue()))
    series = replace(series, images=(image, *series.images[1:]))
    for path in written(tmp_path, series, findings_of(series, organ_masks(SHAPE))).values():
        read = dcmread(path)
        assert str(read.PatientName) == name
        assert read.get("SpecificCharacterSet") == image.get("SpecificCharacterSet")
        for keyword in (
            "PatientAge",
            "PatientWeight",
            "PatientComments",
            "StudyDescription",
            "AccessionNumber",
        ):
            assert read[keyword].value == image[keyword].value


def test_a_header_without_patient_values_or_with_odd_ones_is_copied_as_it_is(tmp_path):
    series = ct_series(AFFINES["axial"])
    for image in series.images:
        for keyword in ("PatientID", "StudyID", "AccessionNumber", "StudyTime", "ReferringPhysicianName"):
            del image[keyword]
        image.PatientSex = "U"
    for path in written(tmp_path, series, findings_of(series, organ_masks(SHAPE))).values():
        read = dcmread(path)
        assert (read.PatientSex, read.PatientID or "", read.StudyTime or "") == ("U", "", "")


def test_dcentvfy_finds_the_objects_of_one_study_consistent(tmp_path):
    series = ct_series(AFFINES["axial"])
    paths = written(tmp_path, series, findings_of(series, organ_masks(SHAPE)))
    assert "Error" not in run(judge("dcentvfy"), *paths.values())


def test_the_reader_is_told_of_repair_and_notes_in_report_and_segments(tmp_path):
    notes = (
        "2.0 % of the voxels are padding and were set to -1024 HU.",
        "Chosen of 3 series, 2 of them fit.",
    )
    repaired = GeometryVerdict(
        Verdict.REPAIRED, Code.GANTRY_TILT, "The gantry is tilted by 14.0 deg.", {}, notes
    )
    series = replace(ct_series(AFFINES["sheared"]), verdict=repaired)
    findings = findings_of(series, organ_masks(SHAPE))
    paths = written(tmp_path, series, findings)
    assert {kind: errors(path) for kind, path in paths.items()} == {kind: [] for kind in paths}
    section = dcmread(paths["report-sr"]).ContentSequence[-1]
    assert [
        (item.ConceptNameCodeSequence[0].CodeValue, item.TextValue) for item in section.ContentSequence
    ] == [
        ("SERIES-REPAIR", "gantry-tilt: The gantry is tilted by 14.0 deg."),
        ("SERIES-NOTE", notes[0]),
        ("SERIES-NOTE", notes[1]),
    ]
    for segment in dcmread(paths["organ-seg"]).SegmentSequence:
        assert "series repaired: gantry-tilt" in segment.SegmentDescription


@pytest.mark.parametrize("profile", ["ohif", "slicer"])
def test_results_of_imported_weights_say_their_licence_and_origin(profile, tmp_path):
    series = ct_series(AFFINES["axial"])
    weights = WeightsSource("CC-BY-NC-4.0", "https://example.org/weights?id=7&part=100%25, fold 0")
    findings = findings_of(series, organ_masks(SHAPE), weights=weights)
    paths = written(tmp_path, series, findings, profile)
    assert {kind: errors(path) for kind, path in paths.items()} == {kind: [] for kind in paths}
    for kind in ("organ-seg", "review-seg"):
        for segment in dcmread(paths[kind]).SegmentSequence:
            algorithm = highdicom.AlgorithmIdentificationSequence.from_sequence(
                segment.SegmentationAlgorithmIdentificationSequence
            )
            assert parameters_in(algorithm[0].AlgorithmParameters) == {
                "release digest": findings.release_digest,
                "weights licence": weights.licence,
                "weights origin": weights.origin,
            }
            assert len(algorithm.parameters) == 3, "highdicom reads each as one"
    section = dcmread(paths["report-sr"]).ContentSequence[-1]
    assert [
        (item.ConceptNameCodeSequence[0].CodeMeaning, item.TextValue) for item in section.ContentSequence
    ] == [("Licence of the weights", weights.licence), ("Origin of the weights", weights.origin)]


def test_what_is_told_of_the_series_makes_another_object_and_only_where_it_is_told():
    series = ct_series(AFFINES["axial"])
    findings = findings_of(series, organ_masks(SHAPE))
    noted = replace(series, verdict=GeometryVerdict(Verdict.OK, notes=("Chosen of 2 series.",)))
    plain, other = (
        [result.sop_instance_uid for result in write_results(one, findings, written_at=WRITTEN_AT)]
        for one in (series, noted)
    )
    assert plain[:2] == other[:2]
    assert plain[2] != other[2]


def test_the_label_map_profile_holds_the_same_voxels_and_refuses_overlaps(tmp_path):
    series = ct_series(AFFINES["axial"])
    masks = organ_masks(SHAPE)
    with pytest.raises(Refused, match="overlapping-segments"):
        write_results(series, findings_of(series, masks), profile="labelmap", written_at=WRITTEN_AT)
    taken = np.zeros(SHAPE, bool)
    for mask in masks.values():
        mask &= ~taken
        taken |= mask
    path = written(tmp_path, series, findings_of(series, masks), "labelmap")["organ-seg"]
    assert_highdicom_reads(path, series, masks)


def assert_no_more_errors_than_the_ct(folder: Path, out: Path) -> tuple[int, ...]:
    """Judge the objects of the fit series in a folder; return its shape."""
    reading = next(r for r in read_series(folder) if not r.verdict.refused)
    series = load(reading)
    shape = series.volume.geometry.shape
    paths = written(out, series, findings_of(series, organ_masks(shape)))
    of_the_ct = set(errors(reading.paths[0]))
    assert {kind: set(errors(path)) - of_the_ct for kind, path in paths.items()} == {k: set() for k in paths}
    return shape


def too_long(image) -> None:
    """Write values that no VR of theirs can hold, as archives do."""
    with config.disable_value_validation():
        image.StudyID, image.AccessionNumber = "A study of the year 2020", "An accession of 2020"
        image.add_new("PatientAge", "AS", "66 years")


def without_frame_of_reference(image) -> None:
    del image.FrameOfReferenceUID, image.PositionReferenceIndicator


def feet_first(image) -> None:
    image.PatientPosition, image.ImageOrientationPatient = "FFS", [-1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("change", [None, too_long, without_frame_of_reference, feet_first])
def test_objects_of_a_series_read_from_files_have_no_dciodvfy_error_that_the_ct_has_not(
    change, ohif, tmp_path
):
    """Patient and study values are the archive's: one too long for its VR stays so."""
    shutil.copytree(ohif / "ct", tmp_path / "ct")
    for path in (tmp_path / "ct").iterdir() if change else ():
        edit(path, change)
    assert assert_no_more_errors_than_the_ct(tmp_path / "ct", tmp_path) == (13, 55, 67)


def with_a_voxel_of_tissue(image: Dataset) -> None:
    stored = round((40 - float(image.RescaleIntercept)) / float(image.RescaleSlope))
    image.PixelData = stored.to_bytes(2, "little") + image.PixelData[2:]


def test_objects_of_real_series_have_no_dciodvfy_error_that_the_ct_has_not(test_data, tmp_path):
    for name, says, shape in (
        ("ct-abdomen-series", "headers of one scanner", (41, 512, 512)),
        ("ct-study-mixed-series", "headers of another maker", (28, 512, 512)),
        ("ct-sarcoma-6", "headers that were made anonymous", (47, 138, 149)),
    ):
        folder = test_data(name, says)
        out = tmp_path / name
        out.mkdir()
        if name == "ct-tilt-and-gap":  # whoever gave it away made its pixels air
            folder = Path(shutil.copytree(folder, tmp_path / "scanned"))
            for path in folder.rglob("*.dcm"):
                edit(path, with_a_voxel_of_tissue)
        assert assert_no_more_errors_than_the_ct(folder, out) == shape


def assert_highdicom_reads(path: Path, series, masks) -> None:
    seg = highdicom.seg.Segmentation.from_dataset(dcmread(path))
    voxels = seg.get_pixels_by_source_instance(
        [image.SOPInstanceUID for image in series.images],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    for number, mask in enumerate(masks.values()):
        assert np.array_equal(voxels[..., number], mask)


@settings(max_examples=10, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 5), st.integers(4, 11), st.integers(4, 19)),
    name=st.sampled_from(sorted(AFFINES)),
    seed=st.integers(0, 999),
    profile=st.sampled_from(["ohif", "slicer"]),
)
def test_what_is_written_is_what_is_read(shape, name, seed, profile, tmp_path_factory):
    series = ct_series(AFFINES[name], shape)
    rng = np.random.default_rng(seed)
    masks = {key: rng.random(shape) < 0.3 * (key != "aorta") for key in ORGANS}
    folder = tmp_path_factory.mktemp("seg")
    path = written(folder, series, findings_of(series, masks, flagged=()), profile)["organ-seg"]
    assert_highdicom_reads(path, series, masks)


def test_the_same_result_written_twice_is_the_same_bytes_and_any_other_input_other_uids():
    series = ct_series(AFFINES["axial"])
    findings = findings_of(series, organ_masks(SHAPE))
    first = write_results(series, findings, written_at=WRITTEN_AT)
    assert first == write_results(ct_series(AFFINES["axial"]), findings, written_at=WRITTEN_AT)
    uids = {result.sop_instance_uid for result in first}
    others = [
        write_results(series, findings, written_at=WRITTEN_AT, profile="slicer"),
        write_results(series, findings, written_at=WRITTEN_AT, flags_in_labels=True),
        write_results(series, findings, written_at=WRITTEN_AT, settings_digest="other"),
        write_results(
            series, findings_of(series, organ_masks(SHAPE), release_digest="f" * 64), written_at=WRITTEN_AT
        ),
    ]
    for other in others:
        assert not uids & {result.sop_instance_uid for result in other}
    later = write_results(series, findings, written_at=datetime(2027, 1, 1))
    assert [result.sop_instance_uid for result in later] == [result.sop_instance_uid for result in first]


def test_findings_on_another_grid_are_not_written():
    series = ct_series(AFFINES["axial"])
    other = ct_series(affine((1, 0, 0), (0, 1, 0), (0.9, 0.8), (0, 0, 3.0)))
    with pytest.raises(ValueError, match="same grid"):
        write_results(series, findings_of(other, organ_masks(SHAPE)), written_at=WRITTEN_AT)


def test_findings_that_contradict_themselves_are_not_written():
    series = ct_series(AFFINES["axial"])
    findings = findings_of(series, organ_masks(SHAPE))
    emptied = {**findings.masks, "liver": BoxedMask.empty(SHAPE)}
    gap = (findings.regions[0], replace(findings.regions[1], rank=3))
    for wrong, message in (
        (replace(findings, masks=emptied), "liver is said to be found"),
        (replace(findings, masks={"liver": findings.masks["liver"]}), "asked for"),
        (replace(findings, regions=gap), "ranks of regions"),
    ):
        with pytest.raises(ValueError, match=message):
            write_results(series, wrong, written_at=WRITTEN_AT)


def test_an_unknown_profile_is_refused_by_name():
    series = ct_series(AFFINES["axial"])
    with pytest.raises(ValueError, match="horos"):
        write_results(series, findings_of(series, organ_masks(SHAPE)), profile="horos", written_at=WRITTEN_AT)
