"""Answers of DICOMweb servers that Orthanc does not give, and what becomes of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.errors import PacsFailed, PacsUnavailable, Refused, StorageFailed, StoredDiffers
from services.pacs import multipart
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.http import Http
from tests.support.instances import Instance, ct_study


def over(url: str, **values: Any) -> Http:
    return Http(url, **{"attempts": 3, "pause_seconds": 0.01, "deadline_seconds": 5} | values)


@dataclass
class Script:
    """A DICOMweb server that answers as a test says."""

    answer: Callable[[str, str, bytes], tuple[int, str, bytes]]
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[DicomwebArchive, Script]]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[str, str, bytes], tuple[int, str, bytes]]) -> tuple[DicomwebArchive, Script]:
        script = Script(answer)

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                script.asked.append(f"{self.command} {self.path}")
                status, content_type, content = script.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                if not content_type.startswith("multipart"):  # whose own end is its end
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_one  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return DicomwebArchive(over(f"http://127.0.0.1:{server.server_port}/dicom-web")), script

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


JSON = "application/dicom+json"


def rows(objects: list[Instance], *, counted: int | None = None, studies: bool = False) -> bytes:
    def row(one: Instance) -> dict[str, Any]:
        elements = {"0020000D": one.study_uid, "00100020": "phantom"} | (
            {"00201208": len(objects) if counted is None else counted}
            if studies
            else {"00080018": one.sop_instance_uid, "0020000E": one.series_uid, "00080060": "CT"}
        )
        return {tag: {"vr": "UI", "Value": [value]} for tag, value in elements.items()}

    return json.dumps([row(one) for one in (objects[:1] if studies else objects)]).encode()


def serving(
    objects: list[Instance],
    retrieved: Callable[[], tuple[int, str, bytes]],
    listed: list[Instance] | None = None,
) -> Callable[[str, str, bytes], tuple[int, str, bytes]]:
    """Answer every search with all there is, whatever page is asked for."""

    def answer(_: str, path: str, __: bytes) -> tuple[int, str, bytes]:
        if "/instances?" in path:
            return 200, JSON, rows(objects if listed is None else listed)
        if "/studies?" in path:
            return 200, JSON, rows(objects, studies=True)
        return retrieved()

    return answer


def test_a_server_that_knows_no_pages_is_not_asked_for_ever(scripted: Any) -> None:
    objects = ct_study(3)
    pacs, script = scripted(serving(objects, lambda: (404, "", b"")))
    study = pacs.study(objects[0].study_uid)
    assert study is not None
    assert len(study.series[0].sop_instance_uids) == 3
    assert len(script.asked) == 5  # studies twice, instances twice, priority


def test_a_server_that_hides_instances_it_counts_fails(scripted: Any) -> None:
    objects = ct_study(5)
    pacs, _ = scripted(serving(objects, lambda: (404, "", b""), listed=objects[:3]))
    with pytest.raises(PacsFailed, match=r"counts 5 instances .* lists 3"):
        pacs.study(objects[0].study_uid)


@pytest.mark.parametrize(
    ("sent", "measured"),
    [
        (slice(0, 2), {"listed": 3, "received": 2, "missing": 1, "unlisted": 0}),
        (slice(0, 0), {"listed": 3, "received": 0, "missing": 3, "unlisted": 0}),
        (slice(0, 4), {"listed": 3, "received": 4, "missing": 0, "unlisted": 1}),
        (slice(1, 4), {"listed": 3, "received": 3, "missing": 1, "unlisted": 1}),
    ],
)
def test_other_objects_than_listed_are_incomplete(
    scripted: Any, tmp_path: Path, sent: slice, measured: dict[str, int]
) -> None:
    objects = ct_study(4)
    body = multipart.encode([one.content for one in objects[sent]])
    pacs, _ = scripted(serving(objects[:3], lambda: (200, multipart.CONTENT_TYPE, body)))
    with pytest.raises(Refused, match="incomplete") as refused:
        pacs.fetch_study(objects[0].study_uid, tmp_path)
    assert refused.value.measured == measured
    assert list(tmp_path.iterdir()) == []


def test_an_answer_cut_short_is_never_taken_for_whole(scripted: Any, tmp_path: Path) -> None:
    objects = ct_study(2)
    body = multipart.encode([one.content for one in objects])
    pacs, script = scripted(serving(objects, lambda: (200, multipart.CONTENT_TYPE, body[: len(body) - 60])))
    with pytest.raises(PacsUnavailable, match="not to the end"):
        pacs.fetch_study(objects[0].study_uid, tmp_path)
    assert sum("/series/" in path for path in script.asked) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_single_object_may_come_unwrapped(scripted: Any, tmp_path: Path) -> None:
    objects = ct_study(1)
    pacs, _ = scripted(serving(objects, lambda: (200, "application/dicom", objects[0].content)))
    path = pacs.fetch_instance(objects[0].sop_instance_uid, tmp_path)
    assert path is not None
    assert path.read_bytes() == objects[0].content


@pytest.mark.parametrize("content", [b"<html>busy</html>", b"", bytes(200)])
def test_what_is_no_dicom_is_a_failure(scripted: Any, tmp_path: Path, content: bytes) -> None:
    objects = ct_study(1)
    pacs, _ = scripted(serving(objects, lambda: (200, "text/html", content)))
    with pytest.raises(PacsFailed, match="no DICOM object"):
        pacs.fetch_study(objects[0].study_uid, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_asked_again(scripted: Any) -> None:
    objects = ct_study(2)
    answers = iter([(503, "text/plain", b"busy"), (502, "text/plain", b"starting")])
    usual = serving(objects, lambda: (404, "", b""))
    pacs, _ = scripted(lambda *asked: next(answers, None) or usual(*asked))
    assert pacs.study(objects[0].study_uid) is not None


def test_a_server_that_stays_busy_fails_after_three_attempts(scripted: Any) -> None:
    pacs, script = scripted(lambda *_: (503, "text/plain", b"busy"))
    with pytest.raises(PacsUnavailable, match="HTTP 503"):
        pacs.study("1.2.3")
    assert len(script.asked) == 3


@pytest.mark.parametrize("content", [b"<html>", b"[1]", b'"text"', b'[{"0020000D": 5}]', b"\xff"])
def test_an_answer_that_is_no_dicom_json_is_a_failure(scripted: Any, content: bytes) -> None:
    pacs, _ = scripted(lambda *_: (200, JSON, content))
    with pytest.raises(PacsFailed, match="cannot be understood"):
        pacs.study("1.2.3")


@dataclass
class Shelf:
    """A server that stores, once it has said what it has to say."""

    says: list[tuple[int, bytes]]
    there: list[Instance] = field(default_factory=list)
    forgets: bool = False

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        if method == "GET" and "/instances/" in path:
            [item] = [one for one in self.there if path.endswith(one.sop_instance_uid)]
            return 200, "application/dicom", item.content
        if method == "GET":
            uid = path.partition("00080018=")[2].partition("&")[0]
            return 200, JSON, rows([one for one in self.there if one.sop_instance_uid == uid])
        if self.says:
            status, content = self.says.pop(0)
            return status, JSON, content
        if not self.forgets:
            uid = body.partition(b"\x08\x00\x18\x00UI")[2]
            length = int.from_bytes(uid[:2], "little")
            content = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
            self.there.append(Instance(uid[2 : 2 + length].decode().strip("\0"), "", "", content))
        return 200, JSON, b"{}"


def refusing(*codes: int) -> list[tuple[int, bytes]]:
    items = [
        {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [code]}}]}} for code in codes
    ]
    return [(409, json.dumps(item).encode()) for item in items]


def test_a_reason_that_may_pass_is_tried_again(scripted: Any) -> None:
    objects = ct_study(1, 1)
    shelf = Shelf(refusing(0xA700, 0x0110))
    pacs, script = scripted(shelf)
    pacs.store(objects)
    assert [one.sop_instance_uid for one in shelf.there] == [one.sop_instance_uid for one in objects]
    assert sum(path.startswith("POST") for path in script.asked) == 4


def test_a_reason_that_stays_is_reported_for_the_object(scripted: Any) -> None:
    objects = ct_study(1, 1)
    pacs, script = scripted(Shelf(refusing(0xA700, 0xA700, 0xA700)))
    with pytest.raises(StorageFailed, match=f"{objects[0].sop_instance_uid}: A700H, out of resources; "):
        pacs.store(objects)
    assert sum(path.startswith("POST") for path in script.asked) == 3


def test_an_answer_lost_on_the_way_back_does_not_store_twice(scripted: Any) -> None:
    [one] = ct_study(1)
    shelf = Shelf([])

    def answer(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        status, content_type, content = shelf(method, path, body)
        return (504 if method == "POST" else status), content_type, content

    pacs, script = scripted(answer)
    pacs.store([one])
    assert len(shelf.there) == 1
    assert sum(path.startswith("POST") for path in script.asked) == 1


def test_what_was_stored_is_asked_of_its_study_alone(scripted: Any) -> None:
    """Some archives refuse to search all they hold, and a copy in another study is no business of ours."""
    [one] = ct_study(1)
    shelf = Shelf([])

    def answer(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        return (400, "", b"") if path.startswith("/dicom-web/instances") else shelf(method, path, body)

    pacs, script = scripted(answer)
    pacs.store([one])
    place = f"/studies/{one.study_uid}/series/{one.series_uid}/instances/{one.sop_instance_uid}"
    assert f"GET /dicom-web{place}" in script.asked


def test_what_lies_in_another_series_of_the_study_under_the_uid_differs(scripted: Any) -> None:
    [one] = ct_study(1)
    elsewhere = Instance(one.sop_instance_uid, one.study_uid, "1.2.3", one.content)

    def answer(method: str, path: str, _: bytes) -> tuple[int, str, bytes]:
        return (200, JSON, rows([elsewhere])) if "?" in path else (404, "", b"")

    pacs, script = scripted(answer)
    with pytest.raises(StoredDiffers):
        pacs.store([one])
    assert not any(path.startswith("POST") for path in script.asked)


def test_what_was_accepted_and_never_listed_is_not_stored(scripted: Any) -> None:
    [one] = ct_study(1)
    pacs, script = scripted(Shelf([], forgets=True))
    with pytest.raises(StorageFailed, match=f"{one.sop_instance_uid}: accepted, but not listed afterwards"):
        pacs.store([one])
    assert sum(path.startswith("POST") for path in script.asked) == 1
