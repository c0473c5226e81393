"""The pictures by which a reader judges the organs of a study, five an organ at most."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import StudyFindings
from models.geometry import Geometry
from models.masks import Box, BoxedMask
from models.nnunet.turn import Turn
from models.uids import SopUid
from models.volume import Volume
from services.dicom.ct.headers import image_numbers
from services.dicom.ct.loaded import CTSeries
from services.pictures.picture import Drawn, Picture, Plane
from services.pictures.sections import Drawing, Section, Window

AXES = "IPL"
"""To the feet, to the back, to the patient's left: rows go down and columns right in each of the planes."""

ACROSS = {Plane.AXIAL: 0, Plane.CORONAL: 1, Plane.SAGITTAL: 2}
"""The axis that a plane lies across."""

AXIAL_PICTURES = 3
HEIGHTS = (0.1, 0.9)
"""Parts of an organ's height at which it is shown where it has few regions to look at."""

EVENLY = (1 / 6, 5 / 6)
"""Parts beside the middle at which an organ of a random check is shown: three even thirds of its height."""

_KIDNEY, _VESSEL = Window(400, 60), Window(500, 150)
WINDOWS = {
    "liver": Window(160, 80),
    "right_kidney": _KIDNEY,
    "left_kidney": _KIDNEY,
    "aorta": _VESSEL,
    "postcava": _VESSEL,
}
OTHERS = Window(350, 40)
"""Window of an organ that has none of its own."""


def organ_views(
    series: CTSeries, findings: StudyFindings, organs: Collection[str] | None = None
) -> Iterator[Drawn]:
    """Draw the pictures of each organ, in the order of the findings.

    Of each organ: axial planes at the middle of its review regions, the largest expected error first. With
    fewer than three such planes come the one on which it is largest, and those at a tenth and nine tenths of
    its height. Then a coronal and a sagittal plane, through the centre of its first region, else its own.
    An absent organ is shown only at its review regions: where else it would lie, nobody knows.

    Of a random check no picture tells where there is doubt: axial planes stand in the middle of the organ and
    in the middle of its lower and upper third, and no region is drawn.

    Parameters
    ----------
    series
        The CT, any orientation; planes are those of its grid.
    findings
        What is said about it.
    organs
        Of which pictures are wanted; None: of all.

    Yields
    ------
    Drawn
        At most five an organ.
    """
    ct = _UprightCT(series)
    for finding in findings.organs:
        if finding.organ not in (findings.masks if organs is None else organs):
            continue
        mask = ct.mask(findings.masks[finding.organ])
        if findings.audited:
            yield from _views(finding.organ, mask, [], ct, _evenly)
            continue
        regions = [ct.mask(one.mask) for one in findings.regions if one.organ == finding.organ]
        yield from _views(finding.organ, mask, regions, ct)


def asked_views(
    series: CTSeries, name: str, drawn: BoxedMask | None, sent: BoxedMask | None
) -> Iterator[Drawn]:
    """Draw what a person is asked about: what came back as the region, what was sent as the outline.

    Parameters
    ----------
    series
        The CT.
    name
        Of what is asked about, first in the names of the pictures: ``segment_3``, ``liver``.
    drawn
        The segment that came back; None of an organ that did not.
    sent
        What was sent of the organ that it may be; None where it may be none.
    """
    ct = _UprightCT(series)
    nothing = BoxedMask.empty(series.volume.geometry.shape)
    places = [ct.mask(drawn)] if drawn is not None and drawn.any() else []
    yield from _views(name, ct.mask(nothing if sent is None else sent), places, ct)


@dataclass(frozen=True, eq=False)
class _UprightMask:
    """A mask with the axes of `AXES`: its box, and its voxels in that."""

    box: Box
    inside: NDArray[np.bool_]

    def drawn(self, axis: int) -> NDArray[np.intp]:
        """Return how many voxels it draws on each plane of its box across an axis."""
        found: NDArray[np.intp] = np.count_nonzero(
            self.inside, axis=tuple(one for one in range(3) if one != axis)
        )
        return found

    def middle(self, axis: int) -> int:
        """Return the plane in the middle of its box, of those that it draws on."""
        return self._next_to(axis, (self.inside.shape[axis] - 1) / 2)

    def centre(self, axis: int) -> int:
        """Return the plane next to its centroid, of those that it draws on."""
        counts = self.drawn(axis)
        return self._next_to(axis, float(counts @ np.arange(len(counts)) / counts.sum()))

    def largest(self, axis: int) -> int:
        """Return the plane on which it draws most."""
        return self.box[axis].start + int(self.drawn(axis).argmax())

    def at(self, axis: int, part: float) -> int:
        """Return the plane at a part of its extent along an axis, of those that it draws on."""
        return self._next_to(axis, part * (self.inside.shape[axis] - 1))

    def on(self, axis: int, plane: int) -> Drawing | None:
        """Return what it draws on a plane; None where that is nothing."""
        place = plane - self.box[axis].start
        if not 0 <= place < self.inside.shape[axis]:
            return None
        inside = self.inside[_across(axis, place)]
        rows, columns = (side for n, side in enumerate(self.box) if n != axis)
        return Drawing(inside, (rows, columns)) if inside.any() else None

    def _next_to(self, axis: int, place: float) -> int:
        planes = np.flatnonzero(self.drawn(axis))
        return self.box[axis].start + int(planes[np.abs(planes - place).argmin()])


