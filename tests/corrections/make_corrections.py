"""Make ``phantom/`` anew: a phantom's CT, our SEGs of it, and what the real OHIF and dcmqi saved.

    python -m tests.corrections.make_corrections FOLDER

It takes what `make test-viewer` installs (Chromium, Orthanc, nginx, OHIF), dcmqi, and some minutes. It
prints what changed in each file, by segment, counted apart from every reader of ours; the figures in
`tests/integration/test_phantom_corrections.py` are copied from there. What a viewer saved has other UIDs and
another date each time; the voxels of the CT and of what was sent are the same. The files of OHIF 3.12 are
kept as that version saved them: it is not installed any more.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, sync_playwright
from pydicom import dcmread
from scipy.ndimage import center_of_mass

from models.geometry import Geometry
from models.organs import organ
from models.phantom.case import PhantomCase, make_case
from models.volume import Volume
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.dicom.results.write import write_results
from tests.browser.viewer import CHROMIUM, FLAGS, Viewer
from tests.browser.voxels import changes, masks_of
from tests.support.archive import archive_at
from tests.support.dcmqi import slicer_saves
from tests.support.pages import ReadingRoom
from tests.support.result_cases import findings_of

SITE, SEED, SPACING_MM = "A", 6, 5.0
CROP = (slice(23, 36), slice(4, 59), slice(6, 73))
"""Where all five organs are, (k, j, i); a plane is an odd number of voxels, so frames begin within a byte."""
ORGANS = ("spleen", "liver", "stomach", "right_kidney", "left_kidney")
LACKING_MM = 45.0
"""How much of the liver's right-hand end we did not find, on three slices."""
NAME = "Phantom^Größe"
"""OHIF writes it in UTF-8 and names no character set."""
SENT_AT = datetime(2026, 1, 1, 12)


def phantom() -> PhantomCase:
    """Return the phantom, cropped."""
    case = make_case(SITE, SEED, spacing_mm=(SPACING_MM,) * 3)
    grid = case.volume.geometry
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.to_lps(tuple(part.start for part in CROP))
    hu = np.ascontiguousarray(case.volume.hu[CROP])
    truth = {key: np.ascontiguousarray(case.truth[key][CROP]) for key in ORGANS}
    return replace(case, volume=Volume(hu, Geometry(hu.shape, affine)), truth=truth)


def sent_masks(case: PhantomCase) -> dict[str, NDArray[np.bool_]]:
    """Return the truth, but for an end of the liver."""
    masks = {key: mask.copy() for key, mask in case.truth.items()}
    k, i = largest(masks["liver"]), int(np.flatnonzero(masks["liver"].any(axis=(0, 1)))[0])
    masks["liver"][k - 1 : k + 2, :, : i + round(LACKING_MM / SPACING_MM)] = False
    return masks


def overlapping_masks(case: PhantomCase) -> dict[str, NDArray[np.bool_]]:
    """Return what was sent, but for three organs that reach into their neighbours, as a network's may."""
    masks = sent_masks(case)
    for key, voxels, axis in (("stomach", -4, 2), ("spleen", -5, 2), ("right_kidney", -3, 1)):
        masks[key] |= np.roll(masks[key], voxels, axis)
    return masks


def largest(mask: NDArray[np.bool_]) -> int:
    """Return the slice on which an organ is largest, but no end of the series."""
    return int(mask[1:-1].sum(axis=(1, 2)).argmax()) + 1


def write_sent(case: PhantomCase, folder: Path) -> CTSeries:
    """Write ``ct/``, ``sent.dcm`` and ``sent-overlapping.dcm``; return the series as read."""
    for path in write_phantom_series(case, folder / "ct"):
        image = dcmread(path)
        image.PatientName = NAME
        image.save_as(path)
    [reading] = read_series(folder / "ct")
    ct = load(reading)
    for name, masks in (("sent", sent_masks(case)), ("sent-overlapping", overlapping_masks(case))):
        organ_seg, *_ = write_results(ct, findings_of(ct, masks, flagged=()), written_at=SENT_AT)
        (folder / f"{name}.dcm").write_bytes(organ_seg.content)
    return ct


