"""The cohorts: phantoms of an old site, of a new one, and of two in between, made on the model grid."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from models.organs import ORGANS
from models.phantom import case
from models.phantom.case import PhantomCase, make_case
from models.phantom.tissues import draw_materials
from tests.bench.continual.scale import Scale

SITES: Mapping[str, tuple[str, str]] = {"A": ("A", "A"), "B": ("B", "B"), "C": ("A", "B"), "D": ("B", "A")}
"""By site whose people and scanner it has, and whose contrast medium and phase."""

INCUMBENT_SEED, COHORT_SEED, TEST_SEED = 700_000, 710_000, 720_000
"""First seeds: what the incumbent learnt from, what is revised, what is measured on."""


@dataclass(frozen=True, eq=False)
class Study:
    """One phantom on the model grid.

    Parameters
    ----------
    site, seed
        What it was made from.
    hu
        Hounsfield units, axes (k, j, i), int16.
    truth
        By organ, axes (k, j, i), bool: the voxel's centre lies inside.
    """

    site: str
    seed: int
    hu: NDArray[np.int16]
    truth: Mapping[str, NDArray[np.bool_]]

    @property
    def name(self) -> str:
        """Site and seed."""
        return f"{self.site}-{self.seed}"


def studies(scale: Scale, site: str, first_seed: int, count: int) -> list[Study]:
    """Return phantoms of a site, made once."""
    return [_study(scale, site, first_seed + n) for n in range(count)]


def old_site(scale: Scale) -> list[Study]:
    """Return what the incumbent learnt from."""
    return studies(scale, "A", INCUMBENT_SEED, scale.incumbent_cases)


def new_site(scale: Scale) -> list[Study]:
    """Return the cohort of the new site; its first studies are those that are revised."""
    return studies(scale, "B", COHORT_SEED, scale.cohort)


def tests(scale: Scale, site: str) -> list[Study]:
    """Return studies that nothing learnt from."""
    return studies(scale, site, TEST_SEED, scale.tests[site])


def _study(scale: Scale, site: str, seed: int) -> Study:
    path = scale.folder / "phantoms" / f"{site}-{seed}.npz"
    if not path.exists():
        made = phantom(site, seed, scale.spacing_mm)
        packed = np.packbits(np.stack([made.truth[organ] for organ in ORGANS]))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, hu=made.volume.hu, truth=packed)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_bytes(buffer.getvalue())
        aside.rename(path)
    with np.load(path) as kept:
        hu = kept["hu"]
        count = len(ORGANS) * hu.size
        truth = np.unpackbits(kept["truth"], count=count).view(np.bool_).reshape(len(ORGANS), *hu.shape)
    return Study(site, seed, hu, dict(zip(ORGANS, truth, strict=True)))


def phantom(site: str, seed: int, spacing_mm: float) -> PhantomCase:
    """Make one phantom of one of the four sites."""
    people, contrast = SITES[site]
    with mock.patch.object(case, "draw_materials", lambda _, gain, rng: draw_materials(contrast, gain, rng)):
        return make_case(people, seed, spacing_mm=(spacing_mm,) * 3)
