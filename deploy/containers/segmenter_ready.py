"""Whether the Triton beside this answers for the incumbent: what a cluster asks before studies go there.

Whether Triton itself is ready is another question: the right one is whether the incumbent's version is, and
which release that is, is a row of the records. On a GPU server the networks are models of their own, and are
asked for as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from models.errors import OrganloopError, ServingFailed
from models.release import NONE_SERVES
from services.records.store import open_records
from services.settings import Settings
from services.triton.client import TritonSegmenter
from services.wiring import triton_at

TRITON = "127.0.0.1:8001"
PORT = 8080
TRITON_SECONDS, RECORDS_SECONDS = 3.0, 2.0
"""Longest waits; together less than the probe's own."""


class Readiness:
    """Asks the records for the incumbent and Triton for its version.

    Records that are away for a while, or take no notice, take no Triton out of service: the incumbent known
    last counts.

    Parameters
    ----------
    incumbent
        Returns the number of the release that serves, or None.
    triton
        Asks the Triton beside this.
    """

    def __init__(self, incumbent: Callable[[], int | None], triton: TritonSegmenter) -> None:
        self._incumbent = incumbent
        self._triton = triton
        self._known: int | None = None
        self._asking: Future[int | None] | None = None
        self._asks = ThreadPoolExecutor(max_workers=1)

    def check(self) -> tuple[bool, str]:
        """Return whether the incumbent is answered for, and a line that says why or why not."""
        asking = self._asking = self._asking or self._asks.submit(self._incumbent)
        try:
            self._known = asking.result(timeout=RECORDS_SECONDS)
        except (OrganloopError, TimeoutError) as error:
            if self._known is None:
                why = str(error) or f"the records have not answered in {RECORDS_SECONDS:g} s"
                return False, f"the incumbent is not known: {why}"
        finally:
            if asking.done():
                self._asking = None
        if self._known is None:
            return False, NONE_SERVES
        try:
            if not self._triton.ready(self._known):
                return False, f"release {self._known} is not ready"
        except ServingFailed as error:
            return False, f"release {self._known} is not ready: {error}"
        return True, f"release {self._known} is ready"


def serve(readiness: Readiness, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server of ``GET /ready``: 200 or 503, with the reason as text; ``/live`` says that it runs.

    A probe's text is shown to nobody, so that what it waits for is in the log too, once for each reason.
    """
    logged = ""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/live":
                self._say(HTTPStatus.OK, "running")
            elif self.path == "/ready":
                ready, why = readiness.check()
                self._log(why)
                self._say(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, why)
            else:
                self._say(HTTPStatus.NOT_FOUND, "GET /ready or /live")

        def _log(self, why: str) -> None:
            nonlocal logged
            if why != logged:
                sys.stderr.write(f"{why}\n")
                logged = why

        def _say(self, status: HTTPStatus, text: str) -> None:
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Leave the log to what changes: a probe every few seconds is no news."""

    return ThreadingHTTPServer((host, port), Handler)


class Incumbent:
    """The incumbent of the settings' records; the records are opened at the first question that succeeds."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.records_url
        self._read: Callable[[], int | None] | None = None

    def __call__(self) -> int | None:
        """Return the number of the release that serves, or None. Raises `StorageFailed`."""
        if self._read is None:
            self._read = open_records(self._url).incumbent
        return self._read()


def main() -> None:
    """Answer until the container ends."""
    settings = Settings()
    triton = triton_at(TRITON, settings, deadline_seconds=TRITON_SECONDS)
    server = serve(Readiness(Incumbent(settings), triton), "", PORT)
    sys.stderr.write(f"answering GET /ready on port {PORT}\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
