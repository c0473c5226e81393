"""Every page asked without rights, with another's session, from elsewhere: nothing is given."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from deploy.pages import doors, saves
from deploy.pages.application import SESSION_SECONDS, application
from deploy.pages.sign_in import local
from models.people import MAY, Person, Role
from services.people import local_account
from services.people.key import signing_key
from services.people.local_account import LocalAccount
from services.people.tokens import person_of
from services.settings import Settings

HERE = "http://127.0.0.1:8500"
VIEWER = "http://127.0.0.1:3000"
PAGE = {"accept": "text/html"}
OURS = PAGE | {"origin": HERE}
FREE = {"/sign-in", "/sign-in/choose", "/signed-out", "/sign-out", "/healthz"}
"""What is answered to anybody: how to come in, and how to go."""


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Have passwords cost little: how much is not what is tested here."""
    monkeypatch.setitem(local_account.COST, "n", 16)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path, approver_groups="ai-board, heads", viewer_address=VIEWER)


@pytest.fixture
def first(settings) -> str:
    return LocalAccount(settings.people_folder / "account.json").make()


@pytest.fixture
def app(settings, first) -> FastAPI:
    return application(settings, HERE)


@pytest.fixture
def browser(app) -> Iterator[TestClient]:
    with TestClient(app, base_url=HERE, follow_redirects=False) as client:
        yield client


def signed_in(browser: TestClient, first: str) -> TestClient:
    browser.post("/sign-in", data={"password": first}, headers=OURS)
    chosen = {"name": "Dr. Wéber", "password": "a long enough one", "next": "/session"}
    entered = browser.post("/sign-in/choose", data=chosen, headers=OURS)
    assert (entered.status_code, entered.headers["location"]) == (303, "/session")
    return browser


def test_who_has_not_signed_in_is_given_nothing(app, browser) -> None:
    asked = 0
    for path, methods in app.openapi()["paths"].items():
        given = {"roles": "reader,auditor", "path": "segmentation", "study_uid": "1.2.3"}
        given |= {"digest": "d" * 64, "number": "1", "case": "c" * 64, "organ": "liver", "index": "0"}
        address = path.replace(":path", "").format(
            name="0" * 16, content="c" * 64, picture="liver-coronal", **given
        )
        origin = VIEWER if path.startswith(saves.UNDER) else HERE
        for method in () if path in FREE else methods:
            told = browser.request(method, address, headers={"origin": origin})
            assert (told.status_code, told.text) == (401, "sign in first\n"), path
            asked += 1
            if method == "get":
                sent = browser.get(f"{address}?a=b", headers=PAGE)
                where = f"/sign-in?next={quote(address, safe='')}%3Fa%3Db"
                assert (sent.status_code, sent.headers["location"]) == (303, where)
    assert asked >= 10


def test_the_first_password_leads_to_a_name_and_another_password(browser, first) -> None:
    asked = browser.post("/sign-in", data={"password": first, "next": "/session"}, headers=OURS)
    assert "Who are you?" in asked.text
    assert browser.get("/session").status_code == 401, "a name is asked first"
    short = browser.post("/sign-in/choose", data={"name": "Dr. W", "password": "short"}, headers=OURS)
    assert short.status_code == 422
    assert "12 characters" in short.text
    signed_in(browser, first)
    assert browser.get("/session").json() == {
        "subject": "owner",
        "issuer": "local",
        "name": "Dr. Wéber",
        "roles": sorted(Role),
    }
    again = browser.post("/sign-in/choose", data={"name": "Eve", "password": "e" * 12}, headers=OURS)
    assert again.headers["location"] == "/sign-in", "chosen once"


