"""Prefect's dashboard behind the sign-in: operators look at what a real server runs; nobody changes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page, sync_playwright

from deploy.doors.configuration import DASHBOARD_TOLD, SignIn
from deploy.stack.dashboard import DashboardServer
from deploy.stack.local_process import NotInstalled, free_port
from deploy.stack.local_server import basic
from deploy.stack.nginx import program
from deploy.stack.prefect import Access, PrefectServer
from models.people import Role
from services.pacs.accounts import Account
from tests.browser.conftest import PICTURES
from tests.browser.viewer import CHROMIUM, FLAGS, SIZE
from tests.support.pages import BY_PROXY, Pages, by_proxy, pages_at
from tests.support.prefect_database import laid
from tests.support.waiting import end_at_once

OPERATOR = by_proxy("ops", Role.OPERATOR)
PAGE = {"Accept": "text/html"}
READS = {
    *(f"{kind}/count" for kind in (
        "artifacts", "artifacts/latest", "automations", "deployments", "flow_runs", "flows", "task_runs",
        "variables", "work_pools",
    )),
    *(f"{kind}/filter" for kind in (
        "artifacts", "artifacts/latest", "automations", "block_schemas", "block_types", "concurrency_limits",
        "deployments", "events", "flow_runs", "flows", "logs", "saved_searches", "task_runs", "task_workers",
        "v2/concurrency_limits", "variables", "work_pools", "work_pools/x/queues", "work_pools/x/workers",
        "work_queues",
    )),
    *(f"{kind}/paginate" for kind in ("deployments", "flow_runs", "flows", "task_runs")),
    *(f"{kind}/history" for kind in ("flow_runs", "task_runs", "ui/flow_runs")),
    "flow_runs/lateness", "events/count-by/x", "ui/flow_runs/count-task-runs", "ui/flows/count-deployments",
    "ui/flows/next-runs", "ui/task_runs/count", "ui/task_runs/dashboard/counts",
}  # fmt: skip
"""Questions that Prefect takes by POST."""


@dataclass(frozen=True)
class Dashboard:
    """A door, and the server behind it.

    Parameters
    ----------
    url
        Of the door.
    access
        Of the server.
    pages
        Who say who somebody is.
    """

    url: str
    access: Access
    pages: Pages

    @contextmanager
    def direct(self) -> Iterator[httpx2.Client]:
        """Ask the server by its password, past the door."""
        account = Account(*self.access.auth.split(":"))
        with httpx2.Client(base_url=self.access.url, headers=basic(account)) as client:
            yield _with_leave(client)

    @contextmanager
    def through(self, who: dict[str, str]) -> Iterator[httpx2.Client]:
        """Ask by the door, as somebody."""
        with httpx2.Client(base_url=f"{self.url}/api", headers=who) as client:
            yield _with_leave(client)


def _with_leave(client: httpx2.Client) -> httpx2.Client:
    """Have what the server wants of whoever changes something, that it does not refuse for want of it."""
    token = client.get("/csrf-token", params={"client": "test"}).json()["token"]
    client.headers |= {"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token}
    return client


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    try:
        program()
    except NotInstalled as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("dashboard")
    server = PrefectServer(laid(folder / "prefect", tmp_path_factory.getbasetemp()), free_port(0))
    try:
        access = server.start()
        with (
            pages_at(folder / "home", **BY_PROXY) as pages,
            DashboardServer(folder / "door", pages.dashboard_port) as door,
        ):
            yield Dashboard(door.start(access, pages.sign_in).url, access, pages)
    finally:
        end_at_once(server.process)
        server.stop()


@pytest.fixture(scope="module")
def run(dashboard: Dashboard) -> dict[str, str]:
    """Return a run that waits, on record at the server."""
    with dashboard.direct() as direct:
        flow = direct.post("/flows/", json={"name": "tune-heads"}).json()["id"]
        asked = {"flow_id": flow, "name": "of-tonight", "state": {"type": "SCHEDULED"}}
        made: dict[str, str] = direct.post("/flow_runs/", json=asked).json()
        return made


def test_only_operators_come_in(dashboard: Dashboard) -> None:
    for path in ("/", "/ui-settings", "/api/flows/1", "/api/version", "/v2/dashboard"):
        told = {
            who: httpx2.get(f"{dashboard.url}{path}", headers=heads).status_code
            for who, heads in {
                "nobody": {},
                "a reader": by_proxy("weber", Role.READER),
                "an auditor and approver": by_proxy("ito", Role.AUDITOR, Role.APPROVER),
                "a session that nobody began": {"Cookie": "organloop-1=forged"},
                "a password": basic(Account(*dashboard.access.auth.split(":"))),
            }.items()
        }
        expected = dict.fromkeys(told, 401) | {"a reader": 403, "an auditor and approver": 403}
        assert told == expected, path


def test_a_browser_is_sent_to_the_sign_in_and_who_may_not_is_told_there(dashboard: Dashboard) -> None:
    sent = httpx2.get(f"{dashboard.url}/runs?a=b", headers=PAGE)
    assert (sent.status_code, sent.headers["location"]) == (302, f"{dashboard.pages.url}/dashboard/runs?a=b")
    back = httpx2.get(sent.headers["location"], headers=PAGE | OPERATOR)
    assert (back.status_code, back.headers["location"]) == (303, f"{dashboard.url}/runs?a=b")
    reader = PAGE | by_proxy("weber", Role.READER)
    sent = httpx2.get(f"{dashboard.url}/runs", headers=reader, follow_redirects=True)
    assert (sent.status_code, "You may not do this" in sent.text) == (403, True)


def test_of_all_that_prefect_can_be_asked_an_operator_gets_what_reads(dashboard: Dashboard) -> None:
    """Whatever this very server describes of its interface: a new verb of a later one is closed."""
    with dashboard.direct() as direct, dashboard.through(OPERATOR) as through:
        described = direct.get(dashboard.access.url.removesuffix("/api") + "/openapi.json").json()
        asked: dict[tuple[str, str], int] = {}
        for path, verbs in described["paths"].items():
            wanted = re.sub(r"\{[^}]*\}", "x", path.removeprefix("/api").lstrip("/"))
            for verb in verbs.keys() - {"get"}:
                asked[verb, wanted] = through.request(verb, f"/{wanted}", json={}).status_code
        given = {place for place, status in asked.items() if status != 403}
        assert given == {("post", path) for path in READS}
        assert len(asked) > 120


def test_what_could_hold_a_secret_is_not_shown(dashboard: Dashboard) -> None:
    with dashboard.through(OPERATOR) as through:
        for path in (
            "/block_documents/x?include_secrets=true",
            "/block_types/slug/secret/block_documents",
            "/block_types/slug/secret/block_documents/name/x",
            "//block_documents/x",
            "/%62lock_documents/x",
            "/flows/../block_documents/x",
        ):
            assert through.get(f"{dashboard.url}/api{path}").status_code == 403, path
        password = dashboard.access.auth.partition(":")[2]
        for path in ("/admin/settings", "/version"):
            told = through.get(path)
            assert (told.status_code, password in told.text) == (200, False)


def test_an_operator_starts_deletes_and_cancels_nothing(dashboard: Dashboard, run: dict[str, str]) -> None:
    with dashboard.through(OPERATOR) as through:
        seen = through.post("/flow_runs/filter", json={}).json()
        assert [one["name"] for one in seen] == ["of-tonight"]
        mine = f"/flow_runs/{run['id']}"
        cancel = {"state": {"type": "CANCELLING"}, "force": True}
        assert through.delete(mine).status_code == 403
        assert through.post(f"{mine}/set_state", json=cancel).status_code == 403
        assert through.post("/flow_runs/", json={"flow_id": run["flow_id"]}).status_code == 403
        assert through.post("/flow_runs/bulk_delete", json={"flow_runs": {}}).status_code == 403
    with dashboard.direct() as direct:
        [there] = direct.post("/flow_runs/filter", json={}).json()
        assert there["state"]["type"] == "SCHEDULED"


def test_a_page_from_elsewhere_asks_nothing_by_an_operator_s_session(dashboard: Dashboard) -> None:
    url = f"{dashboard.url}/api/flow_runs/filter"
    for heads in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
        assert httpx2.post(url, json={}, headers=OPERATOR | heads).status_code == 403
    assert httpx2.get(f"{dashboard.url}/", headers=OPERATOR | {"Host": "evil.example"}).status_code == 421


def test_where_the_pages_are_away_nobody_looks(dashboard: Dashboard, tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port(0)}"
    with DashboardServer(tmp_path) as door:
        url = door.start(dashboard.access, SignIn(away, away)).url
        for path in ("/", "/api/version", "/ui-settings"):
            told = httpx2.get(f"{url}{path}", headers=PAGE | OPERATOR)
            assert (told.status_code, "the pages do not answer" in told.text) == (503, True), path


def test_what_the_dashboard_is_told_differs_from_prefect_s_word_in_address_and_password_alone(
    dashboard: Dashboard,
) -> None:
    said = httpx2.get(dashboard.access.url.removesuffix("/api") + "/ui-settings").json()
    assert (said["api_url"], said["auth"]) == (dashboard.access.url, "BASIC")
    told = httpx2.get(f"{dashboard.url}/ui-settings", headers=OPERATOR).json()
    assert told == said | {"api_url": "/api", "auth": None} == json.loads(DASHBOARD_TOLD.read_text())


@pytest.fixture(scope="module")
def page(dashboard: Dashboard) -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser.new_context(extra_http_headers=OPERATOR, viewport=SIZE).new_page()  # type: ignore[arg-type]
        browser.close()


@pytest.mark.parametrize("path", ["/runs", "/v2/runs"])
def test_a_signed_in_operator_sees_the_runs_without_another_password(
    dashboard: Dashboard, run: dict[str, str], page: Page, path: str
) -> None:
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(f"{dashboard.url}{path}")
    page.get_by_text("of-tonight").first.wait_for()
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"dashboard{path.replace('/', '-')}.png")
    assert {one for one in asked if not one.startswith((dashboard.url, "data:", "blob:"))} == set()
