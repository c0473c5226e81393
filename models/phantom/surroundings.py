"""What is no organ of the catalogue: body wall, lungs, skeleton, muscles, colon and small bowel.

Positions are canonical millimetres of a middle-sized adult: x to the left, y to posterior, z to the
head; the origin lies in the middle of the abdominal cavity at the height of the second lumbar vertebra.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.phantom.rendering import Canvas, Layer, Structure
from models.phantom.shapes import Column, Ellipsoid, Field, Tube, smooth_path

Stream = Callable[[str], np.random.Generator]
"""Gives the random numbers of one named part, so that no part's draws shift another's."""

CAVITY_MM = (126.0, 86.0)
"""Half-axes (x, y) of the abdominal cavity, inside the muscles."""
SQUARENESS = 0.35
"""0 is an ellipse, towards 1 a rounded rectangle (Fernandez Guasti's squircle)."""
SPINE_Y = 50.0
VERTEBRA_MM = 35.0
RIB_MM = 29.0


@dataclass(frozen=True)
class BodyWall:
    """Skin, subcutaneous fat, muscle, ribs and the two domes of the diaphragm with the lungs above.

    Parameters
    ----------
    fat_mm, muscle_mm
        Thickness in front and at the flanks; both grow towards the back.
    domes
        Of the right and the left dome: x, y and height z of the top, mm.
    rib_phase_mm
        Height of one rib at y = 0.
    """

    fat_mm: float
    muscle_mm: float
    domes: tuple[tuple[float, float, float], tuple[float, float, float]]
    rib_phase_mm: float

    def paint(self, canvas: Canvas) -> None:
        """Paint the whole slab and set the canvas's cavity, to which organs are confined."""
        x, y, z = canvas.x, canvas.y, canvas.z
        depth, back = self._outside_cavity(x, y)
        muscle = np.float32(self.muscle_mm) * (1 + back * back)
        skin = depth - muscle - np.float32(self.fat_mm) * (1 + np.float32(0.45) * back)
        canvas.fill(skin - np.float32(2), "skin")
        canvas.fill(skin, "fat")
        canvas.fill(depth - muscle, "muscle")
        canvas.fill(depth, "fat")
        inner = depth + np.float32(1.5)
        canvas.cavity = inner
        if float(z.max()) > -30:
            self._ribs(canvas, depth, back)
        if float(z.max()) > 0:
            above = (z - self._dome(x, y)) * np.float32(0.75)  # the domes' slope makes dz too long a distance
            canvas.fill(np.maximum(inner, -above), "lung")
            canvas.cavity = np.maximum(inner, above + np.float32(3))

    def _outside_cavity(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Return mm outside the cavity along the ray from its axis, and how far back (0..1)."""
        u2 = (x * np.float32(1 / CAVITY_MM[0])) ** 2
        v = y * np.float32(1 / CAVITY_MM[1])
        v2 = v * v
        level: Field = np.sqrt(np.maximum(u2 + v2 - np.float32(SQUARENESS) * u2 * v2, np.float32(1e-4)))
        radius: Field = np.sqrt(x * x + y * y)
        back: Field = np.clip(v / level, 0, 1)
        return np.subtract(radius, radius / level), back

    def _dome(self, x: Field, y: Field) -> Field:
        """Return the height of the diaphragm, mm."""
        heights = []
        for cx, cy, top in self.domes:
            dx, dy = x - np.float32(cx), y - np.float32(cy)
            heights.append(np.float32(top) - dx * dx * np.float32(0.0085) - dy * dy * np.float32(0.0080))
        return np.maximum(*heights)

    def _ribs(self, canvas: Canvas, depth: Field, back: Field) -> None:
        rising = canvas.z - np.float32(0.42) * canvas.y - np.float32(self.rib_phase_mm)
        turn = rising * np.float32(1 / RIB_MM)
        across = (turn - np.floor(turn + np.float32(0.5))) * np.float32(RIB_MM)
        along = (depth - np.float32(5) - 6 * back) * np.float32(1.6)
        distance = np.sqrt(across * across + along * along) - np.float32(6)
        # The lowest rib ends at the flank; in front the ribs go over into cartilage, left out here.
        distance = np.maximum(distance, np.maximum(np.float32(-8) - canvas.z, np.float32(-48) - canvas.y))
        canvas.fill(distance, "cortical bone")
        canvas.fill(distance + np.float32(2.2), "marrow")


def body_wall(fat_mm: float, stream: Stream) -> BodyWall:
    """Draw a body wall with the given subcutaneous fat (mm)."""
    rng = stream("wall")
    right = (-62 + 4 * rng.standard_normal(), -8.0, 116 + 6 * rng.standard_normal())
    left = (62 + 4 * rng.standard_normal(), -4.0, right[2] - rng.uniform(4, 16))
    return BodyWall(fat_mm, float(rng.uniform(10, 15)), (right, left), float(rng.uniform(0, RIB_MM)))


def chest(wall: BodyWall, stream: Stream) -> list[Structure]:
    """Return mediastinum and heart between the lungs."""
    rng = stream("chest")
    top = wall.domes[1][2]
    x, y, z = rng.uniform(-6, 6, 3)
    return [
        Structure(Ellipsoid((0, 30, top + 40), (42, 46, 95)), (Layer("fat"),)),
        Structure(Ellipsoid((24 + x, -28 + y, top + 38 + z), (62, 46, 40)), (Layer("fat"),)),
        Structure(
            Ellipsoid((24 + x, -28 + y, top + 40 + z), (54, 40, 34)), (Layer("muscle"), Layer("heart", 6))
        ),
    ]


def skeleton(stream: Stream) -> list[Structure]:
    """Return discs, vertebrae, arches and the spinal canal."""
    rng = stream("skeleton")
    phase = rng.uniform(0, VERTEBRA_MM)
    parts = [
        _upright(0, SPINE_Y, 20, 15.5, Layer("cartilage")),
        _upright(0, SPINE_Y + 27, 15, 13, Layer("cortical bone"), Layer("marrow", 3)),
    ]
    for n in range(-6, 8):
        z = n * VERTEBRA_MM + phase
        heights = np.array([z - 13.5, z, z + 13.5])
        drum = Column(
            heights, np.tile([0.0, SPINE_Y], (3, 1)), np.array([[22.5, 17.5], [20, 16], [22.5, 17.5]])
        )
        parts += [
            Structure(drum, (Layer("cortical bone"), Layer("marrow", 2))),
            Structure(
                Ellipsoid((0, SPINE_Y + 52, z - 8), (4, 17, 11)), (Layer("cortical bone"), Layer("marrow", 2))
            ),
            Structure(
                Ellipsoid((0, SPINE_Y + 26, z), (38, 6, 7)), (Layer("cortical bone"), Layer("marrow", 2.5))
            ),
        ]
    return [*parts, _upright(0, SPINE_Y + 28, 9, 8, Layer("canal"))]


def _upright(x: float, y: float, a: float, b: float, *layers: Layer) -> Structure:
    """Return a straight column through every slice, radii a and b mm."""
    ends = np.array([-400.0, 400.0])
    return Structure(Column(ends, np.tile([x, y], (2, 1)), np.tile([a, b], (2, 1))), layers)


def muscles(stream: Stream) -> list[Structure]:
    """Return back muscles, psoas, quadratus lumborum and the crura of the diaphragm."""
    bulk = stream("muscles").uniform(0.85, 1.15)
    flesh = (Layer("muscle"),)
    parts = []
    for side in (-1.0, 1.0):
        parts.append(_upright(side * 35, 92, 29 * bulk, 19, *flesh))
        psoas = np.array([[24, 48, 25], [32, 47, -30], [42, 40, -90], [52, 28, -170]]) * (side, 1, 1)
        parts.append(Structure(Tube(psoas, np.array([6, 15, 22, 25]) * bulk), flesh))
        quadratus = np.array([[58, 74, 20], [66, 70, -60], [74, 66, -170]]) * (side, 1, 1)
        parts.append(Structure(Tube(quadratus, np.array([7, 12, 13]) * bulk), flesh))
        crus = np.array([[15, 34, -15], [17, 26, 40], [14, 10, 85]]) * (side, 1, 1)
        parts.append(Structure(Tube(crus, np.array([4.0, 5.0, 4.0]) * bulk), flesh))
    return parts


COLON = (
    ((-104, 8, -175), (-104, 10, -110), (-102, 0, -60), (-92, -18, -32)),
    ((-92, -18, -32), (-62, -60, -42), (-20, -70, -58), (10, -71, -62)),
    ((10, -71, -62), (50, -68, -48), (85, -45, -10), (104, -8, 28)),
    ((104, -8, 28), (110, 18, -10), (109, 22, -90), (104, 18, -175)),
)


def bowel(positive_contrast: float, stream: Stream) -> list[Structure]:
    """Return colon and small bowel.

    Parameters
    ----------
    positive_contrast
        Share of the small bowel loops that hold swallowed contrast medium.
    stream
        Random numbers by part.
    """
    rng = stream("bowel")
    loops = []
    for _ in range(30):
        middle = np.array([rng.uniform(-78, 78), rng.uniform(-66, 12), rng.uniform(-170, -38)])
        course = middle + rng.uniform((-34, -18, -18), (34, 18, 18), (3, 3))
        radius = rng.uniform(8, 13)
        content, gas, loaded = rng.uniform(size=3)
        filling = "bowel contrast" if loaded < positive_contrast else "bowel fluid"
        layers = [Layer("bowel wall")]
        if content < 0.8:
            layers.append(Layer(filling, 2.2))
        if gas < 0.35:
            layers.append(Layer("gas", 2.2, above=float(middle[1]) - rng.uniform(-4, 6)))
        loops.append(
            Structure(Tube(smooth_path(course, 3), np.full(7, radius)), tuple(layers), confined=True)
        )
    for section in COLON:
        points = np.array(section) + rng.normal(0, 6, 3)
        course = smooth_path(points, 3)
        radii = rng.uniform(15, 21) * (1 + rng.uniform(-0.18, 0.12, len(course)))
        gas_level = float(points[:, 1].mean()) + rng.uniform(-22, 6)
        layers = [Layer("bowel wall"), Layer("stool", 2.5), Layer("gas", 2.5, above=gas_level)]
        loops.append(Structure(Tube(course, radii), tuple(layers), confined=True))
    return loops