def test_a_wrong_password_is_told_and_waited_for(browser, first, monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(local.time, "sleep", waited.append)
    told = browser.post("/sign-in", data={"password": "wrong"}, headers=OURS)
    assert told.status_code == 403
    assert "That is not the password" in told.text
    assert waited == [local.PAUSE_SECONDS]
    assert browser.get("/session").status_code == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:3000", "null", None])
def test_what_another_page_asks_for_is_refused(browser, first, origin) -> None:
    signed_in(browser, first)
    headers = {} if origin is None else {"origin": origin}
    for path in ("/token", "/sign-out", "/sign-in", "/sign-in/choose"):
        assert browser.post(path, headers=headers).status_code == 403
    assert browser.get("/session").status_code == 200, "still signed in"


def test_a_session_that_was_changed_or_is_over_is_none(browser, first, app, monkeypatch) -> None:
    signed_in(browser, first)
    (cookie,) = browser.cookies.jar
    assert cookie.has_nonstandard_attr("httponly") or "httponly" in str(cookie._rest).lower()
    with TestClient(app, base_url=HERE) as other:
        other.cookies.set(cookie.name, "e30=" + cookie.value[4:])
        assert other.get("/session").status_code == 401
        other.cookies.set(cookie.name, cookie.value)
        assert other.get("/session").status_code == 200
        from itsdangerous import TimestampSigner

        real = TimestampSigner.get_timestamp
        monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: real(self) + SESSION_SECONDS + 1)
        assert other.get("/session").status_code == 401


def test_a_session_of_another_site_is_none_here(browser, first, tmp_path) -> None:
    signed_in(browser, first)
    (cookie,) = browser.cookies.jar
    elsewhere = Settings(home=tmp_path / "elsewhere")
    LocalAccount(elsewhere.people_folder / "account.json").make()
    with TestClient(application(elsewhere, HERE), base_url=HERE) as other:
        other.cookies.set(cookie.name, cookie.value)
        assert other.get("/session").status_code == 401


def test_another_password_ends_every_session_of_the_one_before(browser, first, settings, app) -> None:
    account = LocalAccount(settings.people_folder / "account.json")
    with TestClient(app, base_url=HERE, follow_redirects=False) as early:
        early.post("/sign-in", data={"password": first}, headers=OURS)
        signed_in(browser, first)
        account.reset()
        assert browser.get("/session").status_code == 401
        chosen = {"name": "Eve", "password": "e" * 12}
        told = early.post("/sign-in/choose", data=chosen, headers=OURS)
        assert told.headers["location"] == "/sign-in", "it knows another first password"
        assert account.unused


def test_signing_out_ends_the_session(browser, first) -> None:
    signed_in(browser, first)
    assert browser.post("/sign-out", headers=OURS).headers["location"] == "/signed-out"
    assert browser.get("/session").status_code == 401


def test_a_token_proves_on_the_command_line_who_made_it(browser, first, settings) -> None:
    signed_in(browser, first)
    made = browser.post("/token", headers=OURS)
    token = made.text.split("ORGANLOOP_TOKEN=")[1].split("<")[0]
    assert person_of(token, signing_key(settings.session_key, settings.people_folder)) == Person(
        "owner", "local", "Dr. Wéber", frozenset(Role)
    )
    assert made.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/\n"])
def test_nobody_is_sent_to_another_site_by_signing_in(wanted) -> None:
    assert doors.own_page(wanted) == "/"


def test_an_address_of_another_name_is_not_answered(app) -> None:
    with TestClient(app, base_url="http://evil.example:8500") as other:
        assert other.get("/healthz").status_code == 400


def test_every_answer_forbids_foreign_assets_scripts_in_pages_and_frames(browser) -> None:
    for path in ("/sign-in", "/session", "/nowhere", "/assets/style.css"):
        headers = browser.get(path, headers=PAGE).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert ("no-store" in headers.get("cache-control", "")) == (path != "/assets/style.css")


def test_over_tls_the_cookie_is_the_hosts_own_and_never_sent_in_the_clear(settings, first) -> None:
    address = "https://organloop.hospital"
    with TestClient(application(settings, address), base_url=address, follow_redirects=False) as browser:
        told = browser.post("/sign-in", data={"password": first}, headers={"origin": address})
        cookie = told.headers["set-cookie"]
        assert cookie.startswith("__Host-organloop=")
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= {
            one.strip() for one in cookie.lower().split(";")
        }
        assert told.headers["strict-transport-security"]


PROXY = "10.1.2.3"


def behind(tmp_path, asking: str) -> TestClient:
    settings = Settings(
        home=tmp_path,
        trusted_proxies=f"10.9.9.9, {PROXY}",
        reader_groups="radiology",
        approver_groups="ai-board",
    )
    return TestClient(application(settings, HERE), base_url=HERE, client=(asking, 4711))


