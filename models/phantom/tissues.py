"""Hounsfield units of every tissue at both sites.

Site A scans in the portal venous phase after water or a light meal. Site B scans in the arterial
phase after positive oral contrast: bright aorta, pale and flat vena cava, dense bile from an earlier
contrast dose. Values are mean HU at 120 kVp on a 2 mm grid, within the ranges seen
in abdominal CT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

UNENHANCED_BLOOD_HU = 42.0
"""Blood without contrast medium; a case's contrast gain scales what lies above it."""


@dataclass(frozen=True)
class Tissue:
    """What one tissue looks like.

    Parameters
    ----------
    a, b
        Mean HU over cases at site A and at site B.
    spread
        Standard deviation of that mean between cases, HU.
    grain
        Standard deviation of the texture inside one case (millimetre scale, beside scanner noise), HU.
    enhancing
        Whether the case's contrast gain applies.
    """

    a: float
    b: float
    spread: float
    grain: float = 0.0
    enhancing: bool = False


# fmt: off
TISSUES: dict[str, Tissue] = {
    #                           A       B  spread grain enhancing
    "air":              Tissue(-1000, -1000,   0),
    "gas":              Tissue( -960,  -960,  15),
    "lung":             Tissue( -840,  -840,  25, 22),
    "fat":              Tissue( -105,  -105,   5,  5),
    "skin":             Tissue(   15,    15,   8),
    "muscle":           Tissue(   58,    56,   5,  7),
    "cortical bone":    Tissue(  480,   480,  50, 30),
    "marrow":           Tissue(  185,   185,  30, 18),
    "cartilage":        Tissue(   95,    95,  10,  5),
    "canal":            Tissue(   28,    28,   5),
    "heart":            Tissue(  135,   190,  15,  5, True),
    "aortic blood":     Tissue(  158,   305,  12,  3, True),
    "caval blood":      Tissue(  138,   100,  10,  5, True),
    "portal blood":     Tissue(  168,   150,  10,  3, True),
    "hepatic vein":     Tissue(  150,    78,  10,  3, True),
    "liver":            Tissue(  108,    85,   9,  4, True),
    "spleen":           Tissue(  124,   128,   9,  4, True),
    "renal cortex":     Tissue(  182,   190,  12,  6, True),
    "renal medulla":    Tissue(  164,   138,  12,  6, True),
    "renal sinus":      Tissue(  -70,   -70,  15, 15),
    "pancreas":         Tissue(   92,    90,   8,  9, True),
    "stomach wall":     Tissue(   72,    78,   7,  4),
    "stomach fluid":    Tissue(   12,   225,   7,  4),
    "stomach food":     Tissue(   42,    60,  12, 26),
    "bile":             Tissue(    8,    46,   5,  3),
    "gallbladder wall": Tissue(   58,    72,   7),
    "bowel wall":       Tissue(   74,    76,   8,  5),
    "bowel fluid":      Tissue(   18,    22,   9,  6),
    "bowel contrast":   Tissue(   30,    90,  20, 12),
    "stool":            Tissue(   10,    20,  20, 55),
    "cyst":             Tissue(    6,     6,   4),
    "lesion":           Tissue(   68,    70,   8,  5),
    "calcification":    Tissue(  620,   620,  80),
}
# fmt: on


@dataclass(frozen=True)
class Material:
    """One tissue in one case: its mean HU and the standard deviation of its texture, HU."""

    hu: float
    grain: float


def draw_materials(site: str, gain: float, rng: np.random.Generator) -> Mapping[str, Material]:
    """Return the materials of one case, by tissue name.

    Parameters
    ----------
    site
        ``"A"`` or ``"B"``.
    gain
        Strength of the contrast enhancement, 1 = as in the table.
    rng
        Source of the spread between cases; every tissue takes exactly one draw.
    """
    materials = {}
    for name, tissue in TISSUES.items():
        mean = tissue.a if site == "A" else tissue.b
        if tissue.enhancing:
            mean = UNENHANCED_BLOOD_HU + gain * (mean - UNENHANCED_BLOOD_HU)
        shift = float(np.clip(rng.standard_normal(), -2.5, 2.5)) * tissue.spread
        materials[name] = Material(mean + shift, tissue.grain)
    return materials
