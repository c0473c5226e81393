"""The objects a reader gets, opened by dcmqi: the same voxels in the patient, the same words."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.geometry import Geometry
from models.organs import ORGANS
from models.series.verdict import GeometryVerdict, Verdict
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from tests.integration.test_result_objects import SHAPE, judge, run, written
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks


def read_nrrd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels (k, j, i) and the affine from (k, j, i) to LPS mm."""
    header, _, data = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    assert fields["space"] == "left-posterior-superior"
    if fields["encoding"] == "gzip":
        data = gzip.decompress(data)
    sizes = [int(n) for n in fields["sizes"].split()]
    columns = [[float(x) for x in part.strip("()").split(",")] for part in fields["space directions"].split()]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(columns[::-1]).T
    matrix[:3, 3] = [float(x) for x in fields["space origin"].strip("()").split(",")]
    kind = {"short": "<i2", "unsigned char": "u1", "ushort": "<u2", "unsigned short": "<u2"}[fields["type"]]
    return np.frombuffer(data, kind).reshape(sizes[::-1]), matrix


@pytest.mark.parametrize("name", [name for name in AFFINES if name != "sheared"])
def test_dcmqi_reads_the_slicer_profile_as_the_same_voxels_in_the_patient(name, tmp_path):
    """dcmqi stacks slices along their normal, so a tilted stack is beyond it."""
    series = ct_series(AFFINES[name])
    assert_dcmqi_reads(series, organ_masks(SHAPE), tmp_path)


def test_dcmqi_reads_the_objects_of_a_series_read_from_files(ohif, tmp_path):
    (reading,) = read_series(ohif / "ct")
    series = load(reading)
    masks = organ_masks(series.volume.geometry.shape)
    report = assert_dcmqi_reads(series, masks, tmp_path)["report-sr"]
    run(judge("tid1500reader"), "--inputDICOM", report, "--outputMetadata", tmp_path / "sr.json")
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    assert [group["TrackingIdentifier"] for group in groups][: len(ORGANS)] == list(ORGANS)


def assert_dcmqi_reads(series, masks, tmp_path) -> dict[str, Path]:
    """Write the slicer profile, open it with dcmqi and compare every voxel; return what was written."""
    shape = series.volume.geometry.shape
    paths = written(tmp_path, series, findings_of(series, masks), "slicer")
    path, tool = paths["organ-seg"], judge("segimage2itkimage")
    run(tool, "--inputDICOM", path, "--outputDirectory", tmp_path, "--outputType", "nrrd", "--prefix", "s")
    for number, key in enumerate(ORGANS, start=1):
        voxels, matrix = read_nrrd(tmp_path / f"s-{number}.nrrd")
        assert voxels.shape == shape
        where = Geometry(voxels.shape, matrix).to_lps(np.argwhere(voxels))
        index = series.volume.geometry.to_index(where)
        assert np.abs(index - np.rint(index)).max(initial=0) < 0.01
        read = np.zeros(shape, bool)
        read[tuple(np.rint(index).astype(int).T)] = True
        assert np.array_equal(read, masks[key]), key
    return paths


def test_tid1500reader_reads_what_the_report_says_about_each_organ_and_region(tmp_path):
    noted = GeometryVerdict(Verdict.OK, notes=("Chosen of 2 series.",))
    series = replace(ct_series(AFFINES["oblique"]), verdict=noted)
    masks = organ_masks(SHAPE)
    findings = findings_of(series, masks)
    path = written(tmp_path, series, findings)["report-sr"]
    run(judge("tid1500reader"), "--inputDICOM", path, "--outputMetadata", tmp_path / "sr.json")
    groups = {
        group["TrackingIdentifier"]: group
        for group in json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    }
    assert list(groups) == [*ORGANS, "check-1-stomach", "check-2-aorta"]
    stomach = groups["stomach"]
    said = [
        (e["conceptCode"]["CodeValue"], e["conceptValue"]["CodeValue"])
        for e in stomach["qualitativeEvaluations"]
    ]
    assert said[1:] == [("PRESENCE", "FOUND"), ("FLAG", "REVIEW"), ("REASON", "VOLUME"), ("REASON", "BOUND")]
    measured = {m["quantity"]["CodeValue"]: float(m["value"]) for m in stomach["measurementItems"]}
    volume = float(masks["stomach"].sum() * series.volume.geometry.voxel_ml)
    assert measured == {
        "118565006": pytest.approx(volume, abs=5e-5),
        "DSC-BOUND": 0.8649,
        "CONFIDENCE": 0.9,
        "ENTROPY": round(0.12345, 4),
        "DISAGREEMENT": 0.0321,
        "MEMBER-SPREAD": 0.0456,
    }
    assert (stomach["ReferencedSegment"], groups["check-1-stomach"]["ReferencedSegment"]) == (6, 1)
