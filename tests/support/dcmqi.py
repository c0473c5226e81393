"""A SEG as 3D Slicer opens and saves it: through the tools of dcmqi, which it uses itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from models.geometry import Geometry


def tool(name: str) -> Path:
    """Return a program of dcmqi, or skip with the reason."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip("dcmqi is not installed (pip install dcmqi)")
    return path


def slicer_saves(
    sent: Path,
    ct: Path,
    grid: Geometry,
    masks: Mapping[str, NDArray[np.bool_]],
    folder: Path,
    **attributes: str,
) -> Path:
    """Open `sent` and save `masks`, by label and in their order, with the tools that 3D Slicer uses.

    Masks lie on the CT's grid, axes (k, j, i), and apart from each other. Everything said of a segment
    is kept as it was opened, apart from `attributes`.
    """
    run = {"check": True, "capture_output": True, "cwd": folder}
    subprocess.run(
        [
            tool("segimage2itkimage"), "--inputDICOM", sent, "--outputDirectory", folder,
            "--outputType", "nii", "--prefix", "opened",
        ],
        **run,
    )  # fmt: skip
    meta = json.loads((folder / "opened-meta.json").read_text())
    said = {segment["SegmentLabel"]: segment for group in meta["segmentAttributes"] for segment in group}
    meta["segmentAttributes"] = [
        [{**said[label], **attributes, "labelID": n} for n, label in enumerate(masks, start=1)]
    ]
    return write_seg([labels_of(masks)], meta, ct, grid, folder / "saved.dcm")


def labels_of(masks: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Return one label map, 1 for the first mask; where masks overlap the last one wins."""
    labels = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for n, mask in enumerate(masks.values(), start=1):
        labels[mask] = n
    return labels


def write_seg(
    drawn: list[NDArray[np.uint8]],
    meta: Mapping[str, object],
    ct: Path,
    grid: Geometry,
    into: Path,
    *words: str,
) -> Path:
    """Write label maps on the CT's grid, axes (k, j, i), as one SEG; `words` go to itkimage2segimage."""
    folder = into.parent
    affine = grid.affine[:, [2, 1, 0, 3]]  # NIfTI's own order of axes: i, j, k
    names = []
    for n, labels in enumerate(drawn):
        names.append(folder / f"drawn-{n}.nii.gz")
        nibabel.Nifti1Image(labels.T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine).to_filename(names[-1])
    (folder / "meta.json").write_text(json.dumps(meta))
    subprocess.run(
        [
            tool("itkimage2segimage"), "--inputImageList", ",".join(map(str, names)),
            "--inputDICOMDirectory", ct, "--outputDICOM", into, "--inputMetadata", folder / "meta.json",
            *words,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return into
