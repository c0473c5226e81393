"""Pictures of organs show the right planes the right way round, to scale, with lines where things are."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from models.findings import Flag, Presence, ReviewRegion, StudyFindings
from models.geometry import Geometry
from models.masks import BoxedMask
from models.metrics.dsc import dsc
from models.volume import Volume
from services.dicom.ct.loaded import CTSeries
from services.pictures.organ_views import organ_views
from services.pictures.picture import Drawn, Plane
from tests.support.geometries import ct_grids
from tests.support.result_cases import affine, ct_series, findings_of

AXIAL = affine((1, 0, 0), (0, 1, 0), (2.0, 2.0), (0, 0, 4.0))
SHAPE = (30, 70, 80)
OUTSIDE, INSIDE = -1000, 1100
"""Hounsfield units between which half a voxel's share is 50: grey 134 in the window 350/40."""
HALF = round((50 - 40) / 350 * 255 + 127.5)


def ball(grid: Geometry, centre_mm: NDArray[np.float64], radius_mm: float) -> NDArray[np.bool_]:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return np.asarray(np.linalg.norm(grid.to_lps(index) - centre_mm, axis=-1) <= radius_mm)


def ellipsoid(shape: tuple[int, int, int], part: float) -> NDArray[np.bool_]:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    middle = (np.array(shape) - 1) / 2
    return np.asarray(np.linalg.norm((index - middle) / (part * np.array(shape)), axis=-1) <= 1)


def box(rows: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, np.bool_)
    mask[rows] = True
    return mask


def with_hu(series: CTSeries, hu: NDArray[np.int16]) -> CTSeries:
    return replace(series, volume=Volume(hu, series.volume.geometry))


def shown(series: CTSeries, findings: StudyFindings) -> dict[str, Drawn]:
    return {one.picture.name: one for one in organ_views(series, findings)}


def grey(drawn: Drawn) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(drawn.png))
    assert (image.format, image.mode) == ("PNG", "L")
    assert image.size == (drawn.picture.width, drawn.picture.height)
    return np.asarray(image)


