"""CT series of every orientation and findings on them, small enough to write and judge in milliseconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset

from models.findings import Flag, OrganFinding, Presence, ReviewRegion, StudyFindings
from models.geometry import Geometry
from models.masks import BoxedMask
from models.organs import ORGANS
from models.series.verdict import GeometryVerdict, Verdict
from models.volume import Volume
from services.dicom.ct.loaded import CTSeries
from services.dicom.identity import hashed_uid


def affine(row, column, spacing, step, origin=(-40.0, -60.0, 100.0)) -> NDArray[np.float64]:
    """Affine of directions along a row (i) and a column (j), (j, i) spacing in mm, slice step vector."""
    matrix = np.eye(4)
    matrix[:3, 0] = step
    matrix[:3, 1] = np.array(column) * spacing[0]
    matrix[:3, 2] = np.array(row) * spacing[1]
    matrix[:3, 3] = origin
    return matrix


def _turned(degrees_x: float, degrees_z: float) -> NDArray[np.float64]:
    x, z = np.radians([degrees_x, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_x


_TURN = _turned(20, 35)
AFFINES = {
    "axial": affine((1, 0, 0), (0, 1, 0), (0.8, 0.8), (0, 0, 3.0)),
    "oblique": affine(_TURN[:, 0], _TURN[:, 1], (0.8, 0.8), _TURN[:, 2] * 2.5),
    "reversed": affine((1, 0, 0), (0, 1, 0), (0.8, 0.8), (0, 0, -3.0)),
    "feet first": affine((-1, 0, 0), (0, 1, 0), (0.8, 0.8), (0, 0, -3.0)),
    "anisotropic": affine((1, 0, 0), (0, 1, 0), (1.2, 0.7), (0, 0, 3.0)),
    "sheared": affine((1, 0, 0), (0, 1, 0), (0.8, 0.8), (0, 3.0 * np.tan(np.radians(14)), 3.0)),
}


def _ds(values) -> list[str]:
    return [f"{value:.10g}" for value in values]


def ct_series(matrix: NDArray[np.float64], shape=(7, 19, 21), **attributes: object) -> CTSeries:
    geometry = Geometry(shape, matrix)
    study, series, frame = (hashed_uid("test", name) for name in ("study", "series", "frame"))
    images = []
    for k in range(shape[0]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        image.SpecificCharacterSet = "ISO_IR 100"
        image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        image.SOPInstanceUID = hashed_uid("test", "image", str(k))
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PositionReferenceIndicator = ""
        image.PatientName, image.PatientID = "Müller^Zoë", "P-1"
        image.PatientBirthDate, image.PatientSex, image.PatientAge = "19600101", "F", "066Y"
        image.StudyID, image.AccessionNumber = "1", "A1"
        image.StudyDate, image.StudyTime = "20260101", "120000"
        image.ReferringPhysicianName, image.StudyDescription = "", "Abdomen"
        image.Modality, image.Manufacturer = "CT", "Test"
        image.InstanceNumber = k + 11
        image.Rows, image.Columns = shape[1:]
        image.PixelSpacing = _ds(geometry.spacing_mm[1:])
        image.SliceThickness = "3"
        cosines = (matrix[:3, 2] / geometry.spacing_mm[2], matrix[:3, 1] / geometry.spacing_mm[1])
        image.ImageOrientationPatient = _ds(np.concatenate(cosines))
        image.ImagePositionPatient = _ds(geometry.to_lps((k, 0, 0)))
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
        images.append(image)
    volume = Volume(np.zeros(shape, np.int16), geometry)
    return CTSeries(study, series, frame, volume, tuple(images), GeometryVerdict(Verdict.OK))


def organ_masks(shape, seed: int = 0, absent=("gallbladder",)) -> dict[str, NDArray[np.bool_]]:
    """Boxes of different sizes at different places, in catalogue order; neighbours overlap."""
    rng = np.random.default_rng(seed)
    masks = {}
    for key in ORGANS:
        mask = np.zeros(shape, np.bool_)
        if key not in absent:
            low = [int(rng.integers(0, max(1, n // 2))) for n in shape]
            high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, shape, strict=True)]
            mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
        masks[key] = mask
    return masks


def findings_of(
    series: CTSeries,
    masks: dict[str, NDArray[np.bool_]],
    *,
    flagged=("stomach", "aorta"),
    **overrides: object,
) -> StudyFindings:
    geometry = series.volume.geometry
    organs, regions = [], []
    for key in ORGANS:
        asked = key in masks
        found = asked and bool(masks[key].any())
        flag = None if not asked else Flag.REVIEW if key in flagged else Flag.CLEAR
        organs.append(
            OrganFinding(
                organ=key,
                presence=Presence.FOUND if found else Presence.ABSENT if asked else Presence.NOT_ASKED,
                cut_by_field_of_view=key == "liver",
                volume_ml=float(masks[key].sum() * geometry.voxel_ml) if found else 0.0,
                flag=flag,
                reasons=("volume-out-of-range", "bound-under-target") if flag is Flag.REVIEW else (),
                dsc_lower_bound=0.8649 if found else None,
                confidence=0.9 if found else None,
                entropy=0.12345 if found else None,
                disagreement=0.0321 if found else None,
                member_disagreement=0.0456 if found else None,
            )
        )
        if found and flag is Flag.REVIEW:
            region = np.zeros_like(masks[key])
            ks = np.flatnonzero(masks[key].any(axis=(1, 2)))
            region[ks[0]] = masks[key][ks[0]]
            regions.append(
                ReviewRegion(
                    organ=key,
                    rank=len(regions) + 1,
                    mask=BoxedMask.of(region),
                    centre_lps_mm=(0.0, 0.0, 0.0),
                    slices=(int(ks[0]), int(ks[0])),
                    volume_ml=float(region.sum() * geometry.voxel_ml),
                    expected_error_ml=0.25 / (len(regions) + 1),
                )
            )
    values = {
        "release": 2, "release_digest": "0123456789abcdef" * 4, "demonstration": False,
        "geometry": geometry, "masks": {key: BoxedMask.of(mask) for key, mask in masks.items()},
        "organs": tuple(organs), "regions": tuple(regions),
    } | overrides  # fmt: skip
    return StudyFindings(**values)
