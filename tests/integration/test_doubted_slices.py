"""A slice that may not be of its place, from the file to what is said of the organs that it touches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from flows.segmentation.segment import segment
from models.phantom.case import make_case
from models.volume import Volume
from services.dicom.ct.phantom_series import write_phantom_series
from tests.support.fit_series import site_at
from tests.support.slices_out_of_place import STRANGE

GRID_MM, REACH = 12.0, 2
"""Of the release; so two slices of 8 mm share a voxel of it with one that is doubted."""


def test_organs_near_a_slice_that_is_doubted_lose_the_bound_that_they_have_without_it(tmp_path: Path) -> None:
    case = make_case("A", 3, spacing_mm=(8.0, 4.0, 4.0))
    moved = STRANGE["first from the middle"](case.volume.hu, len(case.volume.hu) // 2).astype(np.int16)
    site = site_at(tmp_path / "site", spacings_mm=[(GRID_MM, GRID_MM, GRID_MM)])
    found = {}
    for name, hu in {"whole": case.volume.hu, "moved": moved}.items():
        write_phantom_series(replace(case, volume=Volume(hu, case.volume.geometry)), tmp_path / name)
        found[name] = segment(tmp_path / name, tmp_path / f"{name}-out", site)
    (note,) = found["moved"].document.notes
    assert note.startswith("From slice 1 to 2 (instance 1, instance 2) the pictures change ")
    whole, doubted = ({one.organ: one for one in study.document.organs} for study in found.values())
    near = 0
    for organ, mask in found["moved"].findings.masks.items():
        touched = bool(mask.by_slice()[: REACH + 1].any())
        assert ("doubtful-slices" in doubted[organ].reasons) == touched
        assert "doubtful-slices" not in whole[organ].reasons
        if touched:
            near += whole[organ].dsc_lower_bound is not None
            assert doubted[organ].dsc_lower_bound is None
    assert near > 0
