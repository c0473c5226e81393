"""Studies that no release here has learnt: metal, a body wider than the field of view, another phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import numpy as np
from scipy import ndimage

from models.phantom import case
from models.phantom.case import PhantomCase, make_case
from models.phantom.tissues import draw_materials
from models.volume import Volume

PADDING_HU = -1024
STEEL_HU = 3071


def metal(seed: int) -> PhantomCase:
    """Two rods beside the spine, with the streaks between and beside them."""
    made = make_case("A", seed)
    rng = np.random.default_rng(seed)
    hu = made.volume.hu.astype(np.float32)
    geometry = made.volume.geometry
    z, y, x = np.moveaxis(geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1)), -1, 0)[::-1]
    rods = np.zeros(hu.shape, dtype=bool)
    back = np.quantile(y[hu > 300], 0.9) if (hu > 300).any() else 70.0
    for side in (-1, 1):
        centre = side * rng.uniform(16, 22)
        rods |= (np.hypot(x - centre, y - back) < 4) & (
            np.abs(z - rng.uniform(-30, 30)) < rng.uniform(40, 80)
        )
    scanned = rods.any(axis=(1, 2))
    shadow = ndimage.gaussian_filter1d(rods.astype(np.float32), 25, axis=2)
    shadow -= ndimage.gaussian_filter1d(rods.astype(np.float32), 8, axis=1)
    hu[scanned] -= 900 * shadow[scanned]
    hu[rods] = STEEL_HU
    return _with(made, hu)


def truncated(seed: int) -> PhantomCase:
    """A round field of view so small that the flanks lie outside it; padding beyond."""
    made = make_case("A", seed)
    geometry = made.volume.geometry
    y, x = np.moveaxis(geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1)), -1, 0)[1::-1]
    radius = np.random.default_rng(seed).uniform(110, 130)
    outside = np.hypot(x, y - 14) > radius
    hu = np.where(outside, PADDING_HU, made.volume.hu)
    return replace(_with(made, hu), truth={organ: mask & ~outside for organ, mask in made.truth.items()})


def native(seed: int) -> PhantomCase:
    """No contrast medium at all."""
    with mock.patch.object(case, "draw_materials", lambda site, gain, rng: draw_materials(site, 0.0, rng)):
        return make_case("A", seed)


def arterial(seed: int) -> PhantomCase:
    """People and scanner of site A, with the contrast medium of site B."""
    with mock.patch.object(case, "draw_materials", lambda site, gain, rng: draw_materials("B", gain, rng)):
        return make_case("A", seed)


def _with(made: PhantomCase, hu: np.ndarray) -> PhantomCase:
    volume = Volume(np.clip(np.rint(hu), -1024, STEEL_HU).astype(np.int16), made.volume.geometry)
    return replace(made, volume=volume)


MAKERS: dict[str, Callable[[int], PhantomCase]] = {
    "metal": metal,
    "truncated": truncated,
    "native": native,
    "arterial": arterial,
}
DAMAGES = tuple(MAKERS)


def damaged(kind: str, seed: int) -> PhantomCase:
    """Make one.

    Raises
    ------
    KeyError
        If there is no such damage.
    """
    return MAKERS[kind](seed)
