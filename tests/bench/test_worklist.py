"""How long the worklist takes with ten thousand studies, beside a hundred and beside the viewer's list."""

from __future__ import annotations

import io
import re
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from starlette.testclient import TestClient

from deploy.pages.application import application
from deploy.stack.local_process import NotInstalled
from deploy.stack.viewer import installed
from models.people import Person
from models.phantom.case import make_case
from services.dicom.ct.phantom_series import phantom_images
from services.records.store import open_records
from services.settings import Settings
from tests.browser.viewer import CHROMIUM, FLAGS, SIZE
from tests.conftest import ROOT
from tests.support.archive import Archive
from tests.support.learning import SPACING
from tests.support.listed import WEBER, listed, put_on_list, said
from tests.support.pages import PASSWORD, ReadingRoom

HERE = "http://127.0.0.1:8500"
FEW, MANY, ROUNDS, VISITS = 100, 10_000, 20, 5
ORGANS = tuple(said(one) for one in ("spleen", "liver", "aorta", "right_kidney", "left_kidney", "pancreas"))
ADDRESSES = {
    "first rows": "/worklist",
    "of the organ of one study": "/worklist?organ=gallbladder",
    "a study": f"/studies/{1:016x}",
}
WATCH = """(() => {
    const row = 'tr[data-study], tbody tr[aria-selected]';
    const at = { rows: () => document.querySelector(row),
                 names: () => document.querySelector(row)?.textContent.includes('Patient') };
    window.seen = {};
    new MutationObserver(() => {
        for (const [what, there] of Object.entries(at)) {
            if (what in seen || !there()) continue;
            seen[what] = null;
            requestAnimationFrame(now => { seen[what] = now; });
        }
    }).observe(document, { childList: true, subtree: true });
})()"""
"""Notes when the first row, and a patient's name in it, are drawn: milliseconds since the page was asked."""


class AsIs:
    def person(self, request: object) -> Person:
        return WEBER


def milliseconds(browser: TestClient, address: str) -> float:
    """Return the median time of an answer."""
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        answer = browser.get(address, headers={"accept": "text/html"})
        taken.append(1000 * (time.perf_counter() - begin))
        assert answer.status_code == 200
    return statistics.median(taken)


@dataclass(frozen=True)
class Long:
    """A home with many studies that wait, and how long the pages took meanwhile, by how many waited."""

    home: Path
    taken: dict[int, dict[str, float]]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Long:
    settings = Settings(home=tmp_path_factory.mktemp("long"))
    shutil.copytree(ROOT / "models" / "starter", settings.release_store)
    records = open_records(settings.records_url)
    app = application(settings, HERE)
    app.state.way = AsIs()
    flagged = said("stomach", "review", "fragmented")
    rare = said("gallbladder", "review", "not-adjacent")
    taken: dict[int, dict[str, float]] = {}
    with TestClient(app, base_url=HERE) as browser:
        for number in range(1, MANY + 1):
            organs = (*ORGANS, flagged, rare) if number == FEW // 2 else (*ORGANS, flagged)
            put_on_list(records, listed(number, doubt_ml=number % 37.0), organs)
            if number in (FEW, MANY):
                taken[number] = {name: milliseconds(browser, one) for name, one in ADDRESSES.items()}
        rows = browser.get("/worklist", headers={"accept": "text/html"}).text
    records.close()
    assert len(re.findall(r'<tr id="', rows)) == 50
    return Long(settings.home, taken)


def test_the_worklist_does_not_grow_slower_with_its_length(long: Long) -> None:
    for name in ADDRESSES:
        print(
            f"\n{name}: {long.taken[FEW][name]:.0f} ms of {FEW}, {long.taken[MANY][name]:.0f} ms of {MANY}",
            end="",
        )
    assert long.taken[MANY]["first rows"] < 300


@pytest.fixture(scope="module")
def room(long: Long, archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingRoom]:
    """Pages and viewer of the home, and an archive with as many studies, of one small image each."""
    try:
        installed()
    except NotInstalled as error:
        pytest.skip(str(error))
    begin = time.perf_counter()
    image = next(phantom_images(make_case("B", 1, spacing_mm=SPACING)))
    image.Rows = image.Columns = 8
    image.PixelData = bytes(2 * image.Rows * image.Columns)
    for number in range(1, MANY + 1):
        image.StudyInstanceUID, image.SeriesInstanceUID = f"1.2.{number}", f"1.3.{number}"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.3.{number}.1"
        image.PatientID, image.PatientName = f"P-{number}", f"Patient^{number}"
        written = io.BytesIO()
        image.save_as(written, enforce_file_format=True)
        archive.put(written.getvalue())
    print(f"\n{MANY} studies stored in {time.perf_counter() - begin:.0f} s", end="")
    room = ReadingRoom(archive, tmp_path_factory.mktemp("room"))
    with room.opened(), room.records_of(long.home):
        yield room


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def visits(context: BrowserContext, address: str) -> tuple[dict[str, float], dict[str, float], str]:
    """Open a list in a browser that has not seen it, and again; return both times and what it says."""
    page = context.new_page()
    page.add_init_script(WATCH)
    taken = []
    for _ in range(2):
        page.goto("about:blank")
        page.goto(address)
        page.wait_for_function("() => seen.rows && seen.names")
        taken.append(page.evaluate("() => seen"))
    return taken[0], taken[1], page.inner_text("body")


def reached(context: BrowserContext, url: str) -> int:
    """Return how many studies our list leads to, from its first rows to its last."""
    found: set[str] = set()
    address = "/worklist"
    while address:
        told = context.request.get(f"{url}{address}", headers={"accept": "text/html"}).text()
        found.update(re.findall(r'data-study="([0-9a-f]+)"', told))
        below = re.search(r'href="([^"]+)">Rows below', told)
        address = below[1].replace("&amp;", "&") if below else ""
    return len(found)


@pytest.mark.timeout(1800)
def test_first_rows_are_shown_sooner_than_by_the_viewers_own_list(
    room: ReadingRoom, browser: Browser
) -> None:
    context = browser.new_context(viewport=SIZE)
    page = context.new_page()
    page.goto(f"{room.viewer_url}/")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{room.viewer_url}/**")
    signed_in = context.storage_state()
    ours = reached(context, room.pages_url)
    context.close()
    lists = {"ours": f"{room.pages_url}/worklist", "OHIF's": f"{room.viewer_url}/"}
    taken: dict[tuple[str, str], list[dict[str, float]]] = {}
    theirs = 0
    for _ in range(VISITS):  # in turns, so that what else runs hits both
        for name, address in lists.items():
            fresh = browser.new_context(viewport=SIZE, storage_state=signed_in)
            first, again, says = visits(fresh, address)
            fresh.close()
            taken.setdefault((name, "first visit"), []).append(first)
            taken.setdefault((name, "again"), []).append(again)
            if name != "ours":
                theirs = int(re.search(r"1-\d+ of (\d+)", says)[1])
    for (name, visit), those in taken.items():
        rows, names = (statistics.median(one[what] for one in those) for what in ("rows", "names"))
        print(f"\n{name}, {visit}: rows after {rows:.0f} ms, names after {names:.0f} ms", end="")
    asked = taken["ours", "first visit"][0]["names"]
    print(f"\nours, before the pages knew the names: names after {asked:.0f} ms", end="")
    print(f"\nstudies that can be reached, of {MANY}: ours {ours}, OHIF's {theirs}", end="")
    assert (ours, theirs) == (MANY, 101)
