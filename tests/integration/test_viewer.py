"""The viewer's server: OHIF's pages and the archive on one origin, for those whom the pages know."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from deploy.doors.configuration import SignIn
from deploy.stack import viewer as viewer_server
from deploy.stack.local_process import NotInstalled, free_port
from deploy.stack.local_server import basic
from deploy.stack.viewer import ViewerProcess, ViewerServer, installed, study_path
from flows.segmentation.first_look import FirstLook
from models.people import Role
from models.uids import SeriesUid, SopUid, StudyUid
from tests.support.archive import Archive
from tests.support.pages import BY_PROXY, Pages, by_proxy, pages_at
from tests.support.waiting import GUARD_SECONDS

PAGE = {"Accept": "text/html"}
STUDIES = "/dicom-web/studies"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with pages_at(tmp_path_factory.mktemp("home")) as pages:
        yield pages


@pytest.fixture(scope="module")
def by_headers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Pages behind a proxy of this machine, which tells who somebody is."""
    with pages_at(tmp_path_factory.mktemp("proxied"), **BY_PROXY) as pages:
        yield pages


@pytest.fixture
def server(tmp_path: Path, pages: Pages) -> Iterator[ViewerServer]:
    try:
        installed()
    except NotInstalled as error:
        pytest.skip(str(error))
    with ViewerServer(tmp_path, pages.viewer_port) as server:
        yield server


@pytest.fixture
def viewer(server: ViewerServer, archive: Archive, pages: Pages) -> ViewerProcess:
    """A viewer on the local archive, as `organloop up` starts it."""
    return server.start(archive.dicomweb_url, pages.sign_in, archive.reader)


def get(url: str, *of: dict[str, str]) -> httpx2.Response:
    heads = {name: value for one in of for name, value in one.items()}
    return httpx2.get(url, headers=heads, timeout=GUARD_SECONDS, trust_env=False)


def test_pages_archive_and_a_study_s_address_come_from_one_origin(
    viewer: ViewerProcess, pages: Pages
) -> None:
    url = viewer.url
    page = get(f"{url}/viewer?StudyInstanceUIDs=1.2.3", pages.signed_in)
    assert page.text == get(url, pages.signed_in).text
    assert "<title>OHIF" in page.text
    assert "'/dicom-web'" in get(f"{url}/app-config.js").text
    assert isinstance(get(f"{url}{STUDIES}?limit=1", pages.signed_in).json(), list)


def test_the_address_of_a_study_names_seg_image_and_segment() -> None:
    look = FirstLook("stomach", SeriesUid("1.2.3.1"), 6, SopUid("1.2.3.4"))
    assert study_path(StudyUid("1.2.3"), look) == (
        "/segmentation?StudyInstanceUIDs=1.2.3&initialSeriesInstanceUID=1.2.3.1&hangingProtocolId=default"
        "&image=1.2.3.4&segment=6"
    )
    assert study_path(StudyUid("1.2.3"), None) == "/segmentation?StudyInstanceUIDs=1.2.3"
    assert "image" not in study_path(StudyUid("1.2.3"), replace(look, image_uid=None))


def test_a_browser_without_a_session_is_sent_to_the_sign_in_and_comes_back(
    viewer: ViewerProcess, pages: Pages
) -> None:
    asked = "/segmentation?StudyInstanceUIDs=1.2.3&image=4"
    sent = get(f"{viewer.url}{asked}", PAGE)
    assert (sent.status_code, sent.headers["location"]) == (302, f"{pages.url}/viewer{asked}")
    back = get(sent.headers["location"], PAGE, pages.signed_in)
    assert (back.status_code, back.headers["location"]) == (303, f"{viewer.url}{asked}")
    assert "<title>OHIF" in get(back.headers["location"], PAGE, pages.signed_in).text
    for path in ("/", "/index.html", "/manifest.json", STUDIES):
        told = get(f"{viewer.url}{path}")
        assert (told.status_code, told.text) == (401, f"sign in first: {pages.url}/viewer\n"), path


@pytest.mark.parametrize("path", ["/", "/people", STUDIES, "/dicom-web/studies/1.2/series"])
def test_who_has_no_session_of_this_site_sees_nothing(
    viewer: ViewerProcess, archive: Archive, pages: Pages, path: str
) -> None:
    signature = pages.cookie.rpartition(".")[2]
    guessed = pages.cookie.removesuffix(signature) + signature.swapcase()
    strangers = (
        {},
        {"Cookie": guessed},
        {"Cookie": pages.cookie.partition("=")[0] + "="},
        pages.expired,
        pages.forged(*Role),  # signed by the site, and no session of its account
        pages.forged(*Role, key="another site's key, as long as it is"),
        by_proxy("root", *Role),
        basic(archive.reader),
        basic(archive.worker),
    )
    told = [get(f"{viewer.url}{path}", heads).status_code for heads in strangers]
    assert set(told) == ({404} if path == "/people" else {401})


