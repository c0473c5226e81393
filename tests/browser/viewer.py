"""OHIF in a real browser, as a reader uses it: a study is opened, a SEG loaded, painted on and saved."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.image import imread
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, Response, TimeoutError

from tests.support.waiting import until

CHROMIUM = Path("/usr/bin/chromium")
# Without a graphics card: WebGL in software. The rest keeps the browser from asking the Internet.
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
SIZE = {"width": 1280, "height": 800}
PATIENCE_MS = 150_000
OPEN_MS = 75_000
SETTLE_MS = 300
"""For what the viewer does after an answer and gives no sign of."""

NEVER_SEARCHED = "SpecificCharacterSet"
"""A tag of every object, which stands first until the list is searched for something else."""

Point = Sequence[float]
"""A place in LPS millimetres."""


@dataclass(frozen=True)
class Row:
    """One line of the list of segments: its name and the colour of its dot, RGB 0..255."""

    label: str
    colour: tuple[int, int, int]


class Viewer:
    """One window of the viewer.

    Parameters
    ----------
    page
        The browser's page.
    url
        Where the viewer is served.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url
        page.set_viewport_size(SIZE)  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE_MS)

    def open_study(self, study_uid: str) -> list[str]:
        """Open a study in the editor; return what its series are called."""
        return self.follow(f"/segmentation?StudyInstanceUIDs={study_uid}")

    def follow(self, path: str) -> list[str]:
        """Open an address of a study in the editor; return what its series are called."""
        self.page.goto(f"{self._url}{path}")
        self.shown()
        return [label.inner_text() for label in self._series_labels().all()]

    def shown(self) -> None:
        """Wait until an image is drawn; raises Playwright's TimeoutError if none is."""
        self.page.wait_for_function(
            "() => window.cornerstone?.getEnabledElements()[0]?.viewport.getImageData()", timeout=OPEN_MS
        )

    def load_seg(self, description: str) -> list[Row]:
        """Load a SEG by its series' name; return the list of segments."""
        self._series_labels().get_by_text(description, exact=True).dblclick()
        self._selector(description).wait_for()
        return self.segments()

    def segments(self) -> list[Row]:
        """Return the list of segments, top down, once it is there."""
        self._rows().first.wait_for()
        return [Row(row.inner_text().split("\n")[-1], _rgb(row)) for row in self._rows().all()]

    def tags(self, description: str, search: str, picture: Path | None = None) -> str:
        """Return what the tag browser shows of a series for a search, and keep it as a PNG.

        Raises
        ------
        AssertionError
            If nothing is found: the list is searched some time after the word is typed.
        """
        thumbnail = self.page.locator('[data-cy^="study-browser-thumbnail"]', has_text=description)
        thumbnail.hover()
        thumbnail.locator('[aria-haspopup="menu"]').click()
        self.page.get_by_role("menuitem", name="Tag Browser").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_placeholder("Search").fill(search)

        def searched() -> str:
            shown = str(dialog.inner_text())
            return shown if search in shown and NEVER_SEARCHED not in shown else ""

        text = until(searched, lambda: f"no tag holds {search!r} alone: {dialog.inner_text()}")
        dialog.evaluate(
            "shown => Promise.all(shown.getAnimations({ subtree: true }).map(one => one.finished))"
        )
        self.picture(picture)
        self.page.keyboard.press("Escape")
        return text

    def at_first_look(self, description: str) -> str:
        """Return as much of a series' name as the list of series shows: the rest is cut off."""
        return str(
            self._series_labels()
            .get_by_text(description, exact=True)
            .evaluate(
                """label => {
                    const text = label.innerText;
                    const canvas = document.createElement('canvas').getContext('2d');
                    canvas.font = getComputedStyle(label).font;
                    const fits = (shown, mark) => canvas.measureText(shown + mark).width <= label.clientWidth;
                    if (fits(text, '')) return text;
                    let end = text.length;
                    while (!fits(text.slice(0, end), '…')) end--;
                    return text.slice(0, end);
                }"""
            )
        )

    def loaded(self) -> str:
        """Return the name of the SEG whose segments are listed."""
        return self.page.locator('[data-cy="segmentation-select-value-Labelmap"]').inner_text()

    def active(self) -> str:
        """Return the label of the segment that is painted."""
        return str(
            self.page.evaluate(
                """() => {
                    const viewport = cornerstone.getEnabledElements()[0].viewport.id;
                    const { segmentationService } = services;
                    return segmentationService.getActiveSegment(viewport).label;
                }"""
            )
        )

    def counts_no_volumes(self) -> bool:
        """Whether the viewer leaves out the count that puts an older list of segments back."""
        named = "panelSegmentation.disableUpdateSegmentationStats"
        return bool(self.page.evaluate(f"services.customizationService.getCustomization('{named}')"))

    def image_on_show(self) -> str:
        """Return the SOP Instance UID of the image that is shown."""
        image = self.page.evaluate("() => cornerstone.getEnabledElements()[0].viewport.getCurrentImageId()")
        return str(image).partition("/instances/")[2].partition("/")[0]

    def show(self, sop_instance_uid: str) -> None:
        """Scroll to an image of the series on show."""
        self.page.mouse.move(1, 1)  # a brush over the image would be in the picture
        self.page.evaluate(
            """async uid => {
                const viewport = cornerstone.getEnabledElements()[0].viewport;
                const index = viewport.getImageIds().findIndex(id => id.includes(`/instances/${uid}/`));
                if (index < 0) throw new Error(`no image ${uid}`);
                await viewport.setImageIdIndex(index);
                viewport.render();
                for (let n = 0; n < 3; n++) await new Promise(requestAnimationFrame);
            }""",
            sop_instance_uid,
        )

    def place(self, lps: Point) -> tuple[float, float]:
        """Return where a place on the image on show lies on the page, pixels (x, y)."""
        x, y = self.page.evaluate(
            """lps => {
                const viewport = cornerstone.getEnabledElements()[0].viewport;
                const box = viewport.canvas.getBoundingClientRect(), [x, y] = viewport.worldToCanvas(lps);
                return [box.left + x, box.top + y];
            }""",
            list(map(float, lps)),
        )
        return float(x), float(y)

    def picture(self, path: Path | None = None) -> NDArray[np.uint8]:
        """Return the page as seen, axes (y, x, RGB); keep it as a PNG."""
        png = self.page.screenshot(path=path)
        return np.rint(255 * imread(io.BytesIO(png))[..., :3]).astype(np.uint8)

    def select(self, label: str) -> None:
        """Make a segment the one that is painted; the viewer jumps to its middle.

        A click that chose nothing, or another, is made once more.
        """

        def chosen() -> bool:
            self._row(label).get_by_text(label, exact=True).click()
            self.page.wait_for_timeout(SETTLE_MS)
            return self.active() == label

        until(chosen, lambda: f"{label} is not painted but {self.active()}")

    def tool(self, name: str, radius_mm: float) -> None:
        """Take up ``Brush`` or ``Eraser``, round, of a radius in millimetres."""
        self.page.locator(f'[data-cy="{name}-btn"]').click()
        box = self.page.locator(f'[data-cy="{name.lower()}-radius"] input[type="number"]')
        box.fill(f"{radius_mm:g}")
        box.press("Enter")

    def stroke(self, *points: Point) -> None:
        """Draw with the tool in hand along places of the image on show."""
        first, *rest = [self.place(point) for point in points]
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for place in rest or [first]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()
        self.page.wait_for_timeout(SETTLE_MS)

    def add_segment(self, label: str) -> None:
        """Add a segment and give it a name; it is then the one that is painted."""
        count = self._rows().count()
        self.page.get_by_role("button", name="Add Segment").click()
        added = self._rows().nth(count)
        self._choose(added, "Rename")
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("textbox").fill(label)
        dialog.get_by_role("button", name="Save").click()
        self._row(label).wait_for()

    def delete_segment(self, label: str) -> None:
        """Delete a segment."""
        self._choose(self._row(label), "Delete")
        self._row(label).wait_for(state="detached")

    def save(self, name: str | None = None) -> None:
        """Store the segmentation in the archive: as the dialog proposes, or as a new series of a name."""
        dialog = self._export()
        if name is not None:
            dialog.get_by_role("combobox").click()
            self.page.get_by_role("option", name="Create new series").click()
            dialog.get_by_role("textbox").fill(name)
        with self.page.expect_response(_is_store) as stored:
            dialog.get_by_role("button", name="Save", exact=True).click()
        assert stored.value.status == 200, stored.value.text()

    def _export(self) -> Locator:
        """Choose what to save; return the dialog. A menu that closes itself meanwhile is opened once more."""
        dialog = self.page.get_by_role("dialog")
        for last in (False, False, True):
            self.page.locator('[data-cy="segmentation-collapsed-more-btn-Labelmap"]').click()
            try:
                self.page.get_by_role("menuitem", name="Export").click(timeout=PATIENCE_MS / 10)
                self.page.get_by_role("menuitem", name="DICOM SEG").click(timeout=PATIENCE_MS / 10)
                dialog.wait_for(timeout=PATIENCE_MS if last else PATIENCE_MS / 5)
                return dialog
            except TimeoutError:
                if last:
                    raise
                self.page.keyboard.press("Escape")
                self.page.keyboard.press("Escape")
        raise AssertionError("nothing was chosen")

    def _choose(self, row: Locator, action: str) -> None:
        """Choose from a row's menu, which closes itself when the list is drawn anew: then once more."""
        item = self.page.get_by_role("menuitem", name=action)
        for last in (False, False, True):
            row.hover()
            row.locator('[data-cy="actionsMenuTrigger"]').click()
            try:
                item.click(timeout=PATIENCE_MS / 10)
                return
            except TimeoutError:
                if last:
                    raise
                self.page.keyboard.press("Escape")

    def _series_labels(self) -> Locator:
        return self.page.locator('[data-cy="series-description-label"]')

    def _selector(self, description: str) -> Locator:
        return self.page.get_by_role("combobox").get_by_text(description, exact=True)

    def _rows(self) -> Locator:
        return self.page.locator('[data-cy="data-row"]')

    def _row(self, label: str) -> Locator:
        return self._rows().filter(has=self.page.get_by_text(label, exact=True))


def _is_store(answer: Response) -> bool:
    return answer.request.method == "POST" and "/dicom-web/studies" in answer.url


def _rgb(row: Locator) -> tuple[int, int, int]:
    style = row.locator('span[style*="background-color"]').get_attribute("style") or ""
    red, green, blue = (int(part) for part in re.findall(r"\d+", style))
    return red, green, blue
