"""How the people of a site are built and prepared: the ranges that `anatomy` draws from."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Habitus:
    """How the people of a site are built and prepared; every pair is a uniform range.

    Parameters
    ----------
    frame
        Scale of the skeleton and of all organs.
    fat_mm
        Subcutaneous fat in front.
    organ_scale
        Scale of each solid organ beside the frame.
    aorta_mm, cava_mm
        Radii: of the aorta, and of the vena cava along x and y (two ranges).
    aorta_sway_mm
        Standard deviation of the aorta's sideways course.
    stomach_fill
        Scale of the stomach's radii.
    stomach_shift_mm
        Added to the stomach's position (x, y, z).
    gas_level_mm, dense_level_mm
        Canonical y above which the stomach holds gas, and below which it holds fluid under the food.
    gallbladder_scale
        Scale of the gallbladder.
    gallbladder_absent
        Share of people without one.
    bowel_contrast
        Share of small bowel loops with swallowed contrast medium.
    """

    frame: Range
    fat_mm: Range
    organ_scale: Range
    aorta_mm: Range
    aorta_sway_mm: float
    cava_mm: tuple[Range, Range]
    stomach_fill: Range
    stomach_shift_mm: tuple[float, float, float]
    gas_level_mm: Range
    dense_level_mm: Range
    gallbladder_scale: Range
    gallbladder_absent: float
    bowel_contrast: float


HABITUS: dict[str, Habitus] = {
    "A": Habitus(
        frame=(0.92, 1.06), fat_mm=(9, 24), organ_scale=(0.9, 1.1),
        aorta_mm=(9.5, 12.5), aorta_sway_mm=2.5, cava_mm=((11, 14), (8.5, 11)),
        stomach_fill=(0.75, 1.1), stomach_shift_mm=(0, 0, 0), gas_level_mm=(-58, -34),
        dense_level_mm=(-34, -8),
        gallbladder_scale=(0.9, 1.25), gallbladder_absent=0.04, bowel_contrast=0.0,
    ),
    "B": Habitus(
        frame=(0.95, 1.06), fat_mm=(14, 31), organ_scale=(0.88, 1.12),
        aorta_mm=(12.5, 17.5), aorta_sway_mm=5.0, cava_mm=((11, 14.5), (6, 9)),
        stomach_fill=(0.6, 0.95), stomach_shift_mm=(-4, 2, -6), gas_level_mm=(-62, -40),
        dense_level_mm=(-40, -18),
        gallbladder_scale=(0.75, 1.05), gallbladder_absent=0.04, bowel_contrast=0.45,
    ),
}  # fmt: skip