@pytest.mark.parametrize(
    ("roles", "looks"),
    [
        ((Role.READER,), True),
        ((Role.AUDITOR,), True),
        ((Role.APPROVER,), True),
        ((Role.OPERATOR,), False),
        ((), False),
    ],
)
def test_roles_of_a_trusted_proxy_decide_who_looks(
    server: ViewerServer, archive: Archive, by_headers: Pages, roles: tuple[Role, ...], looks: bool
) -> None:
    url = server.start(archive.dicomweb_url, by_headers.sign_in, archive.reader).url
    who = by_proxy("weber", *roles)
    assert get(f"{url}{STUDIES}?limit=1", who).status_code == (200 if looks else 403)
    page = get(f"{url}/", who, PAGE)
    assert page.status_code == (200 if looks else 302)
    if not looks:
        told = get(page.headers["location"], who, PAGE)
        assert (told.status_code, "You may not do this" in told.text) == (403, True)


def test_where_the_pages_are_away_nobody_looks_and_it_is_said(server: ViewerServer, archive: Archive) -> None:
    nowhere = f"http://127.0.0.1:{free_port(0)}"
    url = server.start(archive.dicomweb_url, SignIn(nowhere, nowhere), archive.reader).url
    for path in ("/", STUDIES):
        told = get(f"{url}{path}", PAGE, basic(archive.reader))
        assert (told.status_code, "the pages do not answer" in told.text) == (503, True)
    saved = httpx2.post(f"{url}{STUDIES}", content=b"x", trust_env=False)
    assert (saved.status_code, "the pages do not answer" in saved.text) == (503, True)


def test_no_browser_learns_the_archive_s_password_and_no_other_user_reads_it(
    viewer: ViewerProcess, archive: Archive, pages: Pages, tmp_path: Path
) -> None:
    told = get(f"{viewer.url}{STUDIES}", pages.signed_in)
    word = basic(archive.reader)["Authorization"].partition(" ")[2]
    assert word not in str(told.headers) + told.text
    holding = [
        one for one in tmp_path.rglob("*") if one.is_file() and word in one.read_text(errors="replace")
    ]
    assert [one.name for one in holding] == ["viewer-account.conf"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600


@pytest.mark.parametrize("path", ["servers", "servers/evil/get", "studies/../servers", "info", ""])
def test_nothing_of_the_archive_is_administrated_through_it(
    viewer: ViewerProcess, pages: Pages, path: str
) -> None:
    assert get(f"{viewer.url}/dicom-web/{path}", pages.signed_in).status_code == 403


@pytest.mark.parametrize(
    ("heads", "answer"),
    [
        ({"Host": "elsewhere.example"}, 421),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
    ],
)
def test_a_page_from_elsewhere_gets_nothing_though_the_browser_has_a_session(
    viewer: ViewerProcess, pages: Pages, heads: dict[str, str], answer: int
) -> None:
    studies = f"{viewer.url}{STUDIES}"
    assert get(studies, pages.signed_in, heads).status_code == answer
    ours = {"Origin": viewer.url, "Sec-Fetch-Site": "same-origin"}
    assert get(studies, pages.signed_in, ours).status_code == 200


def test_an_archive_elsewhere_asks_for_its_own_password_behind_the_sign_in_or_for_none(
    server: ViewerServer, archive: Archive, pages: Pages
) -> None:
    """One that asks is passed what the browser says; one that does not is told of nobody."""
    asking = f"{server.start(archive.dicomweb_url, pages.sign_in).url}{STUDIES}"
    assert get(asking, basic(archive.reader)).status_code == 401
    told = get(asking, pages.signed_in)
    assert (told.status_code, told.headers["www-authenticate"][:5]) == (401, "Basic")
    assert get(asking, pages.signed_in, basic(archive.reader)).status_code == 200
    silent = server.start(archive.dicomweb_url, pages.sign_in, archive_asks=False).url
    assert get(f"{silent}{STUDIES}", pages.signed_in, basic(archive.reader)).status_code == 401  # not told


def test_behind_a_proxy_that_ends_tls_it_knows_its_own_address(
    tmp_path: Path, archive: Archive, pages: Pages
) -> None:
    with ViewerServer(tmp_path, address="https://reading.hospital:8443") as server:
        url = server.start(archive.dicomweb_url, pages.sign_in, archive.reader).url + STUDIES
        there = {"Host": "reading.hospital:8443"}
        assert (
            get(url, pages.signed_in, there, {"Origin": "https://reading.hospital:8443"}).status_code == 200
        )
        assert get(url, pages.signed_in, there, {"Origin": "http://reading.hospital:8443"}).status_code == 403
        assert get(url, pages.signed_in, {"Host": "other.hospital:8443"}).status_code == 421


def test_started_twice_it_is_one_and_for_another_archive_or_pages_it_is_started_again(
    server: ViewerServer, archive: Archive, pages: Pages
) -> None:
    first = server.start(archive.dicomweb_url, pages.sign_in)
    assert server.start(archive.dicomweb_url, pages.sign_in) == first
    second = server.start(f"{archive.url}/other-root", pages.sign_in)
    assert second.pid != first.pid
    assert not first.alive
    third = server.start(f"{archive.url}/other-root", SignIn(pages.url, "https://elsewhere.example"))
    assert third.pid != second.pid
    server.stop()
    assert (server.process, server.url) == (None, None)


def test_what_is_not_installed_is_named_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ViewerServer, pages: Pages
) -> None:
    monkeypatch.setattr(viewer_server, "PAGES", tmp_path / "nowhere")
    with pytest.raises(NotInstalled, match="make viewer"):
        server.start("http://127.0.0.1:1/dicom-web", pages.sign_in)
