"""What was found, on one page of pixels: for a PACS that shows neither SEG nor SR.

Flags, volumes, bounds and reasons of all organs, the worst first; then the pictures of those that are
flagged, with their outlines drawn in.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.findings import Flag, OrganFinding, Presence, StudyFindings
from models.judgement.reasons import Reason
from models.words import header_words
from services.dicom.ct.loaded import CTSeries
from services.dicom.foreign.reader import legible
from services.dicom.results.wording import DEMONSTRATION, floored, organs_description, repair_notice
from services.pictures.organ_views import organ_views
from services.pictures.picture import Drawn, Plane

WIDTH, MARGIN, CELL = 1280, 24, 246
"""Pixels of the page, of what is left free at its sides, and of a picture's place."""

MOST_ORGANS = 9
"""Of so many flagged organs pictures are shown; the page says of how many not."""

BAR_MM = 50
BLACK, WHITE, GREY = (0, 0, 0), (235, 235, 235), (150, 150, 150)
OUTLINE, REGION = (240, 228, 66), (213, 94, 0)
"""Colours that readers with a colour vision deficiency tell apart (Okabe and Ito, 2008)."""

SAID = {
    Flag.REJECT: ("DO NOT USE", REGION),
    Flag.REVIEW: ("PLEASE LOOK", OUTLINE),
    Flag.NOT_JUDGED: ("not judged", GREY),
    Flag.CLEAR: ("nothing against it", WHITE),
}
"""Words and colour of each flag, the worst first."""

COLUMNS = {"Organ": 0, "Flag": 250, "Volume": 440, "DSC with a reader": 570, "Why": 790}
"""Where each column of the table begins, pixels from the margin."""

TEXT, LINE = 18, 27


def summary_page(series: CTSeries, findings: StudyFindings) -> NDArray[np.uint8]:
    """Return the page, axes (row, column, channel), RGB.

    It bears PatientID and StudyDate, so that it is not taken for another patient's; no name.

    Parameters
    ----------
    series
        The CT series.
    findings
        What is said about it.
    """
    page = _Page()
    page.text(organs_description(findings), size=26, bold=True)
    image = series.images[0]
    whose = [
        f"{word} {header_words(legible(image, key)) or 'none'}"
        for word, key in (("ID", "PatientID"), ("CT of", "StudyDate"))
    ]
    page.text(
        "   ".join((*whose, f"release {findings.release}", f"{len(series.images)} images")), colour=GREY
    )
    for notice in filter(
        None, (DEMONSTRATION if findings.demonstration else "", repair_notice(series.verdict))
    ):
        page.text(notice, colour=REGION, bold=True)
    asked = [one for one in findings.organs if one.flag is not None]
    order = list(SAID)
    asked.sort(key=lambda one: order.index(one.flag or Flag.CLEAR))
    _table(page, asked, findings)
    flagged = [one for one in asked if one.flagged]
    _pictures(page, flagged[:MOST_ORGANS], series, findings)
    if len(flagged) > MOST_ORGANS:
        page.text(f"{len(flagged) - MOST_ORGANS} more organs are flagged: the table names them.", bold=True)
    return page.pixels()


