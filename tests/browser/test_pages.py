"""The pages in a real browser: a person signs in by keyboard alone; every page passes axe, light and dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from deploy.stack.local_process import free_port
from deploy.stack.pages import PagesServer
from services.people.local_account import LocalAccount
from tests.browser.conftest import PICTURES
from tests.browser.viewer import CHROMIUM, FLAGS, SIZE

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
"""WCAG 2.2 AA, as far as a program can tell."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run Chromium without a screen, nobody signed in."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def accessible(page: Page, name: str) -> None:
    """Require that axe finds nothing, light and dark, and keep a picture of each."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, f"{name}, {scheme}: {found.generate_report()}"
        page.screenshot(path=PICTURES / f"pages-{name}-{scheme}.png")


def test_the_owner_of_a_machine_signs_in_by_keyboard_and_every_page_is_accessible(
    chromium: Browser, tmp_path
) -> None:
    first = LocalAccount(tmp_path / "people" / "account.json").make()
    asked: set[str] = set()
    with PagesServer(tmp_path / "pages", free_port(0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORGANLOOP_HOME", str(tmp_path))
        url = server.start(tmp_path).url
        page = chromium.new_page(viewport=SIZE)
        page.on("request", lambda request: asked.add(request.url))
        page.goto(url)
        accessible(page, "sign-in")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        accessible(page, "wrong-password")
        page.keyboard.type(first)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Who are you?").wait_for()
        accessible(page, "choose")
        page.keyboard.type("Dr. Weber")
        page.keyboard.press("Tab")
        page.keyboard.type("a long enough one")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Dr. Weber").wait_for()
        assert "Weber" not in page.title()
        assert "Weber" not in page.url
        accessible(page, "you")
        page.get_by_role("button", name="Make a token").press("Enter")
        page.get_by_role("heading", name="Your token").wait_for()
        accessible(page, "token")
        page.goto(f"{url}/nowhere")
        accessible(page, "nowhere")
        page.goto(url)
        page.get_by_role("button", name="Sign out").press("Enter")
        page.get_by_role("heading", name="You are signed out").wait_for()
        accessible(page, "signed-out")
        page.go_back()
        assert page.get_by_role("heading", name="Dr. Weber").count() == 0, "nothing is kept in a cache"
        assert {one for one in asked if not one.startswith(url)} == set()
        page.close()