def test_the_headers_of_a_trusted_proxy_say_who_asks(tmp_path) -> None:
    with behind(tmp_path, PROXY) as browser:
        headers = {"remote-user": "w17", "remote-name": "Dr. Weber", "remote-groups": "staff, radiology"}
        assert browser.get("/session", headers=headers).json() == {
            "subject": "w17",
            "issuer": "proxy",
            "name": "Dr. Weber",
            "roles": ["reader"],
        }
        assert browser.get("/session").status_code == 401
        assert browser.get("/session/check/reader", headers=headers).status_code == 204
        refused = browser.get("/session/check/approver", headers=headers | PAGE)
        assert refused.status_code == 403
        assert MAY[Role.APPROVER] in refused.text
        assert "ai-board" in refused.text, "whom to ask"
        twice = [("remote-user", "w17"), ("remote-user", "root")]
        told = browser.get("/session", headers=twice)
        assert (told.status_code, told.json()["code"]) == (403, "two-names")


@pytest.mark.parametrize("asking", ["10.1.2.4", "127.0.0.1"])
def test_who_is_no_trusted_proxy_is_believed_nothing(tmp_path, asking) -> None:
    with behind(tmp_path, asking) as browser:
        headers = {"remote-user": "w17", "remote-groups": "radiology", "x-forwarded-for": PROXY}
        told = browser.get("/session", headers=headers)
        assert (told.status_code, told.json()["code"]) == (403, "not-the-proxy")


def test_one_of_several_roles_is_enough_and_no_other_word_is_one(browser, first, app) -> None:
    signed_in(browser, first)
    app.state.way.person = lambda request: Person(
        "a-1", "https://id", "An auditor", frozenset({Role.AUDITOR})
    )
    asked = ("reader,approver,auditor", "auditor", "reader,approver", "reader", "king", "auditor,king", ",")
    told = [browser.get(f"/session/check/{roles}").status_code for roles in asked]
    assert told == [204, 204, 403, 403, 404, 404, 404]


@pytest.mark.parametrize(
    ("asked", "led"),
    [
        ("/viewer", "/"),
        ("/viewer/", "/"),
        (
            "/viewer/segmentation?StudyInstanceUIDs=1.2.3&image=4",
            "/segmentation?StudyInstanceUIDs=1.2.3&image=4",
        ),
        ("/viewer//evil.example/", "/evil.example/"),
        ("/viewer/@evil.example", "/@evil.example"),
        ("/viewer/a%20b%3fc", "/a%20b%3Fc"),
    ],
)
def test_who_may_look_is_led_on_to_the_viewer_and_nowhere_else(browser, first, asked, led) -> None:
    signed_in(browser, first)
    sent = browser.get(asked, headers=PAGE)
    assert (sent.status_code, sent.headers["location"]) == (303, VIEWER + led)


def test_who_may_not_look_is_told_whom_to_ask_and_where_nothing_runs_it_is_said(browser, first, app) -> None:
    signed_in(browser, first)
    away = browser.get("/dashboard", headers=PAGE)
    assert (away.status_code, "organloop up" in away.text) == (503, True)
    app.state.way.person = lambda request: Person("o-1", "https://id", "Op", frozenset({Role.OPERATOR}))
    told = browser.get("/viewer/", headers=PAGE)
    assert (told.status_code, "who manages the group ai-board or heads" in told.text) == (403, True)
    assert browser.get("/dashboard", headers=PAGE).status_code == 503


@pytest.mark.parametrize("origin", [HERE, "http://127.0.0.1:3001", "http://localhost:3000", "null", None])
def test_only_a_page_of_the_viewer_saves(browser, first, origin) -> None:
    signed_in(browser, first)
    headers = {} if origin is None else {"origin": origin}
    assert browser.post("/archive/studies", headers=headers).status_code == 403
    at_viewer = browser.post("/archive/studies", headers={"origin": VIEWER})
    assert (at_viewer.status_code, at_viewer.text) == (503, "no archive is known here: organloop up\n")


def test_a_form_of_ours_may_lead_to_this_host_alone(browser) -> None:
    policy = browser.get("/sign-in").headers["content-security-policy"]
    assert "form-action 'self' http://127.0.0.1:*" in policy.split("; ")
