"""What people are told by, real and on this machine: a mail server, and what takes cards for Teams."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from deploy.stack import local_process

USER, PASSWORD = "organloop", "geheim-im-haus"


@dataclass(frozen=True)
class Authority:
    """A hospital's own authority, and what it certifies: this machine, by its address."""

    certificate: Path
    server: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server, self.key)
        return context


def authority(folder: Path) -> Authority:
    """Make an authority and the certificate of a server."""
    new = ["-newkey", "rsa:2048", "-nodes"]
    extension = folder / "server.ext"
    extension.write_text("subjectAltName=IP:127.0.0.1\n")
    ca = ["-x509", *new, "-days", "2", "-subj", "/CN=Hospital CA", "-keyout", "ca.key", "-out", "ca.pem"]
    asked = [*new, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"]
    signed = ["-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    signed += ["-extfile", "server.ext", "-out", "server.pem"]
    for command in (["req", *ca], ["req", *asked], ["x509", "-req", *signed]):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    return Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")


@dataclass
class MailServer:
    """A mail server, and what it took."""

    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list)

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 taken"

    @property
    def mails(self) -> list[EmailMessage]:
        found = [message_from_bytes(bytes(one.content), policy=policy.default) for one in self.envelopes]
        return [one for one in found if isinstance(one, EmailMessage)]


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None) -> Iterator[MailServer]:
    """Run a mail server; with TLS it takes nothing without STARTTLS and the account of this module."""
    taken = MailServer()

    def known(_s: object, _session: object, _e: object, _mechanism: str, said: object) -> AuthResult:
        right = isinstance(said, LoginPassword) and said == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    secure: dict[str, Any] = {}
    if tls is not None:
        secure = {"tls_context": tls, "require_starttls": True, "auth_required": True, "authenticator": known}
    taken.port = local_process.free_port(0)
    controller = Controller(taken, hostname="127.0.0.1", port=taken.port, **secure)
    controller.start()
    try:
        yield taken
    finally:
        controller.stop()


@dataclass
class Cards:
    """What takes cards for Teams, and what it took: path and document."""

    port: int
    taken: list[tuple[str, dict[str, Any]]]
    status: int = 202


@contextmanager
def workflows(tls: ssl.SSLContext) -> Iterator[Cards]:
    """Answer as a workflow of Power Automate does, over TLS."""
    cards = Cards(0, [])

    class Workflow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            cards.taken.append((self.path, said))
            self.send_response(cards.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *_: object) -> None:
            """Who does not trust the certificate says nothing."""

    server = Server(("127.0.0.1", 0), Workflow)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    cards.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield cards
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
