"""What a page has to know of one picture of an organ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from models.documents import LEFT_OUT
from models.uids import SopUid


class Plane(StrEnum):
    """Which plane of the body a picture lies in."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


@dataclass(frozen=True)
class Picture:
    """A grey picture of an organ, and the lines to lay over it.

    It is to scale. The patient's right is on its left and the head is up; in a sagittal one the patient
    looks to the left. Paths are SVG path data in pixels from its upper left corner, to be filled by the rule
    ``evenodd``.

    Parameters
    ----------
    name
        Under which its PNG is kept, one of the study: ``liver-axial-1``, ``liver-coronal``.
    organ
        Key of the organ.
    plane
        Of the body, or the plane of the CT's grid next to it.
    width, height
        Pixels.
    mm_per_pixel
        Side of a pixel.
    outline
        Of what was served as the organ; empty where nothing of it lies on the plane.
    region
        Of the places to look at, for this organ; empty where none lies on the plane.
    image_uid
        SOP Instance UID of the CT image that the plane is; left out where it is none of the series.
    image_number
        InstanceNumber of that image; where images are not told apart by it, its place in the series from 1.
    """

    name: str
    organ: str
    plane: Plane
    width: int
    height: int
    mm_per_pixel: float
    outline: str
    region: str
    image_uid: Annotated[SopUid | None, LEFT_OUT] = None
    image_number: Annotated[int | None, LEFT_OUT] = None


@dataclass(frozen=True)
class Drawn:
    """A picture as it was made.

    Parameters
    ----------
    picture
        What is known of it.
    png
        The picture, one channel, 8 bit.
    """

    picture: Picture
    png: bytes
