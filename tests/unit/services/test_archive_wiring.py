"""Which archive the settings make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from models.errors import PacsFailed
from services.pacs.accounts import Account, Accounts
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.orthanc import OrthancArchive
from services.pacs.queried_feed import QueriedFeed
from services.pacs.query_retrieve import OrthancQuerySource
from services.settings import Settings
from services.wiring import ReadersArchive, archive_of, connect_in_process, readers_archive, source_of


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Note what a local stack with an archive notes."""
    addresses = {
        "triton_url": "127.0.0.1:1",
        "orthanc_url": "http://127.0.0.1:2",
        "dicomweb_url": "http://127.0.0.1:2/dicom-web",
    }
    (tmp_path / "stack.json").write_text(json.dumps(addresses))
    return tmp_path


def addresses(archive: OrthancArchive | DicomwebArchive | None) -> tuple[str | None, str | None]:
    if archive is None:
        return None, None
    rest = archive.rest.url if isinstance(archive, OrthancArchive) else None
    return rest, archive._web.url


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("http://127.0.0.1:2", "http://127.0.0.1:2/dicom-web")),
        ({"orthanc_url": "https://pacs:8042/"}, ("https://pacs:8042", "https://pacs:8042/dicom-web")),
        ({"dicomweb_url": "https://pacs/rs/"}, (None, "https://pacs/rs")),
        (
            {"orthanc_url": "http://a:1", "dicomweb_url": "http://b:2/dw"},
            ("http://a:1", "http://b:2/dw"),
        ),
    ],
)
def test_the_settings_come_before_the_local_stack(
    stack: Path, given: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    assert addresses(archive_of(Settings(home=stack, **given))) == expected


def test_the_local_stack_s_archive_is_asked_by_its_own_worker_s_account(stack: Path) -> None:
    """Whatever the settings say of another archive: its password is for that one alone."""
    elsewhere = {"archive_user": "me", "archive_password": "theirs"}
    archive = archive_of(Settings(home=stack, **elsewhere))
    assert isinstance(archive, OrthancArchive)
    assert (archive.rest.user, archive.rest.password) == (None, None), (
        "of an earlier version, which asks nobody"
    )
    worker = Accounts.made(Settings(home=stack).archive_home).worker
    archive = archive_of(Settings(home=stack, **elsewhere))
    assert isinstance(archive, OrthancArchive)
    for one in (archive.rest, archive.web):
        assert (one.user, one.password) == (worker.user, worker.password)
    named = archive_of(Settings(home=stack, orthanc_url="http://pacs:1", **elsewhere))
    assert isinstance(named, OrthancArchive)
    assert (named.rest.user, named.rest.password) == ("me", "theirs")


@pytest.mark.parametrize("noted", [None, {"triton_url": "127.0.0.1:1"}])
def test_without_an_archive_there_is_none(tmp_path: Path, noted: dict[str, str] | None) -> None:
    if noted is not None:
        (tmp_path / "stack.json").write_text(json.dumps(noted))
    services = connect_in_process(Settings(home=tmp_path))
    assert (services.archive, services.feed, services.source) == (None, None, None)


def test_an_orthanc_has_a_feed_and_may_query_a_pacs(stack: Path) -> None:
    services = connect_in_process(Settings(home=stack, query_modality="pacs"))
    assert isinstance(services.archive, OrthancArchive)
    assert services.feed is services.archive
    assert isinstance(services.source, OrthancQuerySource)


def test_plain_dicomweb_is_queried_for_what_came_and_queries_no_pacs(stack: Path) -> None:
    settings = Settings(home=stack, dicomweb_url="http://pacs/rs")
    services = connect_in_process(settings)
    assert isinstance(services.archive, DicomwebArchive)
    assert isinstance(services.feed, QueriedFeed)
    assert services.source is None
    with pytest.raises(PacsFailed, match="no Orthanc is known"):
        source_of(
            Settings(home=stack, dicomweb_url="http://pacs/rs", query_modality="pacs"), services.archive
        )


@pytest.mark.parametrize(
    "url", ["pacs:8042", "ftp://pacs", "http://", "http://me:secret@pacs:8042", "http://pacs:port", ""]
)
@pytest.mark.parametrize("name", ["orthanc_url", "dicomweb_url"])
def test_what_is_no_address_stops_at_the_start_and_is_not_repeated(name: str, url: str) -> None:
    with pytest.raises(ValidationError, match=f"{name}\n.*(http|ORGANLOOP_ARCHIVE_USER)") as refused:
        Settings(**{name: url})
    assert "secret" not in str(refused.value)


def test_readers_ask_the_local_archive_by_their_own_account_and_another_by_none_of_ours(stack: Path) -> None:
    settings = Settings(home=stack)
    assert readers_archive(settings) is None, "there are no accounts"
    accounts = Accounts.made(settings.archive_home)
    local = ReadersArchive("http://127.0.0.1:2/dicom-web", accounts.reader, True)
    assert readers_archive(settings) == local
    password = SecretStr("word")
    asking = Settings(
        home=stack, orthanc_url="https://pacs:8042/", archive_user="organloop", archive_password=password
    )
    assert readers_archive(asking) == ReadersArchive("https://pacs:8042/dicom-web", None, True)
    given = asking.model_copy(update={"archive_reader_user": "reader", "archive_reader_password": password})
    assert readers_archive(given) == ReadersArchive(
        "https://pacs:8042/dicom-web", Account("reader", "word"), True
    )
    silent = Settings(home=stack, dicomweb_url="https://pacs/rs/")
    assert readers_archive(silent) == ReadersArchive("https://pacs/rs", None, False)
    assert readers_archive(Settings(home=stack / "other")) is None
