"""Where the slices of a CT series lie, kept without its pixels: enough to read a SEG on it later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from models.errors import ReadFailed
from models.geometry import Geometry
from models.uids import SeriesUid, SopUid, StudyUid
from services.dicom.ct.loaded import CTSeries

_OF_ALL = ("ImageOrientationPatient", "PixelSpacing")
"""The same of every slice of a series that was found fit."""


@dataclass(frozen=True, eq=False)
class PlacedSeries:
    """The slices of a CT series, as `services.dicom.seg.frames.ReferencedSeries` wants them.

    Nothing of the patient is in it.

    Parameters
    ----------
    study_uid, series_uid, frame_of_reference_uid, names_frame_of_reference
        As of `CTSeries`.
    geometry
        Of its volume.
    images
        Of each slice, in k order, what says which it is and where it lies.
    """

    study_uid: StudyUid
    series_uid: SeriesUid
    frame_of_reference_uid: str
    names_frame_of_reference: bool
    geometry: Geometry
    images: tuple[Dataset, ...]
    not_used: Mapping[SopUid, SopUid | None] = field(default_factory=dict)
    """Nothing: what was set aside is cited by no SEG of ours."""

    @classmethod
    def of(cls, ct: CTSeries) -> PlacedSeries:
        """Return where the slices of a series lie."""
        return cls(
            ct.study_uid,
            ct.series_uid,
            ct.frame_of_reference_uid,
            ct.names_frame_of_reference,
            ct.volume.geometry,
            ct.images,
        )

    def to_bytes(self) -> bytes:
        """Return it as JSON; numbers as they are written in the headers, those of the affine exact."""
        first = self.images[0]
        document = {
            "study_uid": self.study_uid,
            "series_uid": self.series_uid,
            "frame_of_reference_uid": self.frame_of_reference_uid,
            "names_frame_of_reference": self.names_frame_of_reference,
            "shape": [int(count) for count in self.geometry.shape],
            "affine": self.geometry.affine.tolist(),
            **{keyword: list(map(str, first[keyword].value)) for keyword in _OF_ALL},
            "slices": [
                [str(image.SOPInstanceUID), *map(str, image.ImagePositionPatient)] for image in self.images
            ],
        }
        return json.dumps(document, indent=0).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> PlacedSeries:
        """Return what `to_bytes` wrote.

        Raises
        ------
        ReadFailed
            If it wrote no such thing.
        """
        try:
            said: dict[str, Any] = json.loads(content)
            shape = tuple(map(int, said["shape"]))
            geometry = Geometry(shape, np.array(said["affine"], np.float64))  # type: ignore[arg-type]
            return cls(
                StudyUid(said["study_uid"]),
                SeriesUid(said["series_uid"]),
                str(said["frame_of_reference_uid"]),
                bool(said["names_frame_of_reference"]),
                geometry,
                tuple(_slice(one, said, geometry) for one in said["slices"]),
            )
        except (ValueError, LookupError, TypeError) as error:
            raise ReadFailed("what is kept of where the slices lie cannot be read") from error


def _slice(one: list[str], said: Mapping[str, Any], geometry: Geometry) -> Dataset:
    image = Dataset()
    image.SOPInstanceUID, image.ImagePositionPatient = one[0], one[1:]
    image.Rows, image.Columns = geometry.shape[1:]
    for keyword in _OF_ALL:
        setattr(image, keyword, said[keyword])
    return image
