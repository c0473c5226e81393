"""The nine organs, their vessels and the duodenum, drawn at random around a middle-sized adult.

Coordinates as in `surroundings`. Later structures lie over earlier ones, so an organ's truth is its
solid without whatever is painted over it: truths never overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.phantom import surroundings
from models.phantom.habitus import HABITUS, Habitus
from models.phantom.rendering import Layer, Structure
from models.phantom.shapes import (
    Carved,
    Column,
    Common,
    Ellipsoid,
    HalfSpace,
    Join,
    Shape,
    Tube,
    rotation,
    smooth_path,
)
from models.phantom.surroundings import SPINE_Y, BodyWall, Stream


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One person: the body wall, and the structures inside it in painting order."""

    wall: BodyWall
    structures: tuple[Structure, ...]


def draw_anatomy(site: str, stream: Stream) -> Anatomy:
    """Draw one person of a site."""
    habitus = HABITUS[site]
    wall = surroundings.body_wall(float(stream("fat").uniform(*habitus.fat_mm)), stream)
    kidneys = {side: _kidney(side, habitus, stream) for side in ("right", "left")}
    centre = stream("centre").normal(0, (4, 3, 6))
    aorta, cava = _great_vessels(wall, habitus, stream)
    structures = [
        *surroundings.chest(wall, stream),
        *surroundings.skeleton(stream),
        *surroundings.muscles(stream),
        *surroundings.bowel(habitus.bowel_contrast, stream),
        *_liver(habitus, kidneys["right"][0].shape, stream),
        *_spleen(habitus, kidneys["left"][0].shape, stream),
        *_stomach(habitus, stream),
        *_duodenum(habitus, centre, stream),
        *kidneys["right"],
        *kidneys["left"],
        *_pancreas(habitus, centre, stream),
        *_gallbladder(habitus, stream),
        *cava,
        *aorta,
    ]
    return Anatomy(wall, tuple(structures))


def _scale(habitus: Habitus, rng: np.random.Generator) -> float:
    return float(rng.uniform(*habitus.organ_scale))


def _tube(points: ArrayLike, radii: ArrayLike, steps: int = 3) -> Tube:
    """Return a smooth tube through points (n, 3) with radii (n,), mm."""
    course = smooth_path(np.column_stack([np.asarray(points), np.asarray(radii)]), steps)
    return Tube(course[:, :3], course[:, 3])


def _branch(root: NDArray[np.float64], *offsets: Sequence[float], radii: ArrayLike) -> Tube:
    """Return a smooth tube from a root through the points at these offsets from it, mm."""
    return _tube(root + np.array([(0.0, 0.0, 0.0), *offsets]), radii)


def _liver(habitus: Habitus, kidney: Shape, stream: Stream) -> list[Structure]:
    rng = stream("liver")
    s = _scale(habitus, rng)
    dx, dy, dz = rng.normal(0, (4, 4, 6))
    right = Ellipsoid(
        (-66 + dx, -4 + dy, 36 + dz), (74 * s, 84 * s, 90 * s), rotation(0, rng.normal(8, 5), 0)
    )
    lobe = rng.uniform(0.75, 1.15)
    left = Ellipsoid(
        (8 + dx, -50 + dy, 62 + dz),
        (62 * lobe, 34 * s, 36 * s),
        rotation(0, rng.normal(-14, 6), rng.normal(0, 5)),
    )
    # The under-surface rises from the tip at the right flank to the left.
    under = HalfSpace((-110, 0, rng.uniform(-78, -48) + dz), (0.62 + 0.1 * rng.standard_normal(), 0.22, -1))
    bulk = Carved(Join((Common((right, under)), left), 18), (kidney,), 3.0)
    parts = [Structure(bulk, (Layer("liver"),), "liver", confined=True)]
    confluence = np.add((-24.0, 22.0, 96.0), (dx, dy, dz))
    for tip in ((-105, 10, 55), (-70, -45, 62), (5, -45, 72)):
        end = np.array(tip) + rng.normal(0, 6, 3)
        vein = _tube([confluence, (confluence + end) / 2 + (0, 0, 8), end], (5, 4, 2.5))
        parts.append(Structure(vein, (Layer("hepatic vein"),), inside=True, confined=True))
    gate = np.add((-42.0, -14.0, 38.0), (dx, dy, dz))
    for tip in ((-100, 8, 30), (-85, -40, 35), (2, -48, 58)):
        end = np.array(tip) + rng.normal(0, 6, 3)
        branch = _tube([gate, (gate + end) / 2 + (0, -3, 4), end], (6, 4.5, 2.5))
        parts.append(Structure(branch, (Layer("portal blood"),), inside=True, confined=True))
    parts += _spots(rng, (-80, -5, 40), (40, 45, 40), cyst=0.25, lesion=0.2)
    return parts


