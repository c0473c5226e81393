"""A save in the viewer bears the proven name of who saved: by nginx, the pages and a real archive."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from deploy.stack.viewer import ViewerServer
from flows.arrivals.savers import saver_of, savers_of
from models.people import Person, Role
from models.uids import StudyUid
from services.pacs import multipart
from services.records.chain import chain_faults
from services.records.events.event import Proof
from services.records.store import SqlRecords, open_records
from tests.support.archive import Archive
from tests.support.instances import ct_study
from tests.support.listed import listed, put_on_list, said
from tests.support.nginx import installed
from tests.support.pages import BY_PROXY, Pages, by_proxy, know_archive, pages_at
from tests.support.waiting import GUARD_SECONDS

JSON = {"Accept": "application/dicom+json"}
XML = {"Accept": "application/dicom+xml"}


@dataclass(frozen=True)
class Room:
    """A viewer whose pages take the word of a proxy for who somebody is.

    Parameters
    ----------
    home
        Of the pages.
    pages, viewer
        Where they are.
    """

    home: Path
    pages: Pages
    viewer: str

    def save(
        self, who: dict[str, str], *files: bytes, to: str = "/dicom-web/studies", **heads: str
    ) -> httpx2.Response:
        """Store files as OHIF does, signed in as somebody."""
        kind = {
            "Content-Type": multipart.CONTENT_TYPE,
            "Origin": self.viewer,
            "Sec-Fetch-Site": "same-origin",
        }
        named = {name.replace("_", "-"): value for name, value in heads.items()}
        return httpx2.post(
            f"{self.viewer}{to}",
            content=multipart.encode(files),
            headers=kind | JSON | who | named,
            timeout=GUARD_SECONDS,
            trust_env=False,
        )

    @property
    def records(self) -> SqlRecords:
        return open_records(f"sqlite:///{self.home / 'records.sqlite'}")


@pytest.fixture(scope="module")
def room(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    installed()
    home = tmp_path_factory.mktemp("home")
    know_archive(home, archive.dicomweb_url, archive.server.accounts)
    with pages_at(home, **BY_PROXY) as pages, ViewerServer(home / "viewer", pages.viewer_port) as server:
        yield Room(home, pages, server.start(archive.dicomweb_url, pages.sign_in, archive.reader).url)


READER = by_proxy("weber", Role.READER)
OTHER = by_proxy("lang", Role.READER)


def held(archive: Archive) -> set[str]:
    return {str(one["SOPInstanceUID"]) for one in archive.instances()}


@pytest.mark.parametrize("accept", [JSON, XML], ids=["JSON", "XML"])
def test_what_is_saved_is_in_the_archive_and_on_record_as_the_reader_s(
    room: Room, clean_archive: Archive, accept: dict[str, str]
) -> None:
    two = ct_study(2)
    told = room.save(READER, *(one.content for one in two), **accept)
    direct = clean_archive.http("/dicom-web", clean_archive.reader)
    assert (told.status_code, told.headers["content-type"]) == (200, accept["Accept"])
    assert f"{room.viewer}/dicom-web/studies/" in told.text, "addresses in the answer lead to the viewer"
    assert held(clean_archive) == {one.sop_instance_uid for one in two}
    [study] = direct.need("/studies", list)
    for one in two:
        [saved] = savers_of(one.sop_instance_uid, room.records)
        assert (saved.who, saved.proof) == ("Dr. weber", Proof("weber", "proxy"))
        assert saved.said.study_uid == study["0020000D"]["Value"][0]
        assert saved.key == f"saved-in-viewer:{one.sop_instance_uid}:1"
    assert chain_faults(room.records.lines()) == []


def test_saved_again_it_is_on_record_once_and_of_two_people_nobody_s(
    room: Room, clean_archive: Archive
) -> None:
    [one] = ct_study(1)
    uid = one.sop_instance_uid
    study = f"/dicom-web/studies/{one.study_uid}"
    assert room.save(READER, one.content).status_code == 200
    assert room.save(READER, one.content, to=study).status_code == 200
    assert len(savers_of(uid, room.records)) == 1
    assert saver_of(uid, room.records) == Person("weber", "proxy", "Dr. weber")
    assert room.save(OTHER, one.content).status_code == 200
    assert [saved.who for saved in savers_of(uid, room.records)] == ["Dr. weber", "Dr. lang"]
    assert saver_of(uid, room.records) is None, "nobody knows whose it is"


def test_a_save_is_a_sign_of_life_of_the_study_that_its_reader_has(
    room: Room, clean_archive: Archive
) -> None:
    [one] = ct_study(1)
    uid = StudyUid(one.study_uid)
    put_on_list(room.records, listed(1, study_uid=uid), (said("liver", "review"),))
    with closing(sqlite3.connect(room.home / "records.sqlite", isolation_level=None)) as database:
        for holder, renewed in (("proxy lang", False), ("proxy weber", True)):
            database.execute("UPDATE worklist SET holder = ?, held_ms = 1", (holder,))
            assert room.save(READER, one.content).status_code == 200
            assert (room.records.listed(f"{1:016x}").held_ms > 1) is renewed, holder


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ({}, 401),
        (by_proxy("ito", Role.AUDITOR), 403),
        (by_proxy("ito", Role.APPROVER, Role.OPERATOR), 403),
        (by_proxy("guest"), 403),
    ],
    ids=["nobody", "an auditor", "an approver", "a guest"],
)
def test_who_only_looks_saves_nothing(
    room: Room, clean_archive: Archive, who: dict[str, str], status: int
) -> None:
    [one] = ct_study(1)
    assert room.save(who, one.content).status_code == status
    assert held(clean_archive) == set()
    assert savers_of(one.sop_instance_uid, room.records) == ()


@pytest.mark.parametrize(
    "heads",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
def test_a_page_from_elsewhere_saves_nothing(
    room: Room, clean_archive: Archive, heads: dict[str, str]
) -> None:
    assert room.save(READER, ct_study(1)[0].content, **heads).status_code == 403
    assert held(clean_archive) == set()


def test_the_way_to_the_archive_is_not_open_on_the_pages_themselves(
    room: Room, clean_archive: Archive
) -> None:
    [one] = ct_study(1)
    body, kind = multipart.encode([one.content]), {"Content-Type": multipart.CONTENT_TYPE}
    for heads in ({}, READER, READER | {"Origin": room.pages.url}, {"Origin": room.viewer}):
        told = httpx2.post(f"{room.pages.url}/archive/studies", content=body, headers=kind | heads)
        assert told.status_code == (401 if heads == {"Origin": room.viewer} else 403)
    for path in ("/saves/studies", "/dicom-web/series", "/dicom-web/studies/1.2/series", "/archive/studies"):
        assert room.save(READER, one.content, to=path).status_code in (403, 404, 405), path
    assert held(clean_archive) == set()


def test_what_the_archive_refuses_is_told_as_it_says_and_is_nobody_s(
    room: Room, clean_archive: Archive
) -> None:
    before = room.records.head()
    told = room.save(READER, b"no DICOM at all")
    assert told.status_code >= 400
    assert room.records.head() == before


def test_a_save_that_cannot_be_put_on_record_says_so_and_saved_again_it_is(
    room: Room, clean_archive: Archive
) -> None:
    """The database takes none of them for a while."""
    [one] = ct_study(1)
    room.save(READER, ct_study(1)[0].content)  # the records are open
    with closing(sqlite3.connect(room.home / "records.sqlite", isolation_level=None)) as database:
        forbidden = "WHEN NEW.what = 'saved-in-viewer' BEGIN SELECT RAISE(ABORT, 'full'); END"
        database.execute(f"CREATE TRIGGER full BEFORE INSERT ON events {forbidden}")
        told = room.save(READER, one.content)
        database.execute("DROP TRIGGER full")
    assert told.status_code == 503
    assert told.text.startswith(
        "It is in the archive, but under nobody's name: the records cannot be written."
    )
    assert held(clean_archive) >= {one.sop_instance_uid}
    assert savers_of(one.sop_instance_uid, room.records) == ()
    assert room.save(READER, one.content).status_code == 200
    assert len(savers_of(one.sop_instance_uid, room.records)) == 1


def test_a_large_save_is_never_in_the_memory_of_the_pages(room: Room, clean_archive: Archive) -> None:
    """One part of 48 MB, as a large SEG; that nothing of it is stored does not matter."""

    def resident() -> int:
        lines = Path(f"/proc/{room.pages.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    before = resident()
    assert room.save(READER, bytes(48 * 1024**2)).status_code >= 400
    assert resident() - before < 16 * 1024
