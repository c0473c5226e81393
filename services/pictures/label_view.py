"""A label on its CT: what a reader drew, beside what was served."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from models.geometry import Geometry
from models.masks import BoxedMask
from models.resampling import AIR_HU, resample
from models.volume import Volume
from services.pictures.slices import SOFT_TISSUE_HU, colour, png, seen_as_a_reader

MARGIN_MM = 40.0
"""Of the CT, shown round what is drawn."""


def label_view(organ: str, volume: Volume, ct: Geometry, drawn: BoxedMask, sent: BoxedMask | None) -> bytes:
    """Return a PNG of the image on which a label is largest, cut to what is drawn there.

    The label is dashed in white, what was served solid in the organ's colour; the patient's right is on the
    left.

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
    hu = resample(volume.hu, volume.geometry, plane, AIR_HU, lowest=AIR_HU)[0]
    label, served = drawn.plane(k), np.zeros(plane.shape[1:], np.bool_) if sent is None else sent.plane(k)

    figure = Figure(figsize=(5, 4.6), dpi=90, layout="tight")
    axes = figure.add_subplot()
    _, step_j, step_i = ct.spacing_mm
    axes.imshow(hu, cmap="gray", vmin=SOFT_TISSUE_HU[0], vmax=SOFT_TISSUE_HU[1], aspect=step_j / step_i)
    if served.any():
        axes.contour(served, levels=[0.5], colors=[colour(organ)], linewidths=1.8)
    if label.any():
        axes.contour(label, levels=[0.5], colors="white", linewidths=1.4, linestyles="dashed")
    rows, columns = np.nonzero(label | served)
    if rows.size:
        j, i = MARGIN_MM / step_j, MARGIN_MM / step_i
        axes.set_xlim(max(columns.min() - i, -0.5), min(columns.max() + i, hu.shape[1] - 0.5))
        axes.set_ylim(min(rows.max() + j, hu.shape[0] - 0.5), max(rows.min() - j, -0.5))
    seen_as_a_reader(axes, ct)
    return png(figure)
