"""HTTP to an archive: credentials, deadline, attempts, and one kind of error."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests import certs
from requests.auth import HTTPBasicAuth

from models.errors import OrganloopError, PacsFailed, PacsUnavailable
from services.pacs.session import BoundedSession, TooLargeAnswer

T = TypeVar("T")

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""
REFUSED_CREDENTIALS = frozenset({401, 403})
_HTTP_CALLS_IT_GONE = frozenset({404, 410})


class Unfinished(Exception):
    """An answer ended before its end."""


@dataclass(frozen=True)
class Http:
    """A connection to one archive.

    Proxies, `.netrc` and other habits of the environment count for nothing: images take no way round.

    Parameters
    ----------
    url
        Its address, ``http://host:port/path``.
    user, password
        For HTTP basic authentication; None for none.
    ca_file
        Certificates that TLS is checked against; None for the system's.
    deadline_seconds
        Longest wait for an answer, or for the next piece of one.
    attempts
        How often a request is tried while the archive does not answer. A timeout is never repeated.
    pause_seconds
        Wait before the second attempt; doubled before each further one.
    """

    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    deadline_seconds: float = 60.0
    attempts: int = 4
    pause_seconds: float = 0.5
    session: requests.Session = field(default_factory=BoundedSession, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.session.trust_env = False
        # Orthanc would take six seconds to compress an object of 40 MB that a wire carries in one.
        self.session.headers["Accept-Encoding"] = "identity"
        if self.user is not None:
            secret = self.password or ""
            self.session.auth = HTTPBasicAuth(self.user.encode(), secret.encode())  # text goes as Latin-1
        system = ssl.get_default_verify_paths()
        self.session.verify = str(self.ca_file or system.cafile or system.capath or certs.where())

    @property
    def name(self) -> str:
        """Host and port, for messages; an address may carry more than they should."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def ask(self, call: Callable[[], T], attempts: int | None = None) -> T:
        """Return what a call over this connection returns, tried again while there is no answer.

        Raises
        ------
        PacsUnavailable
            If there was no answer, or one of `BUSY`.
        PacsFailed
            If the answer was another error, or cannot be understood.
        """
        failure = PacsFailed(f"The archive at {self.name} was not asked.")
        for pause in self.pauses(attempts):
            time.sleep(pause)
            try:
                return call()
            except OrganloopError:
                raise
            except Exception as error:
                failure, again = self._failure(error)
                failure.__cause__ = error
                if not again:
                    break
        raise failure

    def pauses(self, attempts: int | None = None) -> Iterator[float]:
        """Yield the wait before each attempt, seconds."""
        yield 0.0
        for attempt in range((self.attempts if attempts is None else attempts) - 1):
            yield self.pause_seconds * 2**attempt

    def json(
        self, path: str, read: Callable[[Any], T], body: Any = None, method: str | None = None
    ) -> T | None:
        """Return what is read in a JSON answer; None where the archive has nothing under that path.

        Parameters
        ----------
        path
            Behind the connection's address, beginning with a slash.
        read
            Makes of the answer what is wanted; None, if its body is empty.
        body
            What to post: text, or what is sent as JSON. None posts nothing.
        method
            Unless it is GET without a body, and POST with one.
        """
        sent: dict[str, Any] = {"data": body.encode()} if isinstance(body, str) else {"json": body}

        def call() -> T | None:
            answer = self.session.request(
                method or ("GET" if body is None else "POST"),
                f"{self.url}{path}",
                timeout=self.deadline_seconds,
                **(sent if body is not None else {}),
            )
            if answer.status_code in _HTTP_CALLS_IT_GONE:
                return None
            answer.raise_for_status()
            return read(answer.json() if answer.content else None)

        return self.ask(call)

    def need(self, path: str, read: Callable[[Any], T], body: Any = None) -> T:
        """Return what is read in a JSON answer of a path that every such archive has; see `json`."""
        answer = self.json(path, read, body)
        if answer is None:
            raise PacsFailed(f"The archive at {self.name} does not know {path.partition('?')[0]} (HTTP 404).")
        return answer

    def stream(self, path: str, read: Callable[[requests.Response], T], accept: str = "*/*") -> T | None:
        """Return what `read` makes of an answer that is too large to be held; None if nothing is there."""

        def call() -> T | None:
            with self.session.get(
                f"{self.url}{path}", headers={"Accept": accept}, stream=True, timeout=self.deadline_seconds
            ) as answer:
                if answer.status_code in _HTTP_CALLS_IT_GONE:
                    return None
                answer.raise_for_status()
                return read(answer)

        return self.ask(call)

    def _failure(self, error: Exception) -> tuple[PacsFailed, bool]:
        """Return the error for a library's error, and whether to try again."""
        where = f"The archive at {self.name}"
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return self.refusal(error.response.status_code), error.response.status_code in BUSY
        if isinstance(error, requests.Timeout):
            seconds = f"{self.deadline_seconds:g} s"
            return PacsUnavailable(f"{where} did not answer within {seconds}."), False
        if isinstance(error, requests.exceptions.SSLError):
            return PacsFailed(f"{where} could not prove who it is: its certificate was not accepted."), False
        if isinstance(
            error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError | Unfinished
        ):
            return PacsUnavailable(f"{where} did not answer, or not to the end."), True
        if isinstance(error, TooLargeAnswer | MemoryError):
            return PacsFailed(f"{where} was not read: {_too_large(error)}."), False
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            return PacsFailed(f"{where} could not be asked: {error}"), False  # the file of certificates
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return PacsFailed(f"{where} could not be asked: that is no address."), False
        return PacsFailed(f"{where} answered with what cannot be understood."), False

    def refusal(self, status: int) -> PacsFailed:
        """Return the error for an HTTP status."""
        where = f"The archive at {self.name}"
        if status in REFUSED_CREDENTIALS:
            return PacsFailed(f"{where} refused the user name or password (HTTP {status}).")
        return (PacsUnavailable if status in BUSY else PacsFailed)(f"{where} answered with HTTP {status}.")


def _too_large(error: Exception) -> str:
    return str(error) or "its answer takes more memory than there is: give the process more, and try again"
