"""Derived series from files to verdicts: what their headers say, and whether their voxels bear it out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from models.series.verdict import Verdict
from services.dicom.ct.check import check_folder
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.dicom.results.report_sr import series_statements
from tests.support.ct_files import Change, edit, written

PROCESSED = ["DERIVED", "SECONDARY", "PROCESSED"]


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def derived_by(code: str) -> Change:
    def change(dataset: Dataset) -> None:
        dataset.DerivationCodeSequence = [coded(code, "DCM", "derived")]

    return change


def measured_in(unit: str) -> Change:
    def change(dataset: Dataset) -> None:
        mapping = Dataset()
        mapping.MeasurementUnitsCodeSequence = [coded(unit, "UCUM", "unit")]
        dataset.RealWorldValueMappingSequence = [mapping]

    return change


def at_one_energy(dataset: Dataset) -> None:
    dataset.MultienergyCTCharacteristicsSequence = [Dataset()]
    dataset.MultienergyCTCharacteristicsSequence[0].MonoenergeticEnergyEquivalent = 70.0


def as_map(dataset: Dataset) -> None:
    """Values from 0 to 200 on a background that was filled in."""
    stored = dataset.pixel_array
    stored = np.where(stored < 0, -1024 - int(dataset.RescaleIntercept), stored % 200)
    dataset.PixelData = stored.astype(stored.dtype).astype("<i2").tobytes()


def test_a_ct_that_is_marked_as_processed_is_taken_with_its_notes_to_the_reader(
    ohif: Path, tmp_path: Path
) -> None:
    (original,) = read_series(ohif / "ct")
    for path in (ohif / "ct").iterdir():
        dataset = dcmread(path)
        dataset.ImageType = PROCESSED
        dataset.save_as(tmp_path / path.name)
    (reading,) = read_series(tmp_path)
    series = load(reading)
    assert series.verdict.verdict is Verdict.OK
    np.testing.assert_array_equal(series.volume.hu, load(original).volume.hu)
    told = [text for _, text in series_statements(series.verdict)]
    slices = len(series.images)
    assert f"{slices} of {slices} slices are marked as derived from other images (filtered)." in told
    assert any(text.startswith("The values of the derived images look like a CT's: ") for text in told)


def test_a_map_whose_header_says_nothing_is_refused_for_its_values(tmp_path: Path) -> None:
    for path in written(tmp_path):
        edit(path, as_map)
        edit(path, lambda dataset: dataset.__setattr__("ImageType", PROCESSED))
    (row,) = check_folder(tmp_path)
    assert (row["verdict"], row["code"]) == ("refused", "derived-image")
    assert row["measured"]["air"] == 0
    assert "do not look like a CT's" in row["detail"]


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (derived_by(codes.cid7203.MaximumIntensityProjection.value), True),
        (derived_by(codes.cid7203.MultiplanarReformatting.value), False),
        (measured_in("mg/cm3"), True),
        (measured_in("[hnsf'U]"), False),
        (at_one_energy, False),
    ],
    ids=["projection", "reformat", "amount", "HU", "one energy"],
)
def test_sequences_of_the_header_are_read(tmp_path: Path, change: Change, refused: bool) -> None:
    for path in written(tmp_path):
        edit(path, change)
    (row,) = check_folder(tmp_path)
    assert row["code"] == ("derived-image" if refused else None)
    assert any("one photon energy" in note for note in row["notes"]) == (change is at_one_energy)
