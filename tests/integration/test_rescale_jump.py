"""A rescale that changes within a series: right where HU agree, refused where only stored values do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from models.errors import Refused
from models.series.rescale_jump import RescaleJumps
from services.dicom.ct.check import check_folder
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from tests.support.ct_files import edit, setting, written
from tests.support.slices import regular


def body(slices: int = 6, seed: int = 1) -> np.ndarray:
    """Return HU, axes (k, row, column), of a slowly changing body with noise of 10 HU in air."""
    rng = np.random.default_rng(seed)
    k, row, column = np.meshgrid(np.arange(slices), np.arange(12) - 6, np.arange(10) - 5, indexing="ij")
    hu = np.where(row**2 + column**2 < 12 + k, 50.0, -1000.0)
    return np.asarray(hu + rng.normal(0, 10, hu.shape))


def written_body(folder: Path) -> list[Path]:
    """Write the body with an intercept of -1024; return its files in k order."""
    paths = written(folder)
    for path, hu in zip(paths, np.rint(body()), strict=True):

        def fill(dataset: Dataset, hu: np.ndarray = hu) -> None:
            dataset.RescaleIntercept = "-1024"
            dataset.PixelData = (hu + 1024).astype("<i2").tobytes()

        edit(path, fill)
    return paths


@pytest.mark.parametrize(
    ("changes", "which", "between"),
    [
        ({"RescaleIntercept": "0"}, [3], [3, 4]),
        ({"RescaleIntercept": "0"}, [0], [1, 2]),
        ({"RescaleIntercept": "0"}, [5], [5, 6]),
        ({"RescaleIntercept": "0"}, [3, 4, 5], [3, 4]),
        ({"RescaleIntercept": "-824"}, [3], [3, 4]),
        ({"RescaleSlope": "2"}, [3], [3, 4]),
        ({"RescaleSlope": "0.5"}, [3], [3, 4]),
    ],
)
def test_a_rescale_that_is_not_the_slices_own_is_refused_with_its_place(
    tmp_path: Path, changes: dict[str, str], which: list[int], between: list[int]
) -> None:
    paths = written_body(tmp_path)
    for n in which:
        edit(paths[n], setting(**changes))
    (row,) = check_folder(tmp_path)
    assert (row["verdict"], row["code"], row["shape"]) == ("refused", "bad-rescale", None)
    assert row["measured"]["between_slices"] == between
    first, second = (dcmread(paths[n - 1]).SOPInstanceUID for n in between)
    assert row["measured"]["between_instances"] == [first, second]
    assert row["measured"]["difference_hu"] > 3 * row["measured"]["difference_with_one_rescale_hu"]
    (reading,) = read_series(tmp_path)
    with pytest.raises(Refused, match="bad-rescale"):
        load(reading)


def test_the_jump_is_measured() -> None:
    jumps, (first, second) = RescaleJumps(), regular(2)
    jumps.add(first, np.full((12, 10), 40))
    with pytest.raises(Refused) as refused:
        jumps.add(replace(second, intercept=0.0), np.full((12, 10), 1064 + 7))
    assert refused.value.measured["difference_hu"] == 1031.0
    assert refused.value.measured["difference_with_one_rescale_hu"] == 7.0


def test_other_stored_values_with_a_rescale_to_suit_are_ok_with_a_note(tmp_path: Path) -> None:
    paths = written_body(tmp_path)

    def shift(dataset: Dataset) -> None:
        dataset.PixelData = (dataset.pixel_array.astype("<i2") - 1024).tobytes()
        dataset.RescaleIntercept = "0"

    edit(paths[3], shift)
    (row,) = check_folder(tmp_path)
    assert (row["verdict"], len(row["notes"])) == ("ok", 2)
    assert row["notes"][0].startswith(
        "RescaleSlope or RescaleIntercept changes within the series (2 settings)"
    )
    np.testing.assert_array_equal(load(read_series(tmp_path)[0]).volume.hu, np.rint(body()))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 20), st.floats(-9000, 1000)), min_size=8, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_slices_that_agree_in_hu_may_have_any_rescale(rescales: list[tuple[float, float]], seed: int) -> None:
    jumps = RescaleJumps()
    for s, hu, (slope, intercept) in zip(regular(8), body(8, seed), rescales, strict=True):
        jumps.add(replace(s, slope=slope, intercept=intercept), hu)


def test_a_jump_without_a_change_of_rescale_is_anatomy() -> None:
    jumps, (first, second) = RescaleJumps(), regular(2)
    jumps.add(first, np.full((12, 10), -900))
    jumps.add(second, np.full((12, 10), 900))
