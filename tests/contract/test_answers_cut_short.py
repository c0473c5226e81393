"""Answers of an archive that end early, at each of their bytes: none is taken for a whole one."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from models.errors import PacsFailed, PacsUnavailable
from services.pacs import multipart
from services.pacs.http import Http

CONTENT = b"one object, all of it"
PARTS = multipart.encode([CONTENT, CONTENT])
TYPED = b"HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 08:00:00 GMT\r\nContent-Type: %s\r\n"
PLAIN = TYPED % b"application/dicom"
RELATED = TYPED % multipart.CONTENT_TYPE.encode()
JSON = TYPED % b"application/json"
ROWS = b'[{"ID": 1}, {"ID": 2}]'


def sized(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


def chunked(head: bytes, body: bytes) -> bytes:
    pieces = [body[at : at + 9] for at in range(0, len(body), 9)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + framed + b"0\r\n\r\n"


@contextmanager
def archive_that_answers(answer: bytes) -> Iterator[tuple[Http, list[int]]]:
    """Yield a connection to a server that says one thing, and a list whose one number cuts it short."""
    length = [len(answer)]

    class Says(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked: socket.socket = self.request
            while b"\r\n\r\n" not in (head := asked.recv(1 << 16)):
                assert head
            asked.sendall(answer[: length[0]])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Says) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Http(f"http://127.0.0.1:{server.server_address[1]}", attempts=1), length
        server.shutdown()


def read_whole(http: Http) -> bytes | None:
    return http.stream("/one", lambda answer: b"".join(answer.iter_content(1 << 16)))


def read_in_parts(http: Http) -> list[bytes] | None:
    parts: list[bytes] = []
    http.stream(
        "/parts",
        lambda answer: multipart.read_parts(
            answer.iter_content(7), multipart.BOUNDARY, lambda _, pieces: parts.append(b"".join(pieces))
        ),
    )
    return parts


def read_rows(http: Http) -> list[int] | None:
    return http.json("/rows", lambda rows: [row["ID"] for row in rows])


@pytest.mark.parametrize(
    ("answer", "read", "expected"),
    [
        (sized(PLAIN, CONTENT), read_whole, CONTENT),
        (chunked(PLAIN, CONTENT), read_whole, CONTENT),
        (sized(RELATED, PARTS), read_in_parts, [CONTENT, CONTENT]),
        (chunked(RELATED, PARTS), read_in_parts, [CONTENT, CONTENT]),
        (sized(JSON, ROWS), read_rows, [1, 2]),
        (chunked(JSON, ROWS), read_rows, [1, 2]),
    ],
    ids=["sized", "chunked", "sized parts", "chunked parts", "sized rows", "chunked rows"],
)
def test_an_answer_that_ends_at_any_byte_before_its_end_is_no_answer(answer, read, expected) -> None:
    with archive_that_answers(answer) as (http, length):
        assert read(http) == expected
        for length[0] in range(len(answer)):
            try:
                found = read(http)
            except PacsUnavailable:
                continue
            except PacsFailed as error:
                half_a_list = "cannot be understood" in str(error) and read is read_rows
                found = expected if half_a_list else error
            assert found == expected, length[0]  # all that matters had come


def test_an_answer_of_which_nobody_can_say_where_it_ends_is_asked_for_again() -> None:
    """Its head was cut, or it never had a length: what came may be all, or not."""
    with (
        archive_that_answers(PLAIN + b"\r\n" + CONTENT) as (http, _),
        pytest.raises(PacsUnavailable, match="not to the end"),
    ):
        read_whole(http)


@pytest.mark.parametrize("body", [b"", b"nothing here"])
@pytest.mark.parametrize(
    ("status", "read", "expected"),
    [
        (b"404 Not Found", read_whole, None),
        (b"404 Not Found", read_rows, None),
        (b"401 Unauthorized", read_whole, "refused the user name or password"),
        (b"401 Unauthorized", read_rows, "refused the user name or password"),
    ],
)
def test_a_status_that_says_all_needs_no_length(status, read, expected, body) -> None:
    answer = (PLAIN + b"\r\n").replace(b"200 OK", status) + body
    with archive_that_answers(answer) as (http, _):
        if expected is None:
            assert read(http) is None
        else:
            with pytest.raises(PacsFailed, match=expected):
                read(http)


def test_an_answer_without_content_needs_no_length() -> None:
    with archive_that_answers(PLAIN.replace(b"200 OK", b"204 No Content") + b"\r\n") as (http, _):
        assert http.json("/rows", lambda rows: rows) is None
        assert read_whole(http) == b""


def test_a_list_that_shows_its_end_is_taken_behind_a_redirect_too() -> None:
    moved = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %s/rows\r\n"
    with (
        archive_that_answers(JSON + b"Connection: close\r\n\r\n" + ROWS) as (there, _),
        archive_that_answers(sized(moved % there.url.encode(), b"")) as (http, _),
    ):
        assert read_rows(there) == [1, 2]
        assert read_rows(http) == [1, 2]
