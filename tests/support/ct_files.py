"""Small CT series on disk, and series with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from pydicom import Dataset, dcmread

from models.geometry import Geometry
from models.phantom.case import PhantomCase
from models.volume import Volume
from services.dicom.ct.phantom_series import write_phantom_series

ACQUISITION = {"phase": "portal venous", "kernel": "soft tissue", "thickness_mm": 2.5, "kvp": 120}

Change = Callable[[Dataset], None]


def case(geometry: Geometry | None = None, seed: int = 1) -> PhantomCase:
    """Return a case of random HU, -1000 to 1000, on a grid (6 slices of 12 x 10 by default)."""
    if geometry is None:
        affine = np.diag([2.5, 0.8, 0.7, 1.0])
        affine[:3, 3] = (-10.0, 20.0, 30.0)
        affine[:3, :3] = affine[:3, :3][::-1]  # k to the head, j to posterior, i to the left
        geometry = Geometry((6, 12, 10), affine)
    hu = np.random.default_rng(seed).integers(-1000, 1000, geometry.shape).astype(np.int16)
    truth = {"liver": hu > 0, "spleen": hu > 500}
    return PhantomCase(Volume(hu, geometry), truth, "A", seed, dict(ACQUISITION))


def written(folder: Path, seed: int = 1) -> list[Path]:
    """Write the default case; return its files in k order."""
    return list(write_phantom_series(case(seed=seed), folder))


def edit(path: Path, change: Change) -> None:
    """Change one file's data set."""
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path)


def setting(**values: object) -> Change:
    """Return a change that sets attributes."""

    def change(dataset: Dataset) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


def nifti(folder: Path) -> None:
    image = nibabel.Nifti1Image(case().volume.hu.transpose(2, 1, 0), np.eye(4))
    folder.mkdir()
    image.to_filename(folder / "abdomen.nii.gz")


def without_uids(folder: Path) -> None:
    for path in written(folder):
        edit(path, setting(SOPInstanceUID="", SOPClassUID="", StudyInstanceUID="", SeriesInstanceUID=""))


def of_two_studies(folder: Path) -> None:
    written(folder / "first")
    written(folder / "second", seed=2)


def magnetic(folder: Path) -> None:
    for path in written(folder):
        edit(path, setting(Modality="MR"))


UNUSABLE = {
    "not-dicom": nifti,
    "missing-uid": without_uids,
    "several-studies": of_two_studies,
    "not-ct": magnetic,
}
"""Folders that cannot be segmented, by their code."""
