"""Copies of one real CT with a map of its organs, each bent another way: a cohort with real texture.

CT and labels are bent together, by one smooth map that can be inverted, and scanned as a site scans: with
its contrast, kernel, noise and thickness of slices. The labels are a network's output on one anatomy.
Figures on such copies show agreement, and that the machinery works on real texture; never accuracy, and
nothing about patients.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Geometry
from models.volume import Volume
from services.releases.reference_files import read_reference

SMOOTH_MM = 30.0
"""Standard deviation of the Gaussian that makes a field of velocities smooth."""

BENT_MM = 12.0
"""Length of a velocity, root of the mean square."""

HALVINGS = 6
SOURCES = ("example_ct.nii.gz", "example_seg_fast_force_split.nii.gz")

Field = NDArray[np.float64]
"""Axes (direction k j i, k, j, i), voxels."""


@dataclass(frozen=True)
class Site:
    """How a site scans.

    Parameters
    ----------
    number
        Its copies are bent by random numbers of their own.
    contrast_hu
        By name of an organ, how much brighter it is than in the CT at hand.
    kernel_mm
        Standard deviation of the Gaussian that blurs in a slice.
    noise_hu
        Of each voxel.
    slice_mm
        Thickness of slices and their distance; None as in the CT at hand.
    """

    number: int
    contrast_hu: Mapping[str, float]
    kernel_mm: float
    noise_hu: float
    slice_mm: float | None = None


SITES = {
    "A": Site(1, {}, 0.0, 8.0),
    "B": Site(
        2,
        {
            "spleen": -45, "liver": -40, "kidney_left": -70, "kidney_right": -70, "pancreas": -30,
            "aorta": -70, "inferior_vena_cava": -60, "portal_vein_and_splenic_vein": -60, "stomach": 15,
        },
        1.8, 18.0, 5.0,
    ),
}  # fmt: skip
"""A scans as the CT at hand was scanned; B without contrast medium, softer, noisier and in thick slices."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A CT and where its organs are.

    Parameters
    ----------
    volume
        Hounsfield units, int16 (k, j, i).
    labels
        Numbers on the same grid, uint8; 0 is none.
    names
        Of the numbers.
    """

    volume: Volume
    labels: NDArray[np.uint8]
    names: Mapping[int, str]

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return where an organ is."""
        (number,) = (number for number, known in self.names.items() if known == name)
        return self.labels == number


@cache
def known_ct(folder: Path) -> Labelled:
    """Return the CT that is bent.

    Parameters
    ----------
    folder
        With `SOURCES`, of TotalSegmentator's repository.
    """
    ct, labels = (read_reference(folder / name) for name in SOURCES)
    header = nibabel.load(folder / SOURCES[1]).header
    (written,) = (extension.text for extension in header.extensions)
    return Labelled(
        Volume(ct.values.astype(np.int16), ct.geometry), labels.values.astype(np.uint8), _names(written)
    )


def deformed(known: Labelled, site: str, seed: int) -> Labelled:
    """Return one copy; the same site and seed give the same bytes.

    Raises
    ------
    ValueError
        If the map cannot be inverted.
    """
    how = SITES[site]
    random = np.random.default_rng([how.number, seed])
    spacing = np.array(known.volume.geometry.spacing_mm)
    field = smooth_map(known.volume.hu.shape, spacing, random)
    if jacobian(field).min() <= 0:
        raise ValueError(f"the copy {seed} of site {site} is folded")
    places = np.indices(known.labels.shape) + field
    labels = ndimage.map_coordinates(known.labels, places, order=0, mode="nearest")
    hu = known.volume.hu.astype(np.float32)
    for name, brighter in how.contrast_hu.items():
        hu += brighter * ndimage.gaussian_filter(known.mask(name).astype(np.float32), 0.7)
    hu = ndimage.map_coordinates(hu, places, order=1, mode="nearest")
    hu = ndimage.gaussian_filter(hu, [0.0, *(how.kernel_mm / spacing[1:])])
    geometry = known.volume.geometry
    if how.slice_mm is not None:
        hu, labels, geometry = _thick(hu, labels, geometry, how.slice_mm)
    hu = np.clip(np.rint(hu + random.normal(0, how.noise_hu, hu.shape)), -1024, 3071).astype(np.int16)
    return Labelled(Volume(hu, geometry), labels, known.names)


def smooth_map(shape: tuple[int, ...], spacing_mm: NDArray[np.float64], random: np.random.Generator) -> Field:
    """Return how far each voxel is moved: the flow of a smooth field of velocities, which is invertible.

    Source: Arsigny et al., A log-Euclidean framework for statistics on diffeomorphisms, MICCAI 2006:
    scaling and squaring.
    """
    sigma = SMOOTH_MM / spacing_mm
    velocity = np.stack([ndimage.gaussian_filter(random.normal(size=shape), sigma) for _ in range(3)])
    velocity *= BENT_MM / np.sqrt((velocity**2).sum(0).mean()) / spacing_mm[:, None, None, None]
    field = velocity / 2**HALVINGS
    start = np.indices(shape)
    for _ in range(HALVINGS):
        field = field + np.stack(
            [ndimage.map_coordinates(part, start + field, order=1, mode="nearest") for part in field]
        )
    return field


def jacobian(field: Field) -> NDArray[np.float64]:
    """Return by how much the map makes each voxel's volume larger; over 0 wherever it can be inverted."""
    rows = [[np.gradient(part, axis=axis) for axis in range(3)] for part in field]
    matrix = np.moveaxis(np.array(rows), (0, 1), (-2, -1)) + np.eye(3)
    return np.linalg.det(matrix)


def _thick(
    hu: NDArray[np.float32], labels: NDArray[np.uint8], geometry: Geometry, slice_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8], Geometry]:
    """Return slices of another thickness: the mean over each, and the label at its middle."""
    step = slice_mm / geometry.spacing_mm[0]
    middles = np.arange((step - 1) / 2, len(hu) - 1, step)
    mean = ndimage.uniform_filter1d(np.repeat(hu, 3, axis=0), max(round(3 * step), 1), axis=0)[1::3]
    below = np.floor(middles).astype(int)
    share = (middles - below)[:, None, None].astype(np.float32)
    thick = mean[below] * (1 - share) + mean[below + 1] * share
    affine = np.array(geometry.affine)
    affine[:3, 3] = geometry.to_lps((middles[0], 0, 0))
    affine[:3, 0] *= step
    nearest = labels[np.rint(middles).astype(int)]
    return thick, nearest, Geometry(thick.shape, affine)


def _names(written: str) -> dict[int, str]:
    """Return the numbers' names, as the labels' file carries them in its extension."""
    known = re.findall(r"<Label Key=['\"](\d+)['\"][^>]*><!\[CDATA\[(.*?)\]\]>", written)
    return {int(number): name for number, name in known if number != "0"}
