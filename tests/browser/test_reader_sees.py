"""What a radiologist sees of our results in OHIF: names, flags, colours, and outlines on the organs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from highdicom.color import CIELabColor
from matplotlib.colors import rgb_to_hsv
from numpy.typing import NDArray
from playwright.sync_api import Browser
from scipy.ndimage import maximum_filter, minimum_filter

from models.organs import CATALOGUE, ORGANS
from tests.browser.conftest import ORGANS_SEG, PICTURES, REVIEW_SEG, Study, reading
from tests.browser.viewer import Viewer
from tests.browser.voxels import changes, masks_of
from tests.support.archive import Archive

HUES = {
    one.label: rgb_to_hsv(np.array(CIELabColor(*one.cielab).to_rgb(clip=True)) / 255)[0] for one in CATALOGUE
}
"""By label, 0..1, from the colour we declare."""
HUE_TOLERANCE = 10 / 360
"""A fill over grey, rounded twice."""
SCROLL_BAR = slice(200, None)
"""Columns of the CT over some of which OHIF draws where in the series it is; no organ is there."""
GREY = 0.06
"""Saturation times value under which a pixel has no colour."""


@pytest.fixture(scope="module")
def viewer(browser: Browser, viewer_url: str, archive: Archive, study: Study) -> Iterator[Viewer]:
    """A window in which both of our SEGs are read, one after the other."""
    archive.empty()
    archive.put(study.folder)
    with reading(browser, viewer_url, study) as viewer:
        yield viewer


def seen(viewer: Viewer, study: Study, k: int) -> NDArray[np.float64]:
    """Return the colour of the picture at every voxel of slice k, axes (j, i, HSV)."""
    viewer.show(study.images[k])
    geometry = study.ct.volume.geometry
    corner, down, right = (
        np.array(viewer.place(geometry.to_lps((k, *voxel)))) for voxel in ((0, 0), (1, 0), (0, 1))
    )
    js, iis = np.mgrid[: geometry.shape[1], : geometry.shape[2]]
    places = corner + js[..., None] * (down - corner) + iis[..., None] * (right - corner)
    xs, ys = np.rint(places).astype(int).transpose(2, 0, 1)
    picture = viewer.picture(PICTURES / f"slice-{k}.png")
    return rgb_to_hsv(picture[ys, xs] / 255)


def apart(hue: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far hues are apart on their circle, 0..0.5."""
    return np.abs((hue - other + 0.5) % 1 - 0.5)


def test_a_flagged_study_is_told_at_the_first_look(viewer: Viewer) -> None:
    """Nothing is clicked, and nothing is loaded yet."""
    assert viewer.at_first_look(ORGANS_SEG).startswith("CHECK stomach, aorta")
    assert viewer.at_first_look(REVIEW_SEG).startswith("Regions: stomach, aorta")


def test_summary_and_flags_can_be_read(viewer: Viewer, study: Study) -> None:
    rows = viewer.load_seg(ORGANS_SEG)
    assert [row.label for row in rows] == [one.label for one in CATALOGUE[: len(ORGANS)]]
    assert viewer.loaded() == ORGANS_SEG
    viewer.picture(PICTURES / "summary.png")
    said = viewer.tags(ORGANS_SEG, "REVIEW", PICTURES / "flags-and-reasons.png")
    assert said.count("REVIEW: volume-out-of-range, bound-under-target; DSC at least 0.86 with 90 %") == 2
    assert "CLEAR" not in said


def test_every_organ_has_its_colour_and_lies_where_it_is(viewer: Viewer, study: Study) -> None:
    areas = {label: mask.sum(axis=(1, 2)) for label, mask in study.truth.items()}
    slices = {int(area.argmax()) for area in areas.values()}
    coloured = set()
    for k in sorted(slices):
        colours = seen(viewer, study, k)
        named = np.zeros(colours.shape[:2], int)
        for number, mask in enumerate(study.truth.values(), start=1):
            named[mask[k]] = number
        # Next to an edge an outline may be drawn on either side: every other voxel must be right.
        inner = maximum_filter(named, 5) == minimum_filter(named, 5)
        assert not named[:, SCROLL_BAR].any()
        inner[:, SCROLL_BAR] = False
        plain = colours[..., 1] * colours[..., 2] < GREY
        assert inner.mean() > 0.8
        assert (plain == (named == 0))[inner].mean() == pytest.approx(1, abs=0.001)
        numbers = named[inner & (named > 0)]
        off = apart(colours[inner & (named > 0)][:, :1], np.array([HUES[label] for label in study.truth]))
        assert (off.argmin(axis=1) + 1 == numbers).all()  # no other organ's colour is nearer
        assert off.min(axis=1).max() < HUE_TOLERANCE
        coloured |= set(numbers)
    assert coloured == set(range(1, len(study.truth) + 1))


def test_regions_to_check_are_listed_in_their_order(viewer: Viewer) -> None:
    assert [row.label for row in viewer.load_seg(REVIEW_SEG)] == ["Check: Stomach", "Check: Aorta"]


def test_the_page_may_ask_its_own_address_and_nobody_else(viewer: Viewer) -> None:
    refused = viewer.page.evaluate(
        """() => new Promise(resolve => {
            const told = event => resolve([event.effectiveDirective, event.blockedURI]);
            document.addEventListener('securitypolicyviolation', told);
            fetch('https://models.example.org/network.onnx').catch(() => null);
        })"""
    )
    assert refused == ["connect-src", "https://models.example.org/network.onnx"]


def test_one_address_opens_the_seg_at_the_image_with_the_organ_to_be_painted(
    browser: Browser, viewer_url: str, archive: Archive, odd_study: Study
) -> None:
    """What is shown is what was sent, though its frames are no whole bytes: saved, nothing has changed."""
    archive.put(odd_study.folder)
    look = odd_study.look
    with reading(browser, viewer_url, odd_study, look) as linked:
        assert linked.loaded() == ORGANS_SEG
        assert [row.label for row in linked.segments()] == [one.label for one in CATALOGUE[: len(ORGANS)]]
        assert linked.active() == "Stomach"
        linked.picture(PICTURES / "opened-by-its-address.png")
        uid = linked.image_on_show()
        assert uid == look.image_uid
        assert odd_study.truth["Stomach"][odd_study.images.index(uid)].any()
        linked.select("Aorta")
        assert linked.active() == "Aorta"  # the reader's own choice stands
        linked.save()
    sent = {item.sop_instance_uid for item in odd_study.objects}
    held = archive.instances(Modality="SEG", StudyInstanceUID=odd_study.ct.study_uid)
    [saved] = {str(one["SOPInstanceUID"]) for one in held} - sent
    before, after = odd_study.organ_seg.read_bytes(), archive.bytes_of(saved)
    assert changes(masks_of(before, odd_study.images), masks_of(after, odd_study.images)) == {}