def _spots(
    rng: np.random.Generator, around: Sequence[float], reach: Sequence[float], cyst: float, lesion: float
) -> list[Structure]:
    """Return at most one cyst and one lesion within reach (mm) of a place, each with its probability."""
    spots = []
    for tissue, share in (("cyst", cyst), ("lesion", lesion)):
        chance, radius = rng.uniform(), rng.uniform(4, 13)
        centre = np.array(around) + np.array(reach) * rng.uniform(-0.8, 0.8, 3)
        if chance < share:
            spots.append(
                Structure(
                    Ellipsoid(tuple(centre), (radius,) * 3), (Layer(tissue),), inside=True, confined=True
                )
            )
    return spots


def _spleen(habitus: Habitus, kidney: Shape, stream: Stream) -> list[Structure]:
    rng = stream("spleen")
    s = _scale(habitus, rng) * rng.uniform(0.9, 1.1)
    centre = np.array([93.0, 40.0, 58.0]) + rng.normal(0, (4, 5, 7))
    solid = Ellipsoid(
        tuple(centre), (31 * s, 46 * s, 56 * s), rotation(rng.normal(18, 7), rng.normal(-10, 5), 20)
    )
    hollow = Ellipsoid(tuple(centre - (46, 24, 8)), (30, 38, 48))
    return [Structure(Carved(solid, (hollow, kidney), 3.0), (Layer("spleen"),), "spleen", confined=True)]


def _kidney(side: str, habitus: Habitus, stream: Stream) -> list[Structure]:
    rng = stream(f"{side} kidney")
    sign, height = (-1.0, -14.0) if side == "right" else (1.0, 2.0)
    s = _scale(habitus, rng)
    centre = np.array([sign * 63, 40, height]) + rng.normal(0, (3, 3, 8))
    turned = rotation(rng.normal(-8, 4), -sign * rng.normal(15, 4), sign * rng.normal(-30, 8))
    solid = Ellipsoid(tuple(centre), (25 * s, 22 * s, 53 * s), turned)
    medial = turned @ np.array([-sign, 0.0, 0.0])
    sinus = Ellipsoid(tuple(centre + 14 * s * medial), (14 * s, 9 * s, 22 * s), turned)
    vein = _tube([centre + 20 * medial, centre + 34 * medial, (sign * 10, 24, height + 14)], (4, 5, 5))
    parts = [
        Structure(
            solid, (Layer("renal cortex"), Layer("renal medulla", 6.5)), f"{side}_kidney", confined=True
        ),
        Structure(sinus, (Layer("renal sinus"),)),
        Structure(vein, (Layer("caval blood"),)),
    ]
    chance, radius = rng.uniform(), rng.uniform(5, 14)
    pole = turned @ np.array([sign * 12, 0.0, rng.choice((-32.0, 30.0))]) * s
    if chance < 0.2:
        cyst = Ellipsoid(tuple(centre + pole), (radius,) * 3)
        parts.append(Structure(cyst, (Layer("cyst"),), f"{side}_kidney", confined=True))
    return parts


