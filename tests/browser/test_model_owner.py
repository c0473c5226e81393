"""The model owner's pages in a real browser: why a candidate was refused, decline, promote, and go back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from deploy.stack.local_process import free_port
from deploy.stack.pages import PagesServer
from flows.promotion.asked import AskedActs, is_asked
from flows.promotion.promote import promote
from models.corrections.ledger import OrganLedger, OrganState
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.corrections import Correction
from services.records.entries.releases import ReleaseState
from services.records.events.serving import IncumbentChanged, ReleaseStateChanged
from services.wiring import Services
from tests.browser.test_pages import accessible, chromium
from tests.browser.viewer import SIZE
from tests.support.promotion import (
    add_candidate,
    copy_of,
    gate_document,
    gated_site,
    record_candidate,
    small_canary,
)

__all__ = ["chromium"]

SAVED = SopUid("1.2.9")


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """A site whose release 2 passed the gate, whose release 3 did not, and whose 4 learnt from Dr. Weber."""
    services = copy_of(gated_site(tmp_path / "gated", 12), tmp_path / "home")
    shutil.rmtree(tmp_path / "gated")
    add_candidate(services, 3, {"liver": 1, "spleen": 5})
    gate_document(3, services)
    edited = OrganLedger("spleen", OrganState.EDITED, 7, 0, 0, 0.2, 0.0, 0.5)
    uids = SAVED, SopUid("1.4.9"), StudyUid("1.5.9"), SeriesUid("1.6.9")
    kept = services.records.record_correction(
        Correction(*uids, 1, "correction", "Dr. Weber", "OHIF", (edited,), content="c" * 64)
    )
    second = services.releases.release(2)
    fourth = replace(second, number=4, corrections=(kept.name,))
    services.releases.publish(fourth)
    record_candidate(services, fourth, ("spleen",))
    gate_document(4, services)
    return services


@contextmanager
def worker(services: Services) -> Iterator[None]:
    """Do what is asked for, as a worker that watches does."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.2):
            if is_asked(services.records):
                AskedActs(services).do()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def as_person(chromium: Browser, name: str, groups: str) -> Page:
    """Return a page of somebody whom the hospital's proxy has signed in."""
    headers = {"Remote-User": name.casefold(), "Remote-Name": name, "Remote-Groups": groups}
    return chromium.new_context(viewport=SIZE, extra_http_headers=headers).new_page()


def test_an_owner_declines_promotes_and_goes_back_and_who_corrected_does_not(
    chromium: Browser, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.promotion.asked.promote", partial(promote, canary=small_canary))
    monkeypatch.setenv("ORGANLOOP_HOME", str(services.settings.home))
    monkeypatch.setenv("ORGANLOOP_TRUSTED_PROXIES", "127.0.0.1")
    monkeypatch.setenv("ORGANLOOP_APPROVER_GROUPS", "owners")
    monkeypatch.setenv("ORGANLOOP_READER_GROUPS", "readers")
    with PagesServer(tmp_path / "pages", free_port(0)) as server, worker(services):
        url = server.start(services.settings.home).url
        ito, weber = (
            as_person(chromium, "Dr. Ito", "owners"),
            as_person(chromium, "Dr. Weber", "owners,readers"),
        )
        errors: list[str] = []
        for page in (ito, weber):
            page.on("pageerror", lambda error: errors.append(str(error)))

        ito.goto(f"{url}/model")
        ito.get_by_role("heading", name="Release 1 serves").wait_for()
        accessible(ito, "model")
        ito.get_by_role("link", name="Releases").first.click()
        accessible(ito, "releases")
        ito.get_by_role("link", name="Model", exact=True).click()
        ito.get_by_role("link", name="Release 3").click()
        ito.get_by_role("heading", name="Release 3: refused by the gate").wait_for()
        ito.get_by_role("cell", name="worse-than-incumbent", exact=True).wait_for()
        accessible(ito, "candidate")
        ito.get_by_role("link", name="Decline…").click()
        accessible(ito, "decline")
        ito.keyboard.type("it loses spleens")
        ito.keyboard.press("Enter")
        ito.get_by_role("heading", name="Release 3: declined").wait_for()

        weber.goto(f"{url}/model/candidates/4")
        weber.get_by_text("corrected 1 of the 1 studies").wait_for()
        assert weber.get_by_role("link", name="Promote…").count() == 0
        assert weber.get_by_role("link", name="Decline…").count() == 0

        pages = (ito, weber)
        for page in pages:
            page.goto(f"{url}/model/candidates/2/promote")
        accessible(weber, "promote")
        for page in pages:
            page.locator("#reason").fill("better spleens at site B")
        ito.get_by_role("button", name="Promote release 2").click()
        weber.get_by_role("button", name="Promote release 2").click()
        weber.get_by_role("heading", name="This was refused").wait_for()
        ito.get_by_text("it was done. Then: release 2 serves, in place of release 1").wait_for()
        ito.get_by_role("heading", name="Release 2: serves").wait_for()
        accessible(ito, "promoted")

        ito.get_by_role("link", name="Roll back…").click()
        accessible(ito, "roll-back")
        ito.locator("#reason").fill("it misses spleens at site A")
        ito.get_by_role("button", name="Roll back").click()
        ito.get_by_text("it was done. Then: release 1 serves again").wait_for()
        assert errors == []
    changes = services.records.all(IncumbentChanged)
    assert [(one.said.after, one.who) for one in changes] == [(1, "IT"), (2, "Dr. Ito"), (1, "Dr. Ito")]
    declined = services.records.last(ReleaseStateChanged, release=3, state=ReleaseState.DECLINED)
    assert declined is not None
    acts = (*changes[1:], declined)
    assert {(one.proof.subject, one.proof.issuer) for one in acts if one.proof} == {("dr. ito", "proxy")}
    assert all(one.proof for one in acts)
