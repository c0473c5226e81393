"""Where the slices of a CT series lie, kept without its pixels: enough to read a SEG on it later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset

from models.documents import from_json, to_json
from models.errors import ReadFailed
from models.geometry import Geometry
from models.uids import SeriesUid, SopUid, StudyUid
from services.dicom.ct.loaded import CTSeries


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
        """Return it as JSON; numbers as the headers write them, those of the affine exact."""
        first = self.images[0]
        said = _Said(
            study_uid=self.study_uid,
            series_uid=self.series_uid,
            frame_of_reference_uid=self.frame_of_reference_uid,
            names_frame_of_reference=self.names_frame_of_reference,
            shape=self.geometry.shape,
            affine=tuple(map(tuple, self.geometry.affine.tolist())),
            orientation=tuple(map(str, first.ImageOrientationPatient)),
            spacing=tuple(map(str, first.PixelSpacing)),
            slices=tuple(
                _Slice(SopUid(str(image.SOPInstanceUID)), tuple(map(str, image.ImagePositionPatient)))
                for image in self.images
            ),
        )
        return json.dumps(to_json(said), indent=0).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> PlacedSeries:
        """Return what `to_bytes` wrote.

        Raises
        ------
        ReadFailed
            If it wrote no such thing.
        """
        try:
            said = from_json(_Said, json.loads(content))
            return cls(
                said.study_uid,
                said.series_uid,
                said.frame_of_reference_uid,
                said.names_frame_of_reference,
                Geometry(said.shape, np.array(said.affine, np.float64)),
                tuple(_image(one, said) for one in said.slices),
            )
        except ValueError as error:
            raise ReadFailed("what is kept of where the slices lie cannot be read") from error


@dataclass(frozen=True)
class _Slice:
    sop_instance_uid: SopUid
    position: tuple[str, ...]


@dataclass(frozen=True)
class _Said:
    study_uid: StudyUid
    series_uid: SeriesUid
    frame_of_reference_uid: str
    names_frame_of_reference: bool
    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    orientation: tuple[str, ...]
    spacing: tuple[str, ...]
    slices: tuple[_Slice, ...]


def _image(one: _Slice, said: _Said) -> Dataset:
    image = Dataset()
    image.SOPInstanceUID, image.ImagePositionPatient = one.sop_instance_uid, list(one.position)
    _, image.Rows, image.Columns = said.shape
    image.ImageOrientationPatient, image.PixelSpacing = list(said.orientation), list(said.spacing)
    return image
