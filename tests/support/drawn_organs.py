"""Pictures of organs, made without any image."""

from __future__ import annotations

from services.pictures.picture import Drawn, Picture, Plane


def drawn(organ: str = "liver", png: bytes = b"png") -> tuple[Drawn, ...]:
    """Return two pictures of an organ, axial and coronal; their bytes are no real PNG."""
    axial = Picture(
        f"{organ}-axial-1", organ, Plane.AXIAL, 4, 3, 0.5, "M 1.0 2.0 L 3.0 2.0 1.0 3.0 Z", "", "1.2.3", 41
    )
    coronal = Picture(
        f"{organ}-coronal", organ, Plane.CORONAL, 5, 3, 0.5, "", "M 0.0 0.0 L 1.0 0.0 1.0 1.0 Z"
    )
    return Drawn(axial, png + b"1"), Drawn(coronal, png + b"2")
