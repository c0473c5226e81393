"""What a reference is read from: a CT and its labels as NIfTI files, whatever wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from models.errors import Refused
from models.geometry import Geometry, geometry_from_ras
from models.release import sha256_hex


@dataclass(frozen=True, eq=False)
class ReferenceFile:
    """One file.

    Parameters
    ----------
    values
        Axes (k, j, i), which are the file's z, y and x: int16 where all are whole numbers that fit, else
        float32.
    geometry
        Their grid.
    sha256
        Of the file.
    """

    values: NDArray[np.int16] | NDArray[np.float32]
    geometry: Geometry
    sha256: str


def read_reference(path: Path) -> ReferenceFile:
    """Read a NIfTI file.

    Raises
    ------
    Refused
        `unreadable-reference` if it is none of three axes, or says not where it lies.
    """
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        array = np.asanyarray(image.dataobj)
        if array.ndim != 3 or not (image.header["sform_code"] or image.header["qform_code"]):
            raise ValueError(f"{array.ndim} axes, or no sform and no qform")
        affine = image.affine[:, [2, 1, 0, 3]]
        geometry = geometry_from_ras((array.shape[2], array.shape[1], array.shape[0]), affine)
    except (OSError, EOFError, ValueError, KeyError, nibabel.filebasedimages.ImageFileError) as error:
        detail = f"{path.name} is no NIfTI file of a volume that says where it lies: {error}"
        raise Refused("unreadable-reference", detail, {"file": path.name}) from error
    values, low, high = array.T, np.iinfo(np.int16).min, np.iinfo(np.int16).max
    whole = np.array_equal(values, np.rint(values)) and values.min() >= low and values.max() <= high
    kept = values.astype(np.int16 if whole else np.float32)
    return ReferenceFile(np.ascontiguousarray(kept), geometry, sha256_hex(path.read_bytes()))
