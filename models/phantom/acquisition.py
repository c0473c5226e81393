"""How the scanner sees the patient: grid, slice thickness, partial volume, kernel and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Geometry
from models.phantom.shapes import Field

ROWS, COLUMNS = 176, 208
"""Matrix at the native pixel size, which holds the bodies of both sites."""
TABLE_MM = 14.0
"""How far the middle of the field of view lies behind the middle of the abdominal cavity."""
NOISE_REFERENCE_ML = 0.02
"""Voxel volume (2 x 2 x 5 mm) at which a protocol's noise is stated."""


@dataclass(frozen=True)
class Protocol:
    """The scan protocol of a site.

    Parameters
    ----------
    phase
        Contrast phase, words for the series description.
    oral_contrast
        What was swallowed.
    kernel
        Name of the reconstruction kernel.
    blur_px
        Standard deviation of the kernel's blur, pixels.
    sharpening
        Strength of its edge enhancement (unsharp mask of one pixel), 0 = none.
    noise_hu
        Range of the noise's standard deviation at `NOISE_REFERENCE_ML`.
    noise_blur_px
        Standard deviation of the noise's in-plane correlation, pixels: less is a sharper kernel.
    thickness_mm
        Slice thicknesses in use; slices are contiguous.
    thickness_share
        How often each is used.
    kvp
        Tube voltages in use, kV, with equal shares.
    """

    phase: str
    oral_contrast: str
    kernel: str
    blur_px: float
    sharpening: float
    noise_hu: tuple[float, float]
    noise_blur_px: float
    thickness_mm: tuple[float, ...]
    thickness_share: tuple[float, ...]
    kvp: tuple[int, ...]


PROTOCOLS: dict[str, Protocol] = {
    "A": Protocol(
        phase="portal venous", oral_contrast="water", kernel="soft tissue", blur_px=0.45, sharpening=0.0,
        noise_hu=(9, 15), noise_blur_px=0.55,
        thickness_mm=(3.0, 4.0, 5.0), thickness_share=(0.3, 0.3, 0.4), kvp=(120,),
    ),
    "B": Protocol(
        phase="arterial", oral_contrast="positive", kernel="sharp", blur_px=0.3, sharpening=0.5,
        noise_hu=(20, 28), noise_blur_px=0.35,
        thickness_mm=(5.0, 8.0), thickness_share=(0.3, 0.7), kvp=(100, 120),
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scan:
    """One acquisition: its CT grid, what the scanner was set to, and the noise it will add."""

    geometry: Geometry
    protocol: Protocol
    thickness_mm: float
    noise_hu: float
    kvp: int

    def axis_mm(self, axis: int) -> NDArray[np.float64]:
        """Return the LPS mm of the voxel centres along array axis 0, 1 or 2 (z, y or x)."""
        start = self.geometry.affine[2 - axis, 3]
        return start + self.geometry.spacing_mm[axis] * np.arange(self.geometry.shape[axis])

    @property
    def fine_slices(self) -> int:
        """Odd number of fine slices averaged into one, each at most 2 mm: the middle one is its centre."""
        return max(1, 2 * int(np.ceil((self.thickness_mm / 1.75 - 1) / 2)) + 1)

    def fine_heights(self, first: int, last: int) -> NDArray[np.float64]:
        """Return LPS z of the fine slices of slices first..last-1, shape ((last - first) * fine,)."""
        n = self.fine_slices
        offsets = (np.arange(n) - (n - 1) / 2) / n * self.thickness_mm
        return (self.axis_mm(0)[first:last, None] + offsets).ravel()

    def reconstruct(self, ideal_hu: Field, rng: np.random.Generator) -> NDArray[np.int16]:
        """Return the HU the scanner shows: kernel, noise, quantisation, shape (k, j, i)."""
        p = self.protocol
        native = self.geometry.spacing_mm[2] / 2.0
        seen = _in_plane(ideal_hu, p.blur_px / native)
        if p.sharpening:
            seen += np.float32(p.sharpening) * (seen - _in_plane(seen, 1.0 / native))
        noise = _in_plane(rng.standard_normal(seen.shape, dtype=np.float32), p.noise_blur_px)
        seen += noise * np.float32(self.noise_hu / float(noise.std(dtype=np.float64)))
        return np.clip(np.rint(seen), -1024, 3071).astype(np.int16)


def _in_plane(volume: Field, sigma_px: float) -> Field:
    return ndimage.gaussian_filter(volume, (0.0, sigma_px, sigma_px), mode="nearest", truncate=3.0)


def draw_scan(
    site: str,
    span_mm: tuple[float, float],
    spacing_mm: tuple[float, float, float] | None,
    rng: np.random.Generator,
) -> Scan:
    """Draw the settings of one scan.

    Parameters
    ----------
    site
        ``"A"`` or ``"B"``.
    span_mm
        LPS z of the lowest and the highest slice edge.
    spacing_mm
        (k, j, i) to render on instead of the site's own grid; the slice thickness is then its first
        number, the field of view stays, and noise goes with the root of the voxel's volume.
    rng
        Source of the draws.
    """
    p = PROTOCOLS[site]
    thickness = float(rng.choice(p.thickness_mm, p=p.thickness_share))
    pixel = float(rng.choice((1.95, 2.0, 2.05)))
    noise = float(rng.uniform(*p.noise_hu))
    kvp = int(rng.choice(p.kvp))
    field_mm = (ROWS * pixel, COLUMNS * pixel)
    step = (thickness, pixel, pixel) if spacing_mm is None else tuple(float(s) for s in spacing_mm)
    shape = (
        int((span_mm[1] - span_mm[0]) / step[0]),
        round(field_mm[0] / step[1]),
        round(field_mm[1] / step[2]),
    )
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = step
    affine[:, 3] = (
        -step[2] * (shape[2] - 1) / 2,
        TABLE_MM - step[1] * (shape[1] - 1) / 2,
        span_mm[0] + step[0] / 2,
        1,
    )
    voxel_ml = step[0] * step[1] * step[2] / 1000
    reference = noise * float(np.sqrt(NOISE_REFERENCE_ML / max(voxel_ml, NOISE_REFERENCE_ML / 4)))
    return Scan(Geometry(shape, affine), p, step[0], reference, kvp)


def describe(scan: Scan) -> dict[str, Any]:
    """Return the settings for DICOM headers and reports."""
    return {
        "phase": scan.protocol.phase,
        "oral_contrast": scan.protocol.oral_contrast,
        "kernel": scan.protocol.kernel,
        "thickness_mm": scan.thickness_mm,
        "noise_hu": round(scan.noise_hu, 2),
        "kvp": scan.kvp,
    }
