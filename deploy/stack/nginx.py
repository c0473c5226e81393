"""What the local stack's servers by nginx have in common: how they are configured, and who lets people in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from deploy.stack.local_process import NotInstalled
from deploy.stack.local_server import basic
from services.files import replace
from services.pacs.accounts import Account

FOLDER = Path(__file__).resolve().parents[1] / "viewer"
INCLUDED = (FOLDER / "people.conf", FOLDER / "requests.conf")
"""What the servers have in common, as it stands; Compose includes it too."""
ACCOUNT = "account.conf"
"""Holds a password: its owner alone reads it."""
ADDRESSES = "addresses.conf"


class _NginxTemplate(Template):
    """A template whose marks are ``@name``: a dollar is nginx's own."""

    delimiter = "@"


@dataclass(frozen=True)
class SignIn:
    """The pages, which know who somebody is.

    Parameters
    ----------
    url
        Where this machine asks them, ``http://127.0.0.1:port``.
    address
        Where people open them.
    """

    url: str
    address: str

    @property
    def place(self) -> str:
        """Host and port to ask."""
        return urlsplit(self.url).netloc


def program() -> str:
    """Return the path of nginx.

    Raises
    ------
    NotInstalled
        If it is not on this machine.
    """
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        raise NotInstalled("nginx is not installed: apt-get install nginx-light")
    return found


def command(home: Path, log: Path, configuration: Path) -> list[str]:
    """Return the command that starts nginx with a configuration of a home."""
    return [program(), "-p", str(home), "-e", str(log), "-c", str(configuration)]


def configure(
    home: Path,
    template: Path,
    included: Iterable[Path] = (),
    *,
    port: int,
    address: str | None,
    authorization: str,
    **values: object,
) -> Path:
    """Write a server's configuration into its home; return its first file.

    Parameters
    ----------
    home
        Folder of all that it writes.
    template
        That file; marks in it are replaced.
    included
        Files that it includes beside those of all servers.
    port
        On 127.0.0.1.
    address
        Where people open it, if not at that port.
    authorization
        Line of nginx that says with which account the server behind is asked, `given` or `withheld`.
    values
        Of the template's other marks.

    Raises
    ------
    StorageFailed
        If the home is not writable.
    """
    (home / "temporary").mkdir(parents=True, exist_ok=True)
    own = urlsplit(address or "")
    known = {
        "user": "user root root;" if os.geteuid() == 0 else "",  # its workers are who started it
        "home": home,
        "port": port,
        "host": own.hostname or "",
    }
    text = _NginxTemplate(template.read_text()).substitute(known | values)
    replace(home / template.name, text.encode())
    for file in (*INCLUDED, *included):
        replace(home / file.name, file.read_bytes())
    origin = f'"{own.netloc}" "{own.scheme}://{own.netloc}";\n' if address else ""
    replace(home / ADDRESSES, origin.encode())
    replace(home / ACCOUNT, authorization.encode(), 0o600)
    return home / template.name


def given(account: Account) -> str:
    """Return the line that has the server behind asked with an account that no browser knows."""
    return f'proxy_set_header Authorization "{basic(account)["Authorization"]}";\n'


def withheld() -> str:
    """Return the line that has the server behind asked without any account."""
    return 'proxy_set_header Authorization "";\n'