class _UprightCT:
    """A CT with the axes of `AXES`, however its images are stored; nothing is copied."""

    def __init__(self, series: CTSeries) -> None:
        grid = series.volume.geometry
        self._turn = Turn.between(grid, AXES)
        self._shape = grid.shape
        self.volume = Volume(self._turn.apply(series.volume.hu), self._turn.geometry(grid))
        self._images = [str(image.SOPInstanceUID) for image in series.images]
        self._numbers = image_numbers(series.images)

    def mask(self, mask: BoxedMask) -> _UprightMask:
        """Return a mask of the CT's grid with these axes."""
        sides = [mask.box[axis] for axis in self._turn.order]
        counts = [self._shape[axis] for axis in self._turn.order]
        k, j, i = (
            slice(n - side.stop, n - side.start) if back and mask.any() else side
            for side, n, back in zip(sides, counts, self._turn.reversed, strict=True)
        )
        return _UprightMask((k, j, i), self._turn.apply(mask.inside))

    def section(self, axis: int, plane: int) -> Section:
        """Return a plane across an axis."""
        down, right = (n for n in range(3) if n != axis)
        grid: Geometry = self.volume.geometry
        steps = grid.affine[:3, :3]
        return Section(self.volume.hu[_across(axis, plane)], steps[:, down], steps[:, right])

    def image(self, axis: int, plane: int) -> tuple[SopUid | None, int | None]:
        """Return UID and number of the image that a plane is; None where it is none."""
        if self._turn.order[axis] != 0:
            return None, None
        k = len(self._images) - 1 - plane if self._turn.reversed[axis] else plane
        return SopUid(self._images[k]), self._numbers[k]


def _across(axis: int, plane: int) -> tuple[slice | int, ...]:
    """Return the index of a plane: unlike `numpy.take`, it copies no array that lies otherwise."""
    return (*[slice(None)] * axis, plane)


def _where_it_is_large(mask: _UprightMask) -> list[int]:
    axial = ACROSS[Plane.AXIAL]
    return [mask.largest(axial), *(mask.at(axial, part) for part in HEIGHTS)]


def _evenly(mask: _UprightMask) -> list[int]:
    axial = ACROSS[Plane.AXIAL]
    return [mask.middle(axial), *(mask.at(axial, part) for part in EVENLY)]


def _views(
    organ: str,
    mask: _UprightMask,
    regions: Sequence[_UprightMask],
    ct: _UprightCT,
    own: Callable[[_UprightMask], list[int]] = _where_it_is_large,
) -> Iterator[Drawn]:
    """Yield the pictures of one organ; its regions come largest expected error first, then its own planes."""
    axial = ACROSS[Plane.AXIAL]
    planes = [region.middle(axial) for region in regions]
    if mask.inside.any():
        planes += own(mask)
    for number, plane in enumerate(list(dict.fromkeys(planes))[:AXIAL_PICTURES], start=1):
        yield _view(f"{organ}-axial-{number}", organ, Plane.AXIAL, plane, mask, regions, ct)
    where = regions[0] if regions else mask
    for kind in (Plane.CORONAL, Plane.SAGITTAL) if planes else ():
        plane = where.centre(ACROSS[kind])
        yield _view(f"{organ}-{kind}", organ, kind, plane, mask, regions, ct)


def _view(
    name: str,
    organ: str,
    kind: Plane,
    plane: int,
    mask: _UprightMask,
    regions: Sequence[_UprightMask],
    ct: _UprightCT,
) -> Drawn:
    axis = ACROSS[kind]
    section = ct.section(axis, plane)
    outline, *places = [one.on(axis, plane) for one in (mask, *regions)]
    here = [(region, place) for region, place in zip(regions, places, strict=True) if place is not None]
    shown = [*([mask] if mask.inside.any() else []), *(region for region, _ in here)]
    down, right = (n for n in range(3) if n != axis)
    frame = section.frame([(one.box[down], one.box[right]) for one in shown])
    uid, number = ct.image(axis, plane)
    picture = Picture(
        name=name,
        organ=organ,
        plane=kind,
        width=frame.width,
        height=frame.height,
        mm_per_pixel=round(frame.mm_per_pixel, 4),
        outline=section.path([outline] if outline is not None else [], frame),
        region=section.path([place for _, place in here], frame),
        image_uid=uid,
        image_number=number,
    )
    return Drawn(picture, section.png(frame, WINDOWS.get(organ, OTHERS)))
