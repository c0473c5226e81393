"""What nnU-Net's own predictor said of a CT (`tests/fixtures/nnunet`), as the files a hospital has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from models.geometry import Geometry, ras_affine

AXES = {"plain": "RPI", "anisotropic": "LPS"}
"""Where x, y and z of the files lead that the networks were trained on."""


ELSEWHERE = 5
"""Voxels that may differ on another kind of processor than the labels were made on: sums of float16 tip."""


def most_differing(folder: Path, kind: str) -> int:
    """Return how many voxels may differ here from what was recorded."""
    with np.load(folder / kind / "window.npz") as told:
        return 0 if str(told["cpu"]) == torch.backends.cpu.get_cpu_capability() else ELSEWHERE


@dataclass(frozen=True, eq=False)
class Answered:
    """A CT and its labels, axes (k, j, i), and the files."""

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    geometry: Geometry
    ct_file: Path
    labels_file: Path


def answered(folder: Path, kind: str, to: Path) -> Answered:
    """Write the CT and the labels of a kind as NIfTI files."""
    with np.load(folder / kind / "ct.npz") as told:
        hu, labels, spacing = told["hu"], told["labels"], told["spacing_mm"]
        direction, origin = told["direction"].reshape(3, 3), told["origin"]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction[:, ::-1] * spacing, origin
    geometry = Geometry(hu.shape, affine)
    to.mkdir(exist_ok=True)
    files = [to / f"{kind}-ct.nii.gz", to / f"{kind}-labels.nii.gz"]
    for file, array in zip(files, (hu, labels), strict=True):
        columns = ras_affine(geometry)[:, [2, 1, 0, 3]]
        nibabel.save(nibabel.Nifti1Image(array.T, columns), file)
    return Answered(hu, labels, geometry, *files)
