"""Programs that read a folder of CT images into a volume, asked as their users do."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage

from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series


@dataclass(frozen=True)
class Answer:
    """A volume.

    Parameters
    ----------
    values
        Three axes, in any order.
    affine
        From indices of the axes to patient coordinates (LPS), millimetres.
    told
        Whether it came with the word that slices do not seem to be of their place.
    """

    values: NDArray[np.generic]
    affine: NDArray[np.float64]
    told: bool = False


def organloop(folder: Path) -> Answer:
    """Read as `organloop segment` does."""
    series = load(choose_series(read_series(folder)))
    return Answer(series.volume.hu, series.volume.geometry.affine, bool(series.verdict.doubted))


def simpleitk(folder: Path) -> Answer:
    """Read the largest series with the series reader."""
    reader = SimpleITK.ImageSeriesReader()
    names = max((reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))), key=len)  # fmt: skip  # noqa: E501
    reader.SetFileNames(names)
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Answer(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), affine)


_CONVERT = """
import logging, sys, warnings
import dicom2nifti
logging.disable(); warnings.simplefilter("ignore")
for line in sys.stdin:
    folder, file = line.rstrip("\\n").split("\\t")
    try:
        dicom2nifti.dicom_series_to_nifti(folder, file, reorient_nifti=False)
        print("done", flush=True)
    except Exception as error:
        print("refused", type(error).__name__, flush=True)
"""


@cache
def _converter() -> subprocess.Popen[str]:
    """Return dicom2nifti, in an environment of its own: it brings decoders that pydicom would use here."""
    python = os.environ["DICOM2NIFTI_PYTHON"]
    return subprocess.Popen(
        [python, "-c", _CONVERT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def dicom2nifti(folder: Path) -> Answer:
    """Convert to NIfTI, in the orientation that it has."""
    asked = _converter()
    assert asked.stdin is not None
    assert asked.stdout is not None
    with tempfile.TemporaryDirectory() as into:
        file = Path(into) / "ct.nii.gz"
        print(folder, file, sep="\t", file=asked.stdin, flush=True)
        if asked.stdout.readline().strip() != "done":
            raise ValueError("dicom2nifti refused it")
        image = nibabel.Nifti1Image.from_filename(file)
        return Answer(np.asarray(image.dataobj), np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)


def highdicom_volume(folder: Path) -> Answer:
    """Take the volume of the largest series of CT images."""
    series: dict[str, list[Dataset]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        dataset = dcmread(path)
        if dataset.SOPClassUID == CTImageStorage:
            series[dataset.SeriesInstanceUID].append(dataset)
    volume = highdicom.get_volume_from_series(max(series.values(), key=len))
    return Answer(volume.array, volume.affine)


PROGRAMS: dict[str, Callable[[Path], Answer]] = {
    "Organloop": organloop,
    "SimpleITK": simpleitk,
    "dicom2nifti": dicom2nifti,
    "highdicom": highdicom_volume,
}
