"""A label on its CT: what a reader drew, beside what was served."""

from __future__ import annotations

from models.geometry import Geometry
from models.masks import BoxedMask
from models.resampling import AIR_HU, resample
from models.volume import Volume
from services.pictures.slices import axial


def label_view(organ: str, volume: Volume, ct: Geometry, drawn: BoxedMask, sent: BoxedMask | None) -> bytes:
    """Return a PNG of the image on which a label is largest: it dotted in white, what was served in colour.

    Parameters
    ----------
    organ
        Key in the catalogue.
    volume
        The CT as it is kept, on whatever grid.
    ct
        The grid that masks lie on.
    drawn, sent
        The label, and what was served of the organ; None where that was nothing.
    """
    shown = drawn if drawn.any() or sent is None else sent
    k = int(shown.by_slice().argmax())
    affine = ct.affine.copy()
    affine[:3, 3] += k * affine[:3, 0]
    plane = Geometry((1, *ct.shape[1:]), affine)
    hu = resample(volume.hu, volume.geometry, plane, AIR_HU, lowest=AIR_HU)
    served = {} if sent is None else {organ: BoxedMask.of(sent.plane(k)[None])}
    return axial(Volume(hu, plane), 0, served, truth={organ: BoxedMask.of(drawn.plane(k)[None])})