STOMACH = (
    (66, 22, 92),
    (68, -4, 76),
    (64, -34, 50),
    (42, -56, 22),
    (8, -60, 8),
    (-22, -48, 10),
    (-38, -36, 14),
)
STOMACH_RADII = (24, 33, 31, 27, 20, 13, 7)


def _stomach(habitus: Habitus, stream: Stream) -> list[Structure]:
    rng = stream("stomach")
    fill = rng.uniform(*habitus.stomach_fill)
    shift = rng.normal(0, (5, 4, 7)) + habitus.stomach_shift_mm
    points = np.array(STOMACH) + shift + rng.normal(0, 4, (len(STOMACH), 3))
    radii = np.array(STOMACH_RADII) * fill * (1 + rng.uniform(-0.12, 0.12, len(STOMACH)))
    wall = rng.uniform(3.0, 4.5)
    gas = float(shift[1] + rng.uniform(*habitus.gas_level_mm))
    dense = float(shift[1] + rng.uniform(*habitus.dense_level_mm))
    layers = (
        Layer("stomach wall"),
        Layer("stomach food", wall),
        Layer("stomach fluid", wall, below=dense),
        Layer("gas", wall, above=gas),
    )
    return [Structure(_tube(points, radii, 2), layers, "stomach", confined=True)]


def _duodenum(habitus: Habitus, centre: NDArray[np.float64], stream: Stream) -> list[Structure]:
    rng = stream("duodenum")
    course = np.array(
        [(-44, -32, 14), (-56, -14, 2), (-53, -2, -26), (-34, 6, -46), (2, 8, -44), (24, -8, -30)]
    )
    course = course + centre + rng.normal(0, 3, course.shape)
    radii = rng.uniform(8, 11) * (1 + rng.uniform(-0.15, 0.15, len(course)))
    content = "bowel contrast" if rng.uniform() < habitus.bowel_contrast else "bowel fluid"
    layers = [Layer("bowel wall"), Layer(content, 2.5)]
    if rng.uniform() < 0.4:
        layers.append(Layer("gas", 2.5, above=float(centre[1]) - 18))
    return [Structure(_tube(course, radii), tuple(layers))]


def _pancreas(habitus: Habitus, centre: NDArray[np.float64], stream: Stream) -> list[Structure]:
    rng = stream("pancreas")
    s = _scale(habitus, rng)
    tail = rng.normal(0, (5, 5, 9))
    course = np.array(
        [(-34, -10, -22), (-35, -14, 0), (-14, -26, 8), (16, -26, 20), (48, -4, 30), (74, 16, 38)]
    )
    bend = np.linspace(0, 1, len(course))[:, None] ** 2
    course = course + centre + bend * tail + rng.normal(0, 2, course.shape)
    radii = s * np.array([13, 18, 12, 12.5, 11.5, 10]) * (1 + rng.uniform(-0.1, 0.1, len(course)))
    gland = Structure(_tube(course, radii), (Layer("pancreas"),), "pancreas")
    behind = np.add(course, (0, 10, 3))
    root = centre + np.array([-10.0, -10.0, 8.0])
    blood = (Layer("portal blood"),)
    return [
        gland,
        Structure(
            _tube([root, behind[3], behind[4], np.add(behind[5], (10, 6, 4))], (4.5, 4, 3.5, 3)), blood
        ),
        Structure(_tube([root, np.add(root, (-16, -2, 16)), (-42, -14, 38)], (6.5, 6.5, 6)), blood),
        Structure(_branch(root, (2, -8, -30), (4, -14, -100), radii=(5.5, 5, 4)), blood),
    ]


