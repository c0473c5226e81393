"""Messages go out by Apprise: a real webhook takes one; no password is quoted where one does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from models.errors import NotTold
from services.people.messages import AppriseMessenger


class Hook(BaseHTTPRequestHandler):
    """Takes what is posted."""

    taken: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    taken: list[dict[str, Any]] = []
    server = HTTPServer(("127.0.0.1", 0), type("OwnHook", (Hook,), {"taken": taken}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"json://127.0.0.1:{server.server_port}/told", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_takes_subject_and_text(hook) -> None:
    address, taken = hook
    messenger = AppriseMessenger(SecretStr(address))
    assert messenger.send("Organloop: 1 matter", "Release 8 waits.\nhttps://pages/model") == ""
    (one,) = taken
    assert (one["title"], one["message"]) == ("Organloop: 1 matter", "Release 8 waits.\nhttps://pages/model")


def test_an_address_that_does_not_take_it_is_named_by_its_place_and_the_others_are_told(hook) -> None:
    address, taken = hook
    away = "json://organloop:geheim@127.0.0.1:9/"
    said = AppriseMessenger(SecretStr(f"{away} {address}")).send("subject", "text")
    assert said == "address 1 of the 2 in ORGANLOOP_TELL did not take a message"
    assert len(taken) == 1
    with pytest.raises(NotTold, match="address 1 of the 1 in ORGANLOOP_TELL"):
        AppriseMessenger(SecretStr(away)).send("subject", "text")


@pytest.mark.parametrize("address", ["mail", "nothing://host", "mailtos://"])
def test_what_is_no_address_is_refused_at_the_start_without_its_password(address: str) -> None:
    with pytest.raises(NotTold, match="address 1 of ORGANLOOP_TELL") as failed:
        AppriseMessenger(SecretStr(f"{address}"))
    assert "host" not in str(failed.value)
