"""A reading room: a study with what we say about it in a real archive, and a real viewer on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as NothingShown

from deploy.stack.local_process import NotInstalled
from deploy.stack.viewer import installed, study_path
from flows.arrivals.archived_study import note_segmented
from flows.segmentation.first_look import FirstLook, first_look
from models.geometry import Geometry
from models.organs import organ
from models.phantom.case import PhantomCase, make_case
from models.volume import Volume
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.dicom.results.write import ResultObject, write_results
from services.pacs.folder import FolderPacs
from tests.browser.viewer import CHROMIUM, FLAGS, Viewer
from tests.conftest import ROOT
from tests.support.archive import Archive
from tests.support.arrivals import Hospital, open_hospital
from tests.support.learning import Site, open_site
from tests.support.pages import PASSWORD, ReadingRoom
from tests.support.result_cases import findings_of
from tests.support.returned_segs import put_on_record

FLAGGED = ("stomach", "aorta")
ORGANS_SEG = "CHECK stomach, aorta; DEMO NOT FOR CLINICAL USE; r2"
REVIEW_SEG = "Regions: stomach, aorta; DEMO NOT FOR CLINICAL USE; r2"
STUDIES = 20
"""Of a worklist; the last is this one."""
RESULT = f"{STUDIES:064x}"
"""Its key."""

PICTURES = ROOT / "build" / "browser"


@dataclass(frozen=True)
class Study:
    """A phantom, and what was sent about it: its true organs, two of them flagged.

    Parameters
    ----------
    folder
        Holds ``ct/`` and ``results/``.
    ct
        The series as read.
    objects
        The results, proven.
    truth
        Mask of each organ by its label, axes (k, j, i).
    look
        Where a reader is to look first.
    """

    folder: Path
    ct: CTSeries
    objects: Sequence[ResultObject]
    truth: Mapping[str, NDArray[np.bool_]]
    look: FirstLook

    @property
    def images(self) -> list[str]:
        """SOP Instance UIDs in order of k."""
        return [str(image.SOPInstanceUID) for image in self.ct.images]

    @property
    def organ_seg(self) -> Path:
        return self.folder / "results" / "organ-seg.dcm"


@pytest.fixture(scope="package")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Write a phantom and its results."""
    return written(make_case("A", 4), tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="package")
def odd_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Write a phantom of odd rows and columns: frames of its SEG begin within a byte."""
    case = make_case("A", 5)
    _, rows, columns = case.volume.geometry.shape
    odd = (slice(None), slice(rows - 1 + rows % 2), slice(columns - 1 + columns % 2))
    hu = np.ascontiguousarray(case.volume.hu[odd])
    volume = Volume(hu, Geometry(hu.shape, case.volume.geometry.affine))
    truth = {key: np.ascontiguousarray(mask[odd]) for key, mask in case.truth.items()}
    return written(replace(case, volume=volume, truth=truth), tmp_path_factory.mktemp("odd"))


def written(case: PhantomCase, folder: Path) -> Study:
    """Write a phantom and its results into a folder."""
    write_phantom_series(case, folder / "ct")
    [reading] = read_series(folder / "ct")
    ct = load(reading)
    findings = findings_of(ct, dict(case.truth), flagged=FLAGGED, demonstration=True)
    objects = write_results(ct, findings, written_at=datetime(2026, 1, 1, 12))
    FolderPacs(folder / "results").store(objects)
    look = first_look(ct, findings, objects[0].series_uid)
    assert look is not None
    return Study(folder, ct, objects, {organ(key).label: mask for key, mask in case.truth.items()}, look)


@pytest.fixture(scope="package")
def room(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingRoom]:
    try:
        installed()
    except NotInstalled as error:
        pytest.skip(str(error))
    with ReadingRoom(archive, tmp_path_factory.mktemp("room")).opened() as room:
        yield room


@pytest.fixture(scope="package")
def viewer_url(room: ReadingRoom) -> str:
    return room.viewer_url


@pytest.fixture(scope="package")
def browser(room: ReadingRoom) -> Iterator[Browser]:
    """Run Chromium without a screen, a reader signed in; only these tests live beside its event loop.

    The viewer's address is opened, as anybody would; that leads to the sign-in, and back.
    """
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_context().new_page()
        page.goto(f"{room.viewer_url}/")
        assert page.url.startswith(f"{room.pages_url}/sign-in")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{room.viewer_url}/**")
        page.close()
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return open_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def hospital(site: Site, study: Study, clean_archive: Archive, tmp_path: Path) -> Hospital:
    """A hospital to which the study was pushed, and which holds what was found on it.

    The organs are the phantom's own, in place of a network's; recorded, stored and noted as by `segment`.
    """
    hospital = open_hospital(site, clean_archive, study.folder / "ct", tmp_path, waits=False)
    hospital.push()
    services, [organ_seg, *_] = hospital.services, study.objects
    put_on_record(
        services.records,
        study.organ_seg,
        hospital.ct,
        key=RESULT,
        release=2,
        **{item.kind: item.sop_instance_uid for item in study.objects if item is not organ_seg},
    )
    assert services.archive is not None
    services.archive.store(study.objects)
    pushed = services.archive.study(study.ct.study_uid)
    assert pushed is not None
    note_segmented(pushed, services.cases, services.records)
    return hospital


WINDOWS = 3
"""In which a study is opened at most, one after the other."""


def _opened(browser: Browser, url: str, path: str, asked: set[str]) -> Page:
    """Return a window that shows the study of an address.

    After minutes without a window Chromium now and then draws nothing in the next one, whatever it shows; a
    reader would open it anew, and so it is done here, some times.
    """
    for window in range(1, WINDOWS + 1):
        page = browser.contexts[0].new_page()
        page.on("request", lambda request: asked.add(request.url))
        try:
            Viewer(page, url).follow(path)
        except NothingShown:
            page.close()
            if window == WINDOWS:
                raise
            continue
        return page
    raise AssertionError("no window was tried")


@contextmanager
def reading(browser: Browser, url: str, study: Study, look: FirstLook | None = None) -> Iterator[Viewer]:
    """Open the study, which the archive holds, in a window of its own, signed in as the fixtures' reader.

    Alone, or with our SEG at the place where to look first.
    """
    asked: set[str] = set()
    page = _opened(browser, url, study_path(study.ct.study_uid, look), asked)
    try:
        yield Viewer(page, url)
        assert [one for one in sorted(asked) if not one.startswith((url, "blob:", "data:"))] == []
    finally:
        page.close()