def _gallbladder(habitus: Habitus, stream: Stream) -> list[Structure]:
    rng = stream("gallbladder")
    absent = rng.uniform() < habitus.gallbladder_absent
    s = rng.uniform(*habitus.gallbladder_scale)
    neck = np.array([-45.0, -24.0, 22.0]) + rng.normal(0, (3, 3, 4))
    axis = np.array([-18.0, -34.0, -30.0]) + rng.normal(0, 4, 3)
    if absent:
        return []
    points = [neck, neck + 0.35 * s * axis, neck + 0.75 * s * axis, neck + s * axis]
    bag = _tube(points, [4 * s, 9 * s, 14 * s, 12.5 * s])
    return [Structure(bag, (Layer("gallbladder wall"), Layer("bile", 1.6)), "gallbladder", confined=False)]


def _great_vessels(
    wall: BodyWall, habitus: Habitus, stream: Stream
) -> tuple[list[Structure], list[Structure]]:
    """Return aorta (with the roots of its branches) and vena cava, each in painting order."""
    rng = stream("great vessels")
    fork = rng.uniform(-108, -90)
    sway = rng.normal(0, habitus.aorta_sway_mm, (4, 2))
    front = SPINE_Y - 17
    radius = rng.uniform(*habitus.aorta_mm)
    course = np.array([
        (8, front - radius, fork), (10, front - radius - 1, -40), (11, front - radius - 2, 30),
        (16, front - radius + 2, 90), (24, front - radius + 10, 240),
    ])  # fmt: skip
    course[:4, :2] += sway * (1, 0.4)
    path = smooth_path(course, 4)
    size = radius * np.interp(path[:, 2], [-110, 0, 200], [0.88, 1.0, 1.12])
    lumen = (Layer("aortic blood"),)
    aorta = [Structure(Column(path[:, 2], path[:, :2], np.column_stack([size, size])), lumen, "aorta")]
    if rng.uniform() < 0.35:
        z = rng.uniform(-80, 20)
        x, y = (np.interp(z, path[:, 2], path[:, n]) for n in (0, 1))
        plaque = Ellipsoid((x + 0.8 * radius, y + 0.4 * radius, z), (3, 4, 8))
        aorta.append(Structure(plaque, (Layer("calcification"),), inside=True))
    start = np.array([*path[0, :2], fork + 4])
    for side in (-1.0, 1.0):
        leg = _branch(start, (side * 16, 3, -30), (side * 36, -2, -75), radii=[0.6 * radius] * 3)
        aorta.insert(0, Structure(leg, lumen))
    middle = course[2]
    for low, reach in ((22, (2, -34, -70)), (36, (-4, -24, 2))):
        root = np.array([middle[0], middle[1] - 0.6 * radius, low])
        aorta.insert(0, Structure(_branch(root, (0, -14, -4), reach, radii=(4, 4, 3)), lumen))

    (a_low, a_high), (b_low, b_high) = habitus.cava_mm
    a, b = rng.uniform(a_low, a_high), rng.uniform(b_low, b_high)
    top = wall.domes[0][2] + 6
    line = np.array([
        (-20, front - 9, fork - 8), (-25, front - 10, -40), (-27, front - 15, 20),
        (-26, 14, 62), (-22, 2, top),
    ])  # fmt: skip
    line[:4, :2] += rng.normal(0, (2.0, 1.5), (4, 2))
    path = smooth_path(line, 4)
    swell = np.interp(path[:, 2], [-100, 0, 60, 110], [0.9, 1.0, 1.12, 1.2])
    blood = (Layer("caval blood"),)
    cava = [
        Structure(Column(path[:, 2], path[:, :2], np.column_stack([a * swell, b * swell])), blood, "postcava")
    ]
    start = np.array([*path[0, :2], fork - 4])
    for side in (-1.0, 1.0):
        leg = _branch(start, (side * 14 + 4, 5, -30), (side * 34, 2, -70), radii=[0.75 * b] * 3)
        cava.insert(0, Structure(leg, blood))
    return aorta, cava