def filled(path: str, drawn: Drawn) -> NDArray[np.bool_]:
    """Fill a path as a browser does by the rule evenodd, a pixel by its centre."""
    size, fine = (drawn.picture.width, drawn.picture.height), 8
    found = Image.new("1", (size[0] * fine, size[1] * fine))
    assert re.fullmatch(r"(M -?\d+\.\d -?\d+\.\d L( -?\d+\.\d){4,} Z ?)*", path), path
    for part in re.findall(r"M ([^Z]+) Z", path):
        numbers = [float(one) * fine for one in part.replace("L ", "").split()]
        one = Image.new("1", found.size)
        ImageDraw.Draw(one).polygon(list(zip(numbers[::2], numbers[1::2], strict=True)), fill=1)
        found = ImageChops.logical_xor(found, one)
    middle = slice(fine // 2, None, fine)
    return np.asarray(found)[middle, middle]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_outlines_lie_where_the_mask_is_on_any_grid(data: st.DataObject) -> None:
    """The CT is bright where the mask is: its picture and the filled path are the same place."""
    grid = data.draw(ct_grids(slices=(14, 24), rows=(14, 30), columns=(14, 30)))
    whole, core = (ellipsoid(grid.shape, part) for part in (0.42, 0.15))
    hollow = whole & ~core
    mask = hollow if data.draw(st.booleans()) else whole
    hu = np.where(mask, INSIDE, OUTSIDE).astype(np.int16)
    series = replace(ct_series(AXIAL, grid.shape), volume=Volume(hu, grid))  # no header is looked at
    drawn = shown(series, findings_of(series, {"spleen": mask}, flagged=()))
    assert [one.picture.plane for one in drawn.values()].count(Plane.AXIAL) == 3
    for one in drawn.values():
        place, bright = filled(one.picture.outline, one), grey(one) >= HALF
        if bright.sum() >= 200:  # a section of few voxels is all edge
            assert dsc(place, bright) > 0.95, one.picture.name
    assert sum((grey(one) >= HALF).sum() >= 200 for one in drawn.values()) >= 2


def stored(
    order: tuple[int, ...], flips: tuple[bool, ...], marks: NDArray[np.int16], mask: NDArray[np.bool_]
) -> tuple[CTSeries, NDArray[np.bool_]]:
    """Store the same patient with other axes; return the series and the mask on its grid."""
    first = [n - 1 if back else 0 for n, back in zip(SHAPE, flips, strict=True)]
    origin = AXIAL[:3, 3] + AXIAL[:3, :3] @ first
    columns = AXIAL[:3, :3] * np.where(flips, -1, 1)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = columns[:, order], origin
    turned = tuple(slice(None, None, -1 if back else None) for back in flips)
    hu = np.ascontiguousarray(marks[turned].transpose(order))
    return with_hu(ct_series(matrix, hu.shape), hu), np.ascontiguousarray(mask[turned].transpose(order))


def test_a_picture_is_the_same_however_the_slices_are_stored() -> None:
    """All 48 ways to store the axes: right on the left, head up, front up or left, at the same planes."""
    draw = np.random.default_rng(0)
    mask = box((slice(9, 20), slice(21, 43), slice(12, 49)))
    mask[9:12, 21:30] = False
    marks = draw.integers(-100, 200, SHAPE).astype(np.int16)
    expected = None
    for order in permutations(range(3)):
        for flips in product((False, True), repeat=3):
            series, there = stored(order, flips, marks, mask)
            drawn = shown(series, findings_of(series, {"liver": there}, flagged=()))
            lines = [replace(one.picture, image_uid=None, image_number=None) for one in drawn.values()]
            if expected is None:
                expected = lines, [grey(one) for one in drawn.values()]
            assert lines == expected[0], (order, flips)
            for one, other in zip(drawn.values(), expected[1], strict=True):
                assert np.abs(grey(one).astype(int) - other).max() <= 1, (order, flips)
            slices = {one.picture.plane for one in drawn.values() if one.picture.image_uid}
            assert slices == {(Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)[order[0]]}


@pytest.mark.parametrize(
    ("toward", "sides"),
    [
        ((1, 0, 0), {"axial-1": "right", "coronal": "right"}),  # LPS: to the patient's left
        ((0, 1, 0), {"axial-1": "bottom", "sagittal": "right"}),  # to the back
        ((0, 0, 1), {"coronal": "top", "sagittal": "top"}),  # to the head
    ],
)
def test_right_is_on_the_left_and_the_head_is_up(toward: tuple[int, int, int], sides: dict[str, str]) -> None:
    series = ct_series(AXIAL, SHAPE)
    grid = series.volume.geometry
    middle = grid.to_lps((np.array(SHAPE) - 1) / 2)
    mark = ball(grid, middle + 20 * np.array(toward), 12)
    organ = ball(grid, middle, 40)
    marked = with_hu(series, np.where(mark, 1000, -1000).astype(np.int16))
    drawn = shown(marked, findings_of(series, {"spleen": organ}, flagged=()))
    for view, side in sides.items():
        rows, columns = np.nonzero(grey(drawn[f"spleen-{view}"]) > 128)
        height, width = grey(drawn[f"spleen-{view}"]).shape
        x, y = columns.mean() / width - 0.5, rows.mean() / height - 0.5
        found = {"right": x, "bottom": y, "top": -y}[side]
        assert found > 0.1, (view, x, y)


def test_a_tilted_gantrys_planes_are_shown_upright() -> None:
    """A rod along the body's axis is upright, though each slice lies 1.1 voxels behind the one before."""
    lean = affine((1, 0, 0), (0, 1, 0), (2.0, 2.0), (0, 4.0 * np.tan(np.radians(28)), 4.0))
    series = ct_series(lean, SHAPE)
    grid = series.volume.geometry
    centre = grid.to_lps((np.array(SHAPE) - 1) / 2)
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    rod = np.abs(grid.to_lps(index)[..., :2] - centre[:2]).max(axis=-1) < 8
    rod[:4] = rod[-4:] = False
    marked = with_hu(series, np.where(rod, 1000, -1000).astype(np.int16))
    drawn = shown(marked, findings_of(series, {"aorta": rod}, flagged=()))["aorta-sagittal"]
    bright = grey(drawn) > 128
    full = np.flatnonzero(bright.sum(axis=1) > 2)
    middles = [float(np.flatnonzero(bright[row]).mean()) for row in full]
    assert len(full) * drawn.picture.mm_per_pixel == pytest.approx(4 * (SHAPE[0] - 8), abs=4)
    assert np.ptp(middles) * drawn.picture.mm_per_pixel <= 3  # it would be 47 mm
    assert dsc(filled(drawn.picture.outline, drawn), bright) > 0.9


def test_a_picture_is_to_scale_and_cropped_to_the_organ_and_the_margin() -> None:
    series = ct_series(AXIAL, (60, 120, 120))
    mask = np.zeros((60, 120, 120), np.bool_)
    mask[20:40, 50:70, 3:33] = True  # 80 mm high, 40 deep, 60 wide, 6 mm from the CT's edge
    for one in shown(series, findings_of(series, {"liver": mask}, flagged=())).values():
        picture = one.picture
        wide = {Plane.AXIAL: (96, 100), Plane.CORONAL: (96, 140), Plane.SAGITTAL: (100, 140)}[picture.plane]
        assert (picture.width, picture.height) == tuple(
            pytest.approx(side / picture.mm_per_pixel, abs=1) for side in wide
        )
        assert max(picture.width, picture.height) == 200, "finer than the CT, and no finer than is shown"
        x = re.findall(r"(-?\d+\.\d) -?\d+\.\d", picture.outline)
        if picture.plane is Plane.AXIAL:
            assert min(map(float, x)) * picture.mm_per_pixel == pytest.approx(6, abs=0.1)


def test_a_fine_ct_is_shown_by_its_own_pixels_and_a_large_one_by_400() -> None:
    fine = affine((1, 0, 0), (0, 1, 0), (0.5, 0.5), (0, 0, 5.0))
    for shape, half, longest in (((4, 500, 500), 60, 240), ((4, 900, 900), 200, 400)):
        mask = np.zeros(shape, np.bool_)
        middle = slice(shape[1] // 2 - half, shape[1] // 2 + half)
        mask[1:3, middle, middle] = True
        series = ct_series(fine, shape)
        picture = shown(series, findings_of(series, {"spleen": mask}, flagged=()))["spleen-axial-1"].picture
        assert max(picture.width, picture.height) == longest


def region_at(findings: StudyFindings, rank: int, slices: tuple[int, int]) -> ReviewRegion:
    mask = box((slice(slices[0], slices[1] + 1), slice(30, 36), slice(30, 36)))
    [first, *_] = findings.regions
    return replace(first, rank=rank, mask=BoxedMask.of(mask), slices=slices)


def test_axial_planes_are_those_of_the_regions_worst_first_and_then_of_the_organ() -> None:
    series = ct_series(AXIAL, SHAPE)  # slices go to the head, 30 of them
    mask = box((slice(5, 26), slice(20, 50), slice(20, 50)))  # 21 slices
    mask[14, 15:50, 20:50] = True  # the largest
    findings = findings_of(series, {"stomach": mask}, flagged=("stomach",))

    def slices(*regions: tuple[int, int]) -> list[int]:
        told = [region_at(findings, rank, ends) for rank, ends in enumerate(regions, 1)]
        drawn = shown(series, replace(findings, regions=tuple(told)))
        axial = [one.picture for one in drawn.values() if one.picture.plane is Plane.AXIAL]
        uids = [str(image.SOPInstanceUID) for image in series.images]
        assert [one.image_number for one in axial] == [
            int(series.images[uids.index(one.image_uid)].InstanceNumber) for one in axial
        ]
        assert list(drawn) == [
            *(f"stomach-axial-{n}" for n in range(1, len(axial) + 1)),
            "stomach-coronal",
            "stomach-sagittal",
        ]
        return [uids.index(str(one.image_uid)) for one in axial]

    assert slices((20, 22), (6, 8), (11, 11)) == [21, 7, 11]
    assert slices((6, 8)) == [7, 14, 23]
    assert slices() == [14, 23, 7]
    assert slices((14, 14)) == [14, 23, 7], "no plane twice"


def test_pictures_of_a_random_check_tell_nothing_of_where_there_is_doubt() -> None:
    """They are the same bytes wherever it lies, and whatever is flagged."""
    series = ct_series(AXIAL, SHAPE)
    stomach = box((slice(5, 26), slice(20, 50), slice(20, 50)))
    stomach[8, 15:50, 20:50] = True  # the largest
    masks = {"stomach": stomach, "gallbladder": np.zeros(SHAPE, np.bool_)}
    findings = replace(findings_of(series, masks, flagged=("stomach",)), audited=True)
    absent = replace(region_at(findings, 3, (12, 14)), organ="gallbladder")
    told = []
    for places in ([(6, 8)], [(20, 22), (11, 12)], []):
        regions = (*(region_at(findings, rank, ends) for rank, ends in enumerate(places, 1)), absent)
        told.append(shown(series, replace(findings, regions=regions)))
    told.append(shown(series, replace(findings_of(series, masks, flagged=()), audited=True)))
    assert told[0] == told[1] == told[2] == told[3]
    axial = [one.picture for one in told[0].values() if one.picture.plane is Plane.AXIAL]
    numbers = [one.image_number - 11 for one in axial if one.image_number]
    assert numbers == [15, 22, 8], "the middle first: there the viewer opens"
    assert {one.picture.organ for one in told[0].values()} == {"stomach"}
    assert {one.picture.region for one in told[0].values()} == {""}


def test_regions_are_drawn_on_every_plane_that_they_reach_and_shown_whole() -> None:
    series = ct_series(AXIAL, SHAPE)
    mask = box((slice(5, 26), slice(20, 30), slice(10, 20)))
    findings = findings_of(series, {"stomach": mask}, flagged=("stomach",))
    far = region_at(findings, 1, (10, 12))  # 20 mm beside the organ
    drawn = shown(series, replace(findings, regions=(far,)))
    first = drawn["stomach-axial-1"]
    assert first.picture.image_uid == str(series.images[11].SOPInstanceUID)
    place = filled(first.picture.region, first)
    area_mm2 = float(place.sum()) * first.picture.mm_per_pixel**2
    assert area_mm2 == pytest.approx(12 * 12, rel=0.05)
    assert not (place & filled(first.picture.outline, first)).any()
    assert {name: bool(one.picture.region) for name, one in drawn.items()} == {
        "stomach-axial-1": True,
        "stomach-axial-2": False,  # at its largest
        "stomach-axial-3": False,
        "stomach-coronal": True,
        "stomach-sagittal": True,
    }
    assert drawn["stomach-coronal"].picture.outline == "", "the organ does not reach that plane"


def test_an_absent_organ_is_shown_where_it_was_doubted_and_nowhere_else() -> None:
    series = ct_series(AXIAL, SHAPE)
    stomach = box((slice(5, 26), slice(20, 30), slice(10, 20)))
    masks = {"stomach": stomach, "gallbladder": np.zeros(SHAPE, np.bool_)}
    findings = findings_of(series, masks, flagged=("stomach",))
    organs = tuple(
        replace(one, flag=Flag.REVIEW) if one.presence is Presence.ABSENT else one for one in findings.organs
    )
    findings = replace(findings, organs=organs)
    assert {one.picture.organ for one in organ_views(series, findings)} == {"stomach"}
    doubted = replace(region_at(findings, 2, (12, 14)), organ="gallbladder")
    drawn = shown(series, replace(findings, regions=(*findings.regions, doubted)))
    found = {name: one.picture for name, one in drawn.items() if one.picture.organ == "gallbladder"}
    assert list(found) == ["gallbladder-axial-1", "gallbladder-coronal", "gallbladder-sagittal"]
    assert all(one.region and not one.outline for one in found.values())


@pytest.mark.parametrize(
    ("organ", "hu", "expected"),
    [
        ("liver", 80, 127.5), ("liver", 0, 0), ("liver", 160, 255), ("liver", 100, 159),
        ("left_kidney", 60, 127.5), ("aorta", -100, 0), ("postcava", 400, 255), ("spleen", 40, 127.5),
        ("spleen", -3024, 0),
    ],
)  # fmt: skip
def test_each_organ_has_its_window(organ: str, hu: int, expected: float) -> None:
    series = ct_series(AXIAL, SHAPE)
    mask = box((slice(5, 26), slice(20, 50), slice(20, 50)))
    of_one_value = with_hu(series, np.full(SHAPE, hu, np.int16))
    for one in shown(of_one_value, findings_of(series, {organ: mask}, flagged=())).values():
        assert np.abs(grey(one) - expected).max() <= 1


@pytest.mark.parametrize("numbers", [(1, 2, 2), (1, None, 3)])
def test_images_that_no_number_tells_apart_are_counted(numbers: tuple[int | None, ...]) -> None:
    series = ct_series(AXIAL, (3, 40, 40))
    for image, number in zip(series.images, numbers, strict=True):
        image.InstanceNumber = number
    mask = np.zeros((3, 40, 40), np.bool_)
    mask[:, 10:30, 10:30] = mask[2, 5:30, 10:30] = True
    drawn = shown(series, findings_of(series, {"spleen": mask}, flagged=()))
    assert drawn["spleen-axial-1"].picture.image_number == 3
