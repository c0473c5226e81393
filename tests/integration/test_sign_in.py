"""The pages as a process of their own; a real OpenID provider signs people in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from deploy.stack.local_process import free_port
from deploy.stack.pages import PagesServer
from tests.support.nginx import nginx_at
from tests.support.oidc import CLIENT, SECRET, provider_of, sign_in

ACCOUNTS = {
    "weber": {"name": "Dr. Wéber", "groups": ["radiology", "staff"]},
    "ito": {"name": "Dr. Ito", "groups": ["ai-board"]},
    "guest": {"name": "A guest", "groups": []},
}
SAID = {
    "ORGANLOOP_OIDC_ISSUER": "",
    "ORGANLOOP_OIDC_CLIENT": CLIENT,
    "ORGANLOOP_OIDC_CLIENT_SECRET": SECRET,
    "ORGANLOOP_OIDC_SCOPES": "openid profile groups",
    "ORGANLOOP_READER_GROUPS": "radiology",
    "ORGANLOOP_APPROVER_GROUPS": "ai-board",
}


@dataclass(frozen=True)
class Site:
    """Pages, and the provider that they trust."""

    pages: str
    provider: str


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    home, port = tmp_path_factory.mktemp("home"), free_port(0)
    with provider_of(f"http://127.0.0.1:{port}/sign-in/back", ACCOUNTS) as provider:
        said = {**SAID, "ORGANLOOP_OIDC_ISSUER": provider}
        with pytest.MonkeyPatch.context() as patch, PagesServer(home / "pages", port) as server:
            for name, value in said.items():
                patch.setenv(name, value)
            yield Site(server.start(home).url, provider)


@pytest.fixture
def browser() -> Iterator[httpx2.Client]:
    with httpx2.Client(follow_redirects=True, timeout=30) as client:
        yield client


def test_a_reader_signs_in_at_the_provider_and_comes_back_where_he_was(site, browser) -> None:
    came = sign_in(browser, f"{site.pages}/session", "weber")
    assert str(came.url) == f"{site.pages}/session"
    assert came.json() == {
        "subject": "weber",
        "issuer": site.provider,
        "name": "Dr. Wéber",
        "roles": ["reader"],
    }
    assert browser.get(f"{site.pages}/session/check/reader").status_code == 204
    refused = browser.get(f"{site.pages}/session/check/approver", headers={"accept": "text/html"})
    assert refused.status_code == 403
    assert "ai-board" in refused.text


def test_groups_are_the_providers_word_and_without_them_nothing_is_allowed(site, browser) -> None:
    sign_in(browser, f"{site.pages}/", "guest")
    told = browser.get(f"{site.pages}/session").json()
    assert (told["name"], told["roles"]) == ("A guest", [])
    assert "nothing yet" in browser.get(f"{site.pages}/", headers={"accept": "text/html"}).text


def test_an_answer_that_was_not_asked_for_signs_nobody_in(site, browser) -> None:
    for query in ("code=abc&state=xyz", "code=abc", "error=access_denied&state=xyz", ""):
        told = browser.get(f"{site.pages}/sign-in/back?{query}", headers={"accept": "text/html"})
        assert (told.status_code, "proves nobody" in told.text) == (403, True), query
    assert browser.get(f"{site.pages}/session").status_code == 401


def test_the_answer_to_ones_browser_signs_no_other_in(site, browser) -> None:
    browser.follow_redirects = False
    sent = browser.get(f"{site.pages}/sign-in")
    assert "code_challenge_method=S256" in sent.headers["location"]
    assert "nonce=" in sent.headers["location"]
    with httpx2.Client(follow_redirects=True, timeout=30) as other:
        caught: list[str] = []
        other.event_hooks = {"request": [lambda request: caught.append(str(request.url))]}
        sign_in(other, f"{site.pages}/session", "weber")
        (answer,) = (address for address in caught if "code=" in address)
        told = browser.get(answer, headers={"accept": "text/html"})
        assert told.status_code == 403
        assert browser.get(f"{site.pages}/session").status_code == 401


def test_a_provider_that_is_away_is_told(site, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ORGANLOOP_OIDC_ISSUER", "http://127.0.0.1:9")
    monkeypatch.setenv("ORGANLOOP_OIDC_CLIENT", CLIENT)
    with PagesServer(tmp_path / "pages", free_port(0)) as server:
        told = httpx2.get(f"{server.start(tmp_path).url}/sign-in", headers={"accept": "text/html"})
        assert told.status_code == 503
        assert "is away" in told.text


PROXY = """
daemon off; pid /tmp/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi; uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    server {{
        listen 3000;
        location / {{
            auth_basic "the hospital"; auth_basic_user_file "{users}";
            proxy_pass {pages};
            proxy_set_header Host $http_host;
            proxy_set_header Authorization "";
            proxy_set_header Remote-User $remote_user;
            proxy_set_header Remote-Name "Dr. $remote_user";
            proxy_set_header Remote-Groups "staff,radiology";
        }}
    }}
}}
"""


def test_a_real_proxy_signs_people_in_and_what_a_browser_adds_is_replaced(tmp_path, monkeypatch) -> None:
    for name in SAID:
        monkeypatch.delenv(name, raising=False)  # the provider of the other tests
    monkeypatch.setenv("ORGANLOOP_TRUSTED_PROXIES", "127.0.0.1")
    monkeypatch.setenv("ORGANLOOP_READER_GROUPS", "radiology")
    users = tmp_path / "users"
    users.write_text("weber:{PLAIN}a-password\n")
    with PagesServer(tmp_path / "pages", free_port(0)) as server:
        text = PROXY.format(users=users, pages=server.start(tmp_path).url)
        with nginx_at(tmp_path, text) as port:
            front = f"http://127.0.0.1:{port}"
            assert httpx2.get(f"{front}/session").status_code == 401
            forged = {"remote-user": "root", "remote-groups": "ai-board"}
            told = httpx2.get(f"{front}/session", auth=("weber", "a-password"), headers=forged).json()
            assert told == {
                "subject": "weber",
                "issuer": "proxy",
                "name": "Dr. weber",
                "roles": ["reader"],
            }
