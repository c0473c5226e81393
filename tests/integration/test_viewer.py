"""The viewer's server: OHIF's pages and the archive on one origin, for this machine only."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.stack import viewer as viewer_server
from deploy.stack.local_process import NotInstalled
from deploy.stack.viewer import ViewerServer, installed
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


def get(url: str, host: str | None = None) -> bytes:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=GUARD_SECONDS) as answer:
        return bytes(answer.read())


def test_pages_archive_and_a_study_s_address_come_from_one_origin(
    server: ViewerServer, archive: Archive
) -> None:
    url = server.start(archive.dicomweb_url).url
    page = get(f"{url}/viewer?StudyInstanceUIDs=1.2.3")
    assert page == get(url)
    assert b"<title>OHIF" in page
    assert b"'/dicom-web'" in get(f"{url}/app-config.js")
    assert isinstance(json.loads(get(f"{url}/dicom-web/studies?limit=1")), list)


def test_a_page_that_gives_this_machine_another_name_gets_nothing(
    server: ViewerServer, archive: Archive
) -> None:
    url = server.start(archive.dicomweb_url).url
    with pytest.raises(urllib.error.HTTPError, match="421"):
        get(f"{url}/dicom-web/studies", host="elsewhere.example")


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
