"""What nginx is told: a head, the doors it opens, and what they include, written into one folder.

The local stack writes it with one door a server, a container with all three. It needs Python's library alone.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

FOLDER = Path(__file__).resolve().parent
HEAD = "main.conf"
INCLUDED = ("archive.conf", "asking.conf", "people.conf", "requests.conf", "saves.conf")
"""What doors include as it stands."""
ADDRESSES = "addresses.conf"
DASHBOARD_TOLD = FOLDER / "ui-settings.json"
"""What the dashboard is told in place of Prefect's word, by which it would ask for a password of its own."""


class _NginxTemplate(Template):
    """A template whose marks are ``@name``: a dollar is nginx's own."""

    delimiter = "@"


@dataclass(frozen=True)
class Door:
    """A door that nginx opens.

    Parameters
    ----------
    name
        ``pages``, ``viewer`` or ``dashboard``: its file.
    listen
        Address or port to listen on.
    address
        Where people open it, ``https://host:port``; None where that is `listen` itself.
    account
        Line of nginx that says as whom the server behind is asked: `given`, `withheld`, or nothing.
    marks
        Of its file.
    """

    name: str
    listen: str
    address: str | None
    account: str = field(default="", repr=False)
    marks: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class SignIn:
    """The pages, which know who somebody is.

    Parameters
    ----------
    url
        Where nginx asks them, ``http://host:port``.
    address
        Where people open them.
    """

    url: str
    address: str


def write(folder: Path, doors: Iterable[Door], sign_in: SignIn, tls: Path | None = None) -> Path:
    """Write the configuration of an nginx with these doors; return its first file.

    Parameters
    ----------
    folder
        Of all that nginx reads and writes.
    doors
        Which it opens.
    sign_in
        Who is asked whether somebody may pass.
    tls
        Folder with ``tls.crt`` and ``tls.key``; None opens the doors without encryption.

    Raises
    ------
    OSError
        If the folder is not writable.
    KeyError
        If a mark of a door's file has no value.
    """
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    for name in INCLUDED:
        shutil.copyfile(FOLDER / name, folder / name)
    opened = tuple(doors)
    for door in opened:
        known = {
            "listen": f"{door.listen} ssl" if tls else door.listen,
            "host": urlsplit(door.address or "").hostname or "",
            "pages_host": urlsplit(sign_in.address).netloc,
            "sign_in": sign_in.address.rstrip("/"),
        }
        text = (FOLDER / f"{door.name}.conf").read_text()
        (folder / f"{door.name}.conf").write_text(_NginxTemplate(text).substitute({**known, **door.marks}))
        _write_secret(folder / f"{door.name}-account.conf", door.account)
    origins = {urlsplit(door.address) for door in opened if door.address}
    lines = (f'"{one.netloc}" "{one.scheme}://{one.netloc}";\n' for one in sorted(origins))
    (folder / ADDRESSES).write_text("".join(lines))
    head = {
        "user": "user root root;" if os.geteuid() == 0 else "",  # its workers are who started it
        "folder": folder,
        "pages": urlsplit(sign_in.url).netloc,
        "tls": _tls(tls) if tls else "",
        "doors": "\n".join(f"    include {door.name}.conf;" for door in opened),
    }
    (folder / HEAD).write_text(_NginxTemplate((FOLDER / HEAD).read_text()).substitute(head))
    return folder / HEAD


def given(user: str, password: str) -> str:
    """Return the line that has the server behind asked with an account that no browser knows.

    Source: RFC 7617.
    """
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f'proxy_set_header Authorization "Basic {encoded}";\n'


def withheld() -> str:
    """Return the line that has the server behind asked without any account."""
    return 'proxy_set_header Authorization "";\n'


def files() -> tuple[bytes, ...]:
    """Return what is written, as it lies here: another version of it is another configuration."""
    return tuple(file.read_bytes() for file in sorted((*FOLDER.glob("*.conf"), DASHBOARD_TOLD)))


def _tls(folder: Path) -> str:
    return (
        f'ssl_certificate "{folder}/tls.crt";\n    ssl_certificate_key "{folder}/tls.key";\n'
        "    ssl_protocols TLSv1.2 TLSv1.3;"
    )


def _write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone reads, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
