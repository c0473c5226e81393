"""CT series of many kinds, made of phantoms, with what is right of each: a volume, or that there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from models.geometry import Geometry
from models.phantom.case import PhantomCase, make_case
from models.volume import Volume
from services.dicom.ct.phantom_series import write_phantom_series
from tests.support.encodings import LOSSLESS
from tests.support.slices_out_of_place import OUT_OF_PLACE, STRANGE, two_passes

SPACING_MM = (8.0, 4.0, 4.0)
"""Of the phantoms, along (k, j, i)."""

Paths = tuple[Path, ...]
Stack = NDArray[np.int16]


@dataclass(frozen=True)
class Input:
    """A folder to read.

    Parameters
    ----------
    family, kind
        What it is a case of.
    folder
        Its files.
    truth
        The volume that is in it; None where whoever gives one is wrong.
    """

    family: str
    kind: str
    folder: Path
    truth: Volume | None


def phantom(seed: int, affine: NDArray[np.float64] | None = None) -> PhantomCase:
    """Return a phantom, on another grid in space if one is given."""
    made = make_case("AB"[seed % 2], seed, spacing_mm=SPACING_MM)
    if affine is None:
        return made
    return replace(made, volume=Volume(made.volume.hu, Geometry(made.volume.hu.shape, affine)))


def _turned(seed: int) -> NDArray[np.float64]:
    """Return the grid of an oblique series."""
    angle = np.radians(10 + 3 * seed)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = phantom(seed).volume.geometry.affine.copy()
    affine[:3] = turn @ affine[:3]
    return affine


def _tilted(seed: int) -> NDArray[np.float64]:
    """Return the grid of a series that was taken with a tilted gantry: slices are shifted along rows."""
    affine = phantom(seed).volume.geometry.affine.copy()
    affine[:3, 0] += affine[:3, 1] / np.linalg.norm(affine[:3, 1]) * SPACING_MM[0] * np.tan(np.radians(15))
    return affine


def _feet_first(seed: int) -> NDArray[np.float64]:
    affine = phantom(seed).volume.geometry.affine.copy()
    affine[:3, 0] *= -1
    return affine


GRIDS: dict[str, Callable[[int], NDArray[np.float64]]] = {
    "oblique": _turned,
    "gantry tilted by 15 degrees": _tilted,
    "from head to feet": _feet_first,
}


def _edited(change: Callable[[int, Dataset], None], paths: Paths) -> None:
    for k, path in enumerate(paths):
        dataset = dcmread(path)
        change(k, dataset)
        dataset.save_as(path, enforce_file_format=True)


def _setting(**values: object) -> Callable[[Paths], None]:
    def change(_: int, dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return lambda paths: _edited(change, paths)


def _without(keyword: str) -> Callable[[Paths], None]:
    return lambda paths: _edited(lambda _, dataset: dataset.pop(keyword, None), paths)


def _names_shuffled(paths: Paths) -> None:
    for path, name in zip(paths, np.random.default_rng(1).permutation(len(paths)), strict=True):
        path.rename(path.with_name(f"{name:04d}.dcm"))


def _numbers_shuffled(paths: Paths) -> None:
    numbers = np.random.default_rng(2).permutation(len(paths))
    _edited(lambda k, dataset: setattr(dataset, "InstanceNumber", int(numbers[k])), paths)


def _slopes_differ(paths: Paths) -> None:
    """Store every second slice with another intercept."""

    def change(k: int, dataset: Dataset) -> None:
        if k % 2:
            dataset.PixelData = (dataset.pixel_array + 1024).astype("<i2").tobytes()
            dataset.RescaleIntercept = "-1024"

    _edited(change, paths)


def _copied(paths: Paths) -> None:
    shutil.copy(paths[3], paths[3].with_name("copy.dcm"))


def _with_scout(paths: Paths) -> None:
    dataset = dcmread(paths[0])
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [-200, 0, 200]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.save_as(paths[0].with_name("AAA-scout.dcm"), enforce_file_format=True)


def _with_contours(paths: Paths) -> None:
    ct, contours = dcmread(paths[0]), Dataset()
    contours.file_meta = FileMetaDataset()
    contours.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    contours.SOPClassUID = contours.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    contours.SOPInstanceUID = contours.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    contours.Modality, contours.PatientID = "RTSTRUCT", ct.PatientID
    contours.StudyInstanceUID, contours.SeriesInstanceUID = ct.StudyInstanceUID, ct.SeriesInstanceUID
    contours.save_as(paths[0].with_name("AAA-contours.dcm"), enforce_file_format=True)


def _trailing_bytes(paths: Paths) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes() + bytes(512))


READABLE: dict[str, Callable[[Paths], None]] = {
    "plain": lambda paths: None,
    "names in no order": _names_shuffled,
    "instance numbers in no order": _numbers_shuffled,
    "no instance numbers": _without("InstanceNumber"),
    "no frame of reference": _without("FrameOfReferenceUID"),
    "every second slice with another intercept": _slopes_differ,
    "one slice twice": _copied,
    "a scout in the series": _with_scout,
    "contours under the series' UID": _with_contours,
    "bytes behind the pixels": _trailing_bytes,
    "reformatted by a workstation": _setting(ImageType=["DERIVED", "SECONDARY", "REFORMATTED"]),
}
"""What changes nothing of the volume."""


def _one_left_out(paths: Paths) -> None:
    paths[len(paths) // 2].unlink()


def _ends_missing(paths: Paths) -> None:
    """Leave every second of the last ten out: two spacings in one series."""
    for path in paths[-10::2]:
        path.unlink()


def _of_another_patient(paths: Paths) -> None:
    _edited(lambda k, dataset: setattr(dataset, "PatientID", "OTHER" if k == 5 else dataset.PatientID), paths)


def _of_another_spacing(paths: Paths) -> None:
    half = len(paths) // 2
    _edited(lambda k, d: setattr(d, "PixelSpacing", [2, 2] if k >= half else d.PixelSpacing), paths)


def _of_another_orientation(paths: Paths) -> None:
    _edited(lambda k, d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0, 0.6, 0.8] if k == 7 else d.ImageOrientationPatient), paths)  # fmt: skip  # noqa: E501


def _of_another_size(paths: Paths) -> None:
    def change(k: int, dataset: Dataset) -> None:
        if k == 7:
            dataset.PixelData = dataset.pixel_array[:-10].tobytes()
            dataset.Rows -= 10

    _edited(change, paths)


def _pixels_cut(paths: Paths) -> None:
    def change(k: int, dataset: Dataset) -> None:
        if k == 7:
            dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]

    _edited(change, paths)


def _position_missing(paths: Paths) -> None:
    _edited(lambda k, dataset: dataset.pop("ImagePositionPatient", None) if k == 7 else None, paths)


def _positions_twice(paths: Paths) -> None:
    """Put a second acquisition at the same positions."""
    for path in paths:
        dataset = dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.AcquisitionNumber = 2
        dataset.PixelData = (dataset.pixel_array // 2).astype("<i2").tobytes()
        dataset.save_as(path.with_name(f"second-{path.name}"), enforce_file_format=True)


def _offset_jumps(paths: Paths) -> None:
    """Let the second half have lost its intercept."""
    half = len(paths) // 2

    def change(k: int, dataset: Dataset) -> None:
        if k >= half:
            dataset.PixelData = (dataset.pixel_array + 1024).astype("<i2").tobytes()

    _edited(change, paths)


UNREADABLE: dict[str, Callable[[Paths], None]] = {
    "one slice is missing": _one_left_out,
    "two spacings between slices": _ends_missing,
    "a slice of another patient": _of_another_patient,
    "another pixel spacing from the middle on": _of_another_spacing,
    "a slice of another orientation": _of_another_orientation,
    "a slice of another size": _of_another_size,
    "pixels cut to half": _pixels_cut,
    "a position is missing": _position_missing,
    "two acquisitions at the same positions": _positions_twice,
    "half of it 1024 HU too high": _offset_jumps,
    "values in no HU": _setting(RescaleType="OD"),
    "a perfusion map": _setting(ImageType=["DERIVED", "SECONDARY", "AXIAL", "PERFUSION"]),
    "a maximum intensity projection": _setting(ImageType=["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP"]),
}
"""Of which no volume is right."""


def _frame_cut(share: float) -> Callable[[Paths], None]:
    def cut(paths: Paths) -> None:
        path = paths[len(paths) // 2]
        dataset = dcmread(path)
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        dataset.PixelData = encapsulate([frame[: int(share * len(frame))]])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)

    return cut


COMPRESSED = tuple(name for name in LOSSLESS if "VR" not in name and name not in ("deflated", "big endian"))


def inputs(folder: Path, seed: int) -> list[Input]:
    """Write one input of each kind; return them."""
    made: list[Input] = []

    def add(family: str, kind: str, case: PhantomCase, change: Callable[[Paths], None], right: bool) -> None:
        into = folder / f"{len(made):03d}"
        change(write_phantom_series(case, into))
        made.append(Input(family, kind, into, case.volume if right else None))

    case = phantom(seed)
    for kind, change in READABLE.items():
        add("odd and whole", kind, case, change, True)
    for kind, grid in GRIDS.items():
        add("odd and whole", kind, phantom(seed, grid(seed)), READABLE["plain"], True)
    for kind, change in UNREADABLE.items():
        add("headers", kind, case, change, False)
    for name, (_, encode) in LOSSLESS.items():
        if name != "explicit VR":
            add("encodings", name, case, lambda paths, e=encode: [e(path) for path in paths], True)
    for name in COMPRESSED:
        for share in (0.98, 0.5):

            def damage(paths: Paths, name: str = name, share: float = share) -> None:
                LOSSLESS[name][1](paths[len(paths) // 2])
                _frame_cut(share)(paths)

            add("cut frames", f"{name}, cut to {share:.0%}", case, damage, False)
    k = len(case.volume.hu) // 2
    pictures = OUT_OF_PLACE | STRANGE | {"two passes": lambda stack, _: two_passes(stack)}
    for kind, change_of in pictures.items():
        hu = change_of(case.volume.hu, k).astype(np.int16)
        wrong = replace(case, volume=Volume(hu, case.volume.geometry))
        add("pictures", kind, wrong, READABLE["plain"], False)
    return made
