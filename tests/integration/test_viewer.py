"""The viewer's server: OHIF's pages and the archive on one origin, for this machine only."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.stack import viewer as viewer_server
from deploy.stack.local_process import NotInstalled
from deploy.stack.local_server import basic
from deploy.stack.viewer import ViewerProcess, ViewerServer, installed, study_path
from flows.segmentation.first_look import FirstLook
from models.uids import SeriesUid, SopUid, StudyUid
from services.pacs.accounts import Account
from tests.support.archive import Archive
from tests.support.waiting import GUARD_SECONDS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ViewerServer]:
    try:
        installed()
    except NotInstalled as error:
        pytest.skip(str(error))
    with ViewerServer(tmp_path) as server:
        yield server


@pytest.fixture
def viewer(server: ViewerServer, archive: Archive) -> ViewerProcess:
    """A viewer on the local archive, as `organloop up` starts it."""
    return server.start(archive.dicomweb_url, archive.reader)


def get(url: str, account: Account | None = None, **heads: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in heads.items()}
    request = urllib.request.Request(url, headers=named | (basic(account) if account else {}))
    with urllib.request.urlopen(request, timeout=GUARD_SECONDS) as answer:
        return bytes(answer.read())


def refusal(url: str, account: Account | None = None, **heads: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(url, account, **heads)
    refused.value.close()
    return refused.value.code


def test_pages_archive_and_a_study_s_address_come_from_one_origin(
    viewer: ViewerProcess, archive: Archive
) -> None:
    url = viewer.url
    page = get(f"{url}/viewer?StudyInstanceUIDs=1.2.3")
    assert page == get(url)
    assert b"<title>OHIF" in page
    assert b"'/dicom-web'" in get(f"{url}/app-config.js")
    assert isinstance(json.loads(get(f"{url}/dicom-web/studies?limit=1", archive.reader)), list)


def test_the_address_of_a_study_names_seg_image_and_segment() -> None:
    look = FirstLook("stomach", SeriesUid("1.2.3.1"), 6, SopUid("1.2.3.4"))
    assert study_path(StudyUid("1.2.3"), look) == (
        "/segmentation?StudyInstanceUIDs=1.2.3&initialSeriesInstanceUID=1.2.3.1&hangingProtocolId=default"
        "&image=1.2.3.4&segment=6"
    )
    assert study_path(StudyUid("1.2.3"), None) == "/segmentation?StudyInstanceUIDs=1.2.3"
    assert "image" not in study_path(StudyUid("1.2.3"), replace(look, image_uid=None))


def test_the_address_that_is_printed_signs_in_and_nobody_else_sees_a_patient(
    viewer: ViewerProcess, archive: Archive
) -> None:
    link = viewer.link(archive.reader)
    assert link.removeprefix(f"http://reader:{archive.reader.password}@") == f"{viewer.url}/open"[7:]
    assert b"<title>OHIF" in get(f"{viewer.url}/open", archive.reader)
    for account in (None, Account("reader", ""), Account("reader", "x"), archive.worker):
        assert refusal(f"{viewer.url}/open", account) == 401
        assert refusal(f"{viewer.url}/dicom-web/studies", account) == 401


@pytest.mark.parametrize("path", ["servers", "servers/evil/get", "studies/../servers", "info", ""])
def test_nothing_of_the_archive_is_administrated_through_it(
    viewer: ViewerProcess, archive: Archive, path: str
) -> None:
    assert refusal(f"{viewer.url}/dicom-web/{path}", archive.reader) == 403


@pytest.mark.parametrize(
    ("heads", "answer"),
    [
        ({"Host": "elsewhere.example"}, 421),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),  # another port of this machine
    ],
)
def test_a_page_from_elsewhere_gets_nothing_though_the_browser_knows_the_password(
    viewer: ViewerProcess, archive: Archive, heads: dict[str, str], answer: int
) -> None:
    studies = f"{viewer.url}/dicom-web/studies"
    assert refusal(studies, archive.reader, **heads) == answer
    assert get(studies, archive.reader, Origin=viewer.url, Sec_Fetch_Site="same-origin")


def test_an_archive_elsewhere_is_asked_with_the_reader_s_own_password_or_with_none(
    server: ViewerServer, archive: Archive
) -> None:
    """One that asks is passed what the browser says; one that does not is never told who reads here."""
    asking = server.start(archive.dicomweb_url)
    assert refusal(f"{asking.url}/dicom-web/studies") == 401
    assert get(f"{asking.url}/dicom-web/studies", archive.reader)
    open_to_all = server.start(archive.dicomweb_url, archive.reader, archive_asks=False)
    assert refusal(f"{open_to_all.url}/dicom-web/studies") == 401
    assert refusal(f"{open_to_all.url}/dicom-web/studies", archive.reader) == 401  # of the archive: not told


def test_started_twice_it_is_one_and_for_another_archive_it_is_started_again(
    server: ViewerServer, archive: Archive
) -> None:
    first = server.start(archive.dicomweb_url)
    assert server.start(archive.dicomweb_url) == first
    second = server.start(f"{archive.url}/other-root")
    assert second.pid != first.pid
    assert not first.alive
    server.stop()
    assert (server.process, server.url) == (None, None)


def test_what_is_not_installed_is_named_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ViewerServer
) -> None:
    monkeypatch.setattr(viewer_server, "PAGES", tmp_path / "nowhere")
    with pytest.raises(NotInstalled, match="make viewer"):
        server.start("http://127.0.0.1:1/dicom-web")