class Reader:
    """A reader of the phantom: what is painted where."""

    def __init__(self, case: PhantomCase, ct: CTSeries) -> None:
        self.truth, self.sent, self.ct = case.truth, sent_masks(case), ct
        self.images = [str(image.SOPInstanceUID) for image in ct.images]

    def middle(self, key: str, k: int) -> NDArray[np.float64]:
        """Return the middle of an organ on slice k, LPS mm."""
        return np.array(self.ct.volume.geometry.to_lps((k, *center_of_mass(self.truth[key][k]))))

    def paint(self, viewer: Viewer, label: str, tool: str, k: int, radius_mm: float, *points: object) -> None:
        viewer.select(label)
        viewer.show(self.images[k])
        viewer.tool(tool, radius_mm)
        viewer.stroke(*points)  # type: ignore[arg-type]

    def painted(self, viewer: Viewer) -> None:
        """Paint the liver's missing end on two slices, and by mistake the left kidney's rim."""
        k = largest(self.truth["liver"])
        lacking = self.truth["liver"] & ~self.sent["liver"]
        for n in (k, k + 1):
            js, iis = np.nonzero(lacking[n])
            geometry = self.ct.volume.geometry
            ends = [np.array(geometry.to_lps((n, j, iis.mean()))) for j in (js.min() + 2, js.max() - 2)]
            self.paint(viewer, "Liver", "Brush", n, 14, *ends)
        n = largest(self.truth["left_kidney"])
        rim = np.add(self.middle("left_kidney", n), (22, 0, 0))
        self.paint(viewer, "Liver", "Brush", n, 12, rim, np.add(rim, (0, 12, 0)))

    def erased(self, viewer: Viewer) -> None:
        """Paint the stomach into the liver, and erase from the spleen."""
        k = largest(self.truth["stomach"])
        stomach, liver = self.middle("stomach", k), self.middle("liver", k)
        self.paint(viewer, "Stomach", "Brush", k, 12, stomach, (stomach + liver) / 2)
        k = largest(self.truth["spleen"])
        spleen = self.middle("spleen", k)
        self.paint(viewer, "Spleen", "Eraser", k, 10, spleen, np.add(spleen, (0, 25, 0)))


def saved(
    browser: Browser, room: ReadingRoom, sent: Path, reader: Reader, act: Callable[[Viewer], None]
) -> bytes:
    """Open the study in a new window, load our SEG, act, save; return the file as OHIF stored it."""
    archive = room.archive
    archive.empty()
    archive.put(sent.parent / "ct", sent)
    [ours] = archive.instances(Modality="SEG")
    [series] = archive.instances("Series", Modality="SEG")
    name, _, value = room.cookie.partition("=")
    context = browser.new_context()
    context.add_cookies([{"name": name, "value": value, "url": room.pages_url}])
    viewer = Viewer(context.new_page(), room.viewer_url)
    viewer.open_study(reader.ct.study_uid)
    viewer.load_seg(series["SeriesDescription"])
    act(viewer)
    viewer.save()
    context.close()
    [uid] = {one["SOPInstanceUID"] for one in archive.instances(Modality="SEG")} - {ours["SOPInstanceUID"]}
    return archive.bytes_of(uid)


def slicer_edited(case: PhantomCase) -> dict[str, NDArray[np.bool_]]:
    """Return what a reader leaves in 3D Slicer, by label: the stomach a row thicker and a slice shorter."""
    masks = sent_masks(case)
    stomach = masks["stomach"]
    others = np.logical_or.reduce([mask for key, mask in masks.items() if key != "stomach"])
    grown = stomach | np.roll(stomach, -1, axis=1) & ~others
    grown[np.flatnonzero(stomach.any(axis=(1, 2)))[-1]] = False
    masks["stomach"] = grown
    return {organ(key).label: masks[key] for key in reversed(ORGANS)}


def make(folder: Path) -> None:
    case = phantom()
    ct = write_sent(case, folder)
    reader = Reader(case, ct)
    acts = {
        "painted-in-ohif-3-13": ("sent", reader.painted),
        "layers-in-ohif-3-13": ("sent-overlapping", reader.erased),
    }
    with tempfile.TemporaryDirectory() as home, archive_at(Path(home) / "archive") as archive:
        with ReadingRoom(archive, Path(home) / "room").opened() as room, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
            for name, (sent, act) in acts.items():
                content = saved(browser, room, folder / f"{sent}.dcm", reader, act)
                (folder / f"{name}.dcm").write_bytes(content)
                print(f"{name}: saved", file=sys.stderr, flush=True)
            browser.close()
        work = Path(home) / "slicer"
        work.mkdir()
        by_dcmqi = slicer_saves(
            folder / "sent.dcm", folder / "ct", ct.volume.geometry, slicer_edited(case), work,
            SegmentAlgorithmType="MANUAL",
        )  # fmt: skip
        (folder / "saved-by-dcmqi.dcm").write_bytes(by_dcmqi.read_bytes())
    for name, sent in {**{name: sent for name, (sent, _) in acts.items()}, "saved-by-dcmqi": "sent"}.items():
        before, after = (
            masks_of((folder / f"{one}.dcm").read_bytes(), reader.images) for one in (sent, name)
        )
        print(name, changes(before, after))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(str(__doc__))
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    make(target)
