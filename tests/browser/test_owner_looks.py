"""The model owner's pages in a real browser: they follow what happens, lose nothing typed, and pass axe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from services.records.events.operations import BackupFailed
from tests.browser.test_pages import accessible
from tests.browser.viewer import CHROMIUM, FLAGS, SIZE
from tests.support.learning import Site, open_site
from tests.support.pages import pages_at

PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    opened = open_site(tmp_path_factory.mktemp("owner"))
    for seed in (1, 2, 3):
        opened.correct(seed, "aorta")
    return opened


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with pages_at(site.services.settings.home) as pages, sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        context = browser.new_context(viewport=SIZE, base_url=pages.url)
        name, _, value = pages.cookie.partition("=")
        context.add_cookies([{"name": name, "value": value, "url": pages.url}])
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        failed: list[str] = []
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", lambda said: failed.append(said.text) if said.type == "error" else None)
        yield page
        browser.close()
        assert failed == []


def test_log_and_tonight_follow_what_happens(page: Page, site: Site) -> None:
    records = site.services.records
    page.goto("/model/tonight")
    page.locator('[data-organ-row="aorta"]', has_text="learns").wait_for()
    page.get_by_text("None: every label").wait_for()
    page.locator("#disk", has_text="are free").wait_for()
    page.locator("#nights", has_text="Prefect is not known here").wait_for()
    accessible(page, "tonight")
    page.evaluate("window.same = true")
    records.withdraw(records.corrections()[0].sop_instance_uid, reader="Dr. A", reason="wrong phase")
    page.locator('[data-organ-row="aorta"]', has_text="waits").wait_for()
    page.get_by_text("The next night finds nothing to learn.").wait_for()
    assert page.evaluate("window.same"), "the page was never loaded anew"

    page.goto("/log")
    page.locator("#verified", has_text="all as recorded").wait_for()
    accessible(page, "log")
    page.evaluate("window.same = true")
    page.get_by_role("textbox", name="Study").fill("1.2.3")
    records.record(BackupFailed(why="the disk is full"), who="backup")
    page.get_by_text("Show what has come since").wait_for()
    last = records.head().number
    page.locator("#verified", has_text=f"Verified up to {last}").wait_for()
    assert page.get_by_role("textbox", name="Study").input_value() == "1.2.3", "nothing that is typed is lost"
    assert page.locator(f"#line-{last}").count() == 0, "rows stay where they are"
    page.get_by_text("Show what has come since").click()
    page.locator(f"#line-{last}", has_text="the disk is full").wait_for()
    page.get_by_role("link", name="Evidence packs").click()
    page.get_by_text("nothing was promoted yet").wait_for()
    accessible(page, "packs")