class _Page:
    """A page that grows from top to bottom."""

    def __init__(self) -> None:
        self._strips = [Image.new("RGB", (WIDTH, MARGIN))]

    def strip(self, height: int) -> Image.Image:
        """Add a strip over the whole width; return it to be drawn on."""
        self._strips.append(Image.new("RGB", (WIDTH, height)))
        return self._strips[-1]

    def text(
        self, words: str, *, size: int = TEXT, bold: bool = False, colour: tuple[int, int, int] = WHITE
    ) -> None:
        """Add words, broken where they are longer than a line."""
        font = _font(size, bold)
        lines = _broken(words, font, WIDTH - 2 * MARGIN)
        strip = ImageDraw.Draw(self.strip(len(lines) * size * 3 // 2 + 6))
        for n, line in enumerate(lines):
            strip.text((MARGIN, n * size * 3 // 2), line, font=font, fill=colour)

    def pixels(self) -> NDArray[np.uint8]:
        """Return what was drawn, axes (row, column, channel)."""
        return np.vstack([np.asarray(strip) for strip in self._strips])


def _table(page: _Page, asked: Sequence[OrganFinding], findings: StudyFindings) -> None:
    head = ImageDraw.Draw(page.strip(LINE + 16))
    for word, left in COLUMNS.items():
        head.text((MARGIN + left, 12), word, font=_font(TEXT, bold=True), fill=GREY)
    widths = np.diff([*COLUMNS.values(), WIDTH - 2 * MARGIN]) - 12
    for one in asked:
        said, colour = SAID[one.flag or Flag.CLEAR]
        why = " ".join(Reason(reason).sentence for reason in one.reasons)
        cells = (findings.entry(one.organ).label, said, _volume(one), _bound(one), why)
        font = _font(TEXT, bold=False)
        lines = [_broken(cell, font, width) for cell, width in zip(cells, widths.tolist(), strict=True)]
        row = ImageDraw.Draw(page.strip(max(map(len, lines)) * LINE + 4))
        for left, cell in zip(COLUMNS.values(), lines, strict=True):
            for n, line in enumerate(cell):
                row.text((MARGIN + left, n * LINE), line, font=font, fill=colour)


def _volume(finding: OrganFinding) -> str:
    if finding.presence is Presence.ABSENT:
        return "not found"
    return f"{finding.volume_ml:.1f} ml{', cut' if finding.cut_by_field_of_view else ''}"


def _bound(finding: OrganFinding) -> str:
    if finding.dsc_lower_bound is None or finding.confidence is None:
        return "no bound is claimed"
    return f"at least {floored(finding.dsc_lower_bound):.2f} ({100 * finding.confidence:.0f} %)"


def _pictures(
    page: _Page, flagged: Sequence[OrganFinding], series: CTSeries, findings: StudyFindings
) -> None:
    drawn: dict[str, list[Drawn]] = defaultdict(list)
    for view in organ_views(series, findings, [one.organ for one in flagged]):
        drawn[view.picture.organ].append(view)
    for one in flagged:
        page.text(f"{findings.entry(one.organ).label}: {SAID[one.flag or Flag.CLEAR][0]}", bold=True)
        if not drawn[one.organ]:
            page.text(
                "It was not found, and nothing says where it would lie: there is no picture.", colour=GREY
            )
            continue
        strip = page.strip(CELL + LINE)
        for n, view in enumerate(drawn[one.organ]):
            strip.paste(_cell(view), (MARGIN + n * CELL, 0))
    if flagged:
        page.text(
            "yellow: the outline; orange: a place to look at; bar: 5 cm; R: the patient's right", colour=GREY
        )


def _cell(view: Drawn) -> Image.Image:
    """Return a picture in its place, with its lines, bar and caption."""
    picture, side = view.picture, CELL - 8
    scale = side / max(picture.width, picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    found = Image.new("RGB", (CELL, CELL + LINE))
    found.paste(Image.open(io.BytesIO(view.png)).resize(size, Image.Resampling.BILINEAR).convert("RGB"))
    draw = ImageDraw.Draw(found)
    for path, colour in ((picture.outline, OUTLINE), (picture.region, REGION)):
        for points in _lines(path, scale):
            draw.line(points, fill=BLACK, width=4)
            draw.line(points, fill=colour, width=2)
    bar, bottom = BAR_MM / picture.mm_per_pixel * scale, size[1] - 8
    if bar < size[0] - 12:
        draw.line([(6, bottom), (6 + bar, bottom)], fill=BLACK, width=6)
        draw.line([(6, bottom), (6 + bar, bottom)], fill=WHITE, width=2)
    font = _font(14, bold=False)
    if picture.plane is not Plane.SAGITTAL:
        draw.text((4, 2), "R", font=font, fill=WHITE, stroke_width=2, stroke_fill=BLACK)
    number = "" if picture.image_number is None else f", image {picture.image_number}"
    draw.text((0, size[1] + 4), f"{picture.plane}{number}", font=font, fill=GREY)
    return found


def _lines(path: str, scale: float) -> list[list[tuple[float, float]]]:
    """Return the closed lines of a picture's path, at a scale."""
    lines = []
    for part in re.findall(r"M ([^Z]+) Z", path):
        numbers = [float(one) * scale for one in part.replace("L ", "").split()]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        lines.append([*points, points[0]])
    return lines


def _broken(words: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Return lines no longer than the width, unless one word is."""
    lines = [""]
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib brings: the same letters on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
