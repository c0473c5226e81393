"""Real pages with somebody signed in, for what is behind their sign-in."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx2
import pytest
from itsdangerous import TimestampSigner

from deploy.doors.configuration import SignIn
from deploy.stack.local_process import free_port
from deploy.stack.pages import PagesServer
from deploy.stack.viewer import ViewerServer
from models.documents import to_json
from models.people import Person, Role
from services.pacs.accounts import FILE, Accounts
from services.people.local_account import LocalAccount
from services.settings import Settings
from tests.support.archive import Archive

PASSWORD = "a long enough one"
NAME = "Dr. Wéber"
KEY = "k" * 32
"""Of the sessions."""


@dataclass(frozen=True)
class Pages:
    """Running pages of a home with one local account.

    Parameters
    ----------
    home
        Whose.
    url
        Where.
    cookie
        Header of who has signed in there, ``name=value``; empty with `BY_PROXY`.
    pid
        Their process.
    viewer_port, dashboard_port
        Where those doors are to listen.
    """

    home: Path
    url: str
    cookie: str = field(repr=False)
    pid: int
    viewer_port: int
    dashboard_port: int

    @property
    def sign_in(self) -> SignIn:
        """As nginx is told."""
        return SignIn(self.url, self.url)

    @property
    def signed_in(self) -> dict[str, str]:
        """Headers of the account's owner, who has every role."""
        return {"Cookie": self.cookie}

    def forged(self, *roles: Role, key: str = KEY) -> dict[str, str]:
        """Return headers of a session of somebody with these roles, as the site's key would sign it.

        The local account knows one person only: as `by_proxy` does for others, this makes what is no session.
        """
        person = Person("x-1", "https://evil.example", "Eve", frozenset(roles))
        said = base64.b64encode(json.dumps({"person": to_json(person)}).encode())
        name = self.cookie.partition("=")[0]
        return {"Cookie": f"{name}={TimestampSigner(key).sign(said).decode()}"}

    @property
    def expired(self) -> dict[str, str]:
        """Return headers of the owner's session as it was signed a day ago."""
        name, _, value = self.cookie.partition("=")
        said = TimestampSigner(KEY).unsign(value)
        return {"Cookie": f"{name}={_YesterdaysSigner(KEY).sign(said).decode()}"}


class _YesterdaysSigner(TimestampSigner):
    def get_timestamp(self) -> int:
        return super().get_timestamp() - 24 * 3600


def own_cookie(url: str, first: str) -> str:
    """Sign in at pages with the account's first password, and return the session's cookie."""
    with httpx2.Client(base_url=url, headers={"origin": url}, trust_env=False) as client:
        client.post("/sign-in", data={"password": first})
        client.post("/sign-in/choose", data={"name": NAME, "password": PASSWORD})
        [cookie] = client.cookies.jar
        return f"{cookie.name}={cookie.value}"


@contextmanager
def pages_at(home: Path, **variables: str) -> Iterator[Pages]:
    """Run the pages of a home, its owner signed in, or nobody with `BY_PROXY`; settings as variables."""
    doors = {"viewer_port": free_port(0), "dashboard_port": free_port(0)}
    proxied = "ORGANLOOP_TRUSTED_PROXIES" in variables
    first = None if proxied else LocalAccount(home / "people" / "account.json").make()
    said = {
        "ORGANLOOP_SESSION_KEY": KEY,
        "ORGANLOOP_VIEWER_ADDRESS": f"http://127.0.0.1:{doors['viewer_port']}",
        "ORGANLOOP_DASHBOARD_ADDRESS": f"http://127.0.0.1:{doors['dashboard_port']}",
    }
    with PagesServer(home / "pages", free_port(0)) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in (said | variables).items():
            patch.setenv(name, value)
        process = server.start(home)
        cookie = own_cookie(process.url, first) if first else ""
        yield Pages(home, process.url, cookie, process.pid, **doors)


def know_archive(home: Path, dicomweb_url: str, accounts: Accounts) -> None:
    """Have a home know an archive as that of its own stack: where it is, and the accounts that open it."""
    settings = Settings(home=home)
    settings.archive_home.mkdir(parents=True, exist_ok=True)
    (settings.archive_home / FILE).write_text(json.dumps(to_json(accounts)))
    settings.stack_file.write_text(json.dumps({"dicomweb_url": dicomweb_url}))


BY_PROXY = {
    "ORGANLOOP_TRUSTED_PROXIES": "127.0.0.1",
    **{f"ORGANLOOP_{role.upper()}_GROUPS": f"{role}s" for role in Role},
}
"""Settings by which whoever asks from this machine says who he is."""


def by_proxy(name: str, *roles: Role) -> dict[str, str]:
    """Return the headers of a trusted proxy for somebody with these roles."""
    return {
        "Remote-User": name,
        "Remote-Name": f"Dr. {name}",
        "Remote-Groups": ",".join(f"{r}s" for r in roles),
    }


@dataclass
class ReadingRoom:
    """A viewer on an archive behind the sign-in of pages, which may be those of another home next.

    Parameters
    ----------
    archive
        What it shows.
    first
        Home of the pages at first; its owner's account is every later home's, so that one sign-in is enough.
    viewer_url
        Where people open it.
    pages_url
        Where the pages are, whichever home's.
    cookie
        Of the owner's session, ``name=value``.
    """

    archive: Archive
    first: Path
    viewer_url: str = ""
    pages_url: str = ""
    cookie: str = field(default="", repr=False)

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Run pages and viewer."""
        with pages_at(self.first) as pages, ViewerServer(self.first / "viewer", pages.viewer_port) as viewer:
            know_archive(self.first, self.archive.dicomweb_url, self.archive.server.accounts)
            viewer.start(self.archive.dicomweb_url, pages.sign_in, self.archive.reader)
            self.pages_url, self.viewer_url = pages.url, f"http://127.0.0.1:{pages.viewer_port}"
            self.cookie = pages.cookie
            yield self

    @contextmanager
    def records_of(self, home: Path) -> Iterator[None]:
        """Have what is saved go on the record of another home."""
        account = home / "people" / "account.json"
        account.parent.mkdir(exist_ok=True)
        account.write_bytes((self.first / "people" / account.name).read_bytes())
        know_archive(home, self.archive.dicomweb_url, self.archive.server.accounts)
        port = int(self.pages_url.rpartition(":")[2])
        own = PagesServer(self.first / "pages", port)
        own.stop()
        with PagesServer(home / "pages", port) as server:
            assert server.start(home).url == self.pages_url
            yield
        own.start(self.first)
