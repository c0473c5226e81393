"""The model owner's pages of a gated site, and who sits before them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from deploy.pages.application import application
from flows.gate.last_report import LastReport, last_report
from flows.promotion.asked import AskedActs, is_asked
from flows.promotion.promote import promote
from models.people import Person, Role
from services.wiring import Services
from tests.support.promotion import (
    Gated,
    copy_of,
    gated_site,
    small_canary,
)

HERE = "http://127.0.0.1:8500"


OURS = {"accept": "text/html", "origin": HERE}


ITO = Person("i1", "https://id.example", "Dr. Ito", frozenset({Role.APPROVER}))


WEBER = Person("w1", "https://id.example", "Dr. Weber", frozenset({Role.APPROVER, Role.READER}))


AUDITOR = Person("a1", "https://id.example", "Ms. Roth", frozenset({Role.AUDITOR}))


OPERATOR = Person("o1", "https://id.example", "Mr. Oz", frozenset({Role.OPERATOR}))


READER = Person("r1", "https://id.example", "Dr. Lang", frozenset({Role.READER}))


WHY = "better spleens at site B"


class AsIs:
    """A way to sign in by which whoever a test says is there."""

    who: Person = ITO

    def person(self, request: object) -> Person:
        return self.who


class Desk:
    """The pages of a site, and who sits before them."""

    def __init__(self, app: FastAPI, browser: TestClient, services: Services) -> None:
        self.app, self.browser, self._services = app, browser, services

    def work(self) -> None:
        """Do what a worker does that watches."""
        assert is_asked(self._services.records)
        AskedActs(self._services).do()
        assert not is_asked(self._services.records)

    def sit(self, who: Person) -> None:
        self.app.state.way.who = who

    def text(self, path: str) -> str:
        answer = self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def post(self, path: str, status: int = 303, **fields: object) -> str:
        answer = self.browser.post(path, data=fields)
        assert answer.status_code == status, answer.text
        if status == 303:
            self.work()
        return html.unescape(answer.text)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    return gated_site(tmp_path_factory.mktemp("gated"), 12)


@pytest.fixture
def services(gated: Gated, tmp_path: Path) -> Services:
    """A site of its own, where release 1 serves and release 2 passed the gate and is loaded."""
    return copy_of(gated, tmp_path / "home")


@pytest.fixture
def desk(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The pages, whose acts reach the servers of the site."""

    def connected(settings, records):
        return replace(services, records=records)

    monkeypatch.setattr("deploy.pages.model.now.connect", connected)
    monkeypatch.setattr("flows.promotion.asked.promote", partial(promote, canary=small_canary))
    app = application(services.settings, HERE)
    app.state.way = AsIs()
    with TestClient(app, base_url=HERE, follow_redirects=False, headers=OURS) as browser:
        yield Desk(app, browser, services)


def last(services: Services, number: int = 2) -> LastReport:
    release = services.releases.release(number)
    found = last_report(release, services.records, services.releases, services.settings)
    assert found is not None
    return found


def cells(text: str) -> list[str]:
    return [one.strip() for one in re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", text)]
