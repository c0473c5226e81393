"""A phantom as a CT series a PACS would hold, with its exact truth beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from models.geometry import Geometry
from models.masks import BoxedMask
from models.phantom.case import PhantomCase
from services.dicom.identity import hashed_uid

EXAMINED = ("20200101", "120000")
"""Date and time of every phantom's examination: there was none, and files must repeat byte for byte."""


def write_phantom_series(case: PhantomCase, folder: Path) -> tuple[Path, ...]:
    """Write a phantom as CT Image Storage, one file per slice, in k order.

    The same case gives the same bytes: UIDs are hashes of site and seed. Any geometry may be given,
    tilted ones too.

    Parameters
    ----------
    case
        HU with their geometry, and the acquisition to name in the headers.
    folder
        Made if it is not there.

    Returns
    -------
    tuple of Path
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(phantom_images(case), start=1):
        path = folder / f"CT-{number:04d}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return tuple(paths)


def phantom_images(case: PhantomCase) -> Iterator[Dataset]:
    """Yield the slices of a phantom as CT images in k order, pixels signed 16 bit, HU as stored.

    Source: DICOM PS3.3 A.3, CT Image IOD.
    """
    geometry = case.volume.geometry
    (row_mm, column_mm), cosines = geometry.spacing_mm[1:], _cosines(geometry)
    for k in range(geometry.shape[0]):
        image = _patient_and_study(case)
        image.InstanceNumber = k + 1
        image.SOPInstanceUID = _uid(case, "instance", str(k))
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.ImagePositionPatient = _decimals(geometry.to_lps((k, 0, 0)))
        image.ImageOrientationPatient = _decimals(cosines)
        image.PixelSpacing = _decimals((row_mm, column_mm))
        image.Rows, image.Columns = geometry.shape[1:]
        image.PixelData = case.volume.hu[k].astype("<i2").tobytes()
        yield image


def write_truth(case: PhantomCase, path: Path) -> None:
    """Write a phantom's truth as one compressed ``.npz``: a bool mask per organ, and the grid.

    Organs are kept apart, since they may overlap.
    """
    masks: dict[str, Any] = {f"organ_{organ}": mask for organ, mask in case.truth.items()}
    grid = case.volume.geometry
    with path.open("wb") as file:
        np.savez_compressed(file, affine=grid.affine, shape=np.array(grid.shape), **masks)


def read_truth(path: Path) -> tuple[dict[str, BoxedMask], Geometry]:
    """Return the masks by organ, in the order they were written, and their grid."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        shape = tuple(int(n) for n in archive["shape"])
        masks = {
            name.removeprefix("organ_"): BoxedMask.of(archive[name])
            for name in archive.files
            if name.startswith("organ_")
        }
        return masks, Geometry((shape[0], shape[1], shape[2]), archive["affine"])


def _patient_and_study(case: PhantomCase) -> Dataset:
    """Return what all slices of a phantom share."""
    name = f"{case.site}-{case.seed:04d}"
    date, time = EXAMINED
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.SOPClassUID = CTImageStorage
    image.SpecificCharacterSet = "ISO_IR 100"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = date
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = time
    image.AccessionNumber = ""
    image.Modality = "CT"
    image.Manufacturer = "Organloop"
    image.InstitutionName = case.site
    image.ManufacturerModelName = "Phantom"
    image.ReferringPhysicianName = ""
    image.StudyDescription = f"Phantom of site {case.site}"
    image.SeriesDescription = f"Phantom {case.acquisition['phase']}, {case.acquisition['kernel']}"[:64]
    image.PatientName = f"Phantom^{name}"
    image.PatientID = f"PHANTOM-{name}"
    image.PatientBirthDate = ""
    image.PatientSex = "O"
    image.QualityControlSubject = "YES"
    image.BodyPartExamined = "ABDOMEN"
    image.SliceThickness = DSfloat(case.acquisition["thickness_mm"], auto_format=True)
    image.KVP = str(case.acquisition["kvp"])
    image.ConvolutionKernel = str(case.acquisition["kernel"])[:16]
    image.PatientPosition = "HFS"
    image.StudyInstanceUID = _uid(case, "study")
    image.SeriesInstanceUID = _uid(case, "series")
    image.StudyID = name
    image.SeriesNumber = 1
    image.AcquisitionNumber = 1
    image.FrameOfReferenceUID = _uid(case, "frame-of-reference")
    image.PositionReferenceIndicator = ""
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 1
    image.WindowCenter, image.WindowWidth = "40", "400"
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "HU"
    return image


def _uid(case: PhantomCase, *parts: str) -> str:
    return hashed_uid("phantom", case.site, str(case.seed), *parts)


def _cosines(geometry: Geometry) -> NDArray[np.float64]:
    """Return ImageOrientationPatient: where column index grows, then where row index grows."""
    directions = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    return np.concatenate([directions[:, 2], directions[:, 1]])


def _decimals(values: NDArray[np.float64] | tuple[float, ...]) -> list[DSfloat]:
    """Return numbers as decimal strings of at most 16 characters (VR DS, PS3.5 6.2)."""
    return [DSfloat(float(value), auto_format=True) for value in values]
