"""Pictures of a CT slice with what was found on it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.geometry import Geometry
from models.masks import BoxedMask
from models.organs import ORGANS, catalogued, name_of
from models.volume import Volume

matplotlib.use("Agg")

SOFT_TISSUE_HU = (-160.0, 240.0)
"""Display window for the abdomen, Hounsfield units."""

_D65 = (0.95047, 1.0, 1.08883)
_XYZ_TO_RGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


def srgb(cielab: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return sRGB in 0..1 of a CIELab colour under D65 (IEC 61966-2-1), clipped to the gamut."""
    lightness, a, b = cielab
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _D65
    linear = np.clip(_XYZ_TO_RGB @ xyz, 0, 1)
    red, green, blue = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return float(red), float(green), float(blue)


def colour(key: str) -> tuple[float, float, float]:
    """Return the catalogue's colour of an organ as sRGB in 0..1; one outside of it is grey."""
    entry = catalogued(key)
    return srgb((60.0, 0.0, 0.0) if entry is None else entry.cielab)


def best_slice(masks: Mapping[str, BoxedMask]) -> int:
    """Return the k index that shows the most organs, then the most voxels."""
    areas = np.stack([mask.by_slice() for mask in masks.values()])
    score = (areas > 0).sum(axis=0) * 1e9 + areas.sum(axis=0)
    return int(score.argmax())


def axial(
    volume: Volume,
    k: int,
    outlines: Mapping[str, BoxedMask],
    *,
    truth: Mapping[str, BoxedMask] | None = None,
    review: BoxedMask | None = None,
) -> bytes:
    """Return a PNG of one slice: organ outlines, truth dotted in white, what to review in yellow.

    Drawn as a reader sees it, the patient's right on the left, whatever way the slice is stored.
    """
    figure = Figure(figsize=(5, 4.6), dpi=90, layout="tight")
    axes = figure.add_subplot()
    _draw_slice(axes, volume.hu[k], volume.geometry)
    for key, mask in outlines.items():
        if (plane := mask.plane(k)).any():
            axes.contour(plane, levels=[0.5], colors=[colour(key)], linewidths=1.4)
        if truth is not None and key in truth and (plane := truth[key].plane(k)).any():
            axes.contour(plane, levels=[0.5], colors="white", linewidths=0.7, linestyles="dotted")
    if review is not None and (plane := review.plane(k)).any():
        axes.contourf(plane, levels=[0.5, 1.5], colors="none", hatches=["////"])
        axes.contour(plane, levels=[0.5], colors="yellow", linewidths=1.0)
    return png(figure)


def _draw_slice(axes: Axes, hu: NDArray[np.generic], geometry: Geometry) -> None:
    _, step_j, step_i = geometry.spacing_mm
    axes.imshow(hu, cmap="gray", vmin=SOFT_TISSUE_HU[0], vmax=SOFT_TISSUE_HU[1], aspect=step_j / step_i)
    seen_as_a_reader(axes, geometry)


def seen_as_a_reader(axes: Axes, geometry: Geometry) -> None:
    """Turn axes to the radiological convention: patient's left on the right, posterior at the bottom."""
    if geometry.affine[0, 2] < 0:
        axes.invert_xaxis()
    if geometry.affine[1, 1] < 0:
        axes.invert_yaxis()
    axes.set_axis_off()


def legend(further: Iterable[str] = ()) -> bytes:
    """Return a PNG of the colours and names of the nine organs, and of further ones of the catalogue."""
    figure = Figure(figsize=(7.5, 0.7), dpi=90, layout="tight")
    axes = figure.add_subplot()
    axes.set_axis_off()
    for key in (*ORGANS, *(key for key in further if key not in ORGANS)):
        axes.plot([], [], color=colour(key), linewidth=3, label=name_of(key))
    axes.legend(loc="center", ncol=5, fontsize=7, frameon=False)
    return png(figure)


def png(figure: Figure) -> bytes:
    """Return a figure as PNG bytes, without the time it was made."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def data_url(content: bytes) -> str:
    """Return PNG bytes as an address a page can hold."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
