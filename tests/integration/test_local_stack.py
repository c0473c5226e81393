"""`organloop up`: every part where it is installed; what is served is this program's and the incumbent's."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.stack import archive as archive_server
from deploy.stack import up_and_down as stack
from deploy.stack import viewer as viewer_server
from deploy.stack.local_process import NotInstalled
from deploy.stack.local_server import basic
from deploy.stack.status import State
from services.pacs.accounts import Account
from services.people.local_account import LocalAccount
from services.settings import Settings
from services.triton.client import TritonSegmenter
from services.wiring import archive_of, connect_in_process
from tests.integration.conftest import Command
from tests.support.archive import Archive
from tests.support.pages import own_cookie
from tests.support.serving import ENVIRONMENT
from tests.support.tiny_networks import noisy_body, publish_tiny
from tests.support.waiting import GUARD_SECONDS, end_at_once


def test_triton_is_started_again_for_another_program_and_told_to_load_a_new_incumbent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (ENVIRONMENT / "bin" / "python").exists():
        pytest.skip("the embedded Triton's environment .venv-triton is not there (make setup)")
    settings = Settings(home=tmp_path)
    site = connect_in_process(settings)
    publish_tiny(site.releases, 1, {"liver": 1, "spleen": 2})
    second = publish_tiny(site.releases, 2, {"liver": 1, "spleen": 3}, parent=1)
    site.records.set_incumbent(1, approver="test", reason="first")
    server, told = stack.triton_server(settings), list[str]()
    try:
        stack.serve_incumbent(settings, told.append)
        first = server.process
        assert first is not None
        assert told == ["starting Triton"]
        stack.serve_incumbent(settings, told.append)
        assert (server.process, told) == (first, ["starting Triton"])

        site.records.set_incumbent(2, approver="test", reason="second")
        stack.serve_incumbent(settings, told.append)
        assert (server.process, told[1:]) == (first, ["loading version 2"])

        before = stack.served_program(settings)
        monkeypatch.setattr(stack, "SERVED_CODE", (*stack.SERVED_CODE, "services/settings.py"))
        assert stack.served_program(settings) != before
        stack.serve_incumbent(settings, told.append)
        again = server.process
        assert again is not None
        assert again.pid != first.pid
        assert told[2:] == ["stopping Triton: it runs an older program", "starting Triton"]
        client = TritonSegmenter(again.url)
        assert client.segment(noisy_body(), 2).release_digest == second.digest
        assert client.ready(1)
        client.close()
    finally:
        end_at_once(server.process)
        server.stop()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Settings]:
    """A home whose pages run, and whose archive and viewer are stopped at the end."""
    for part in (archive_server, viewer_server):
        try:
            part.installed()
        except NotInstalled as error:
            pytest.skip(str(error))
    settings = Settings(home=tmp_path)
    stack.open_pages(settings, lambda _: None)
    yield settings
    stack.viewer(settings).stop()
    end_at_once(stack.pages(settings).process)
    stack.pages(settings).stop()
    end_at_once(stack.archive(settings).process)
    stack.archive(settings).stop()


def get(url: str, account: Account, **heads: str) -> Any:
    request = urllib.request.Request(url, headers=basic(account) | heads)
    with urllib.request.urlopen(request, timeout=GUARD_SECONDS) as answer:
        return answer.read()


def states(settings: Settings) -> dict[str, tuple[str, str]]:
    return {part.name: (part.state, part.detail) for part in stack.status(settings)[:2]}


def test_every_part_runs_at_one_address_on_this_machine(organloop: Command) -> None:
    answer = organloop("status")
    parts = {one["part"]: one for one in answer.document}
    assert list(parts) == ["archive", "viewer", "pages", "triton", "prefect", "dashboard", "worker"]
    for name in ("archive", "viewer"):
        if parts.pop(name)["state"] == State.MISSING:
            pytest.skip(f"the {name} is not installed here")
    assert answer.exit_code == 0
    assert all(one["running"] for one in answer.document)
    addresses = [one["address"].removeprefix("http://") for one in answer.document if one["address"]]
    assert len(set(addresses)) == 6
    [socket] = [address for address in addresses if address.startswith("unix:/")]
    assert all(address.startswith("127.0.0.1:") for address in addresses if address != socket)


def test_archive_and_viewer_start_once_are_found_by_every_process_and_stop(home: Settings) -> None:
    told = list[str]()
    for start in (stack.open_archive, stack.open_viewer):
        start(home, told.append)
    first = stack.status(home)[:2]
    for start in (stack.open_archive, stack.open_viewer):
        start(home, told.append)
    assert stack.status(home)[:2] == first
    assert told == ["starting the archive", "starting the viewer"]
    assert [part.state for part in first] == [State.UP, State.UP]
    noted = json.loads(home.stack_file.read_bytes())
    assert noted["orthanc_url"] == first[0].address
    assert noted["dicomweb_url"] == f"{first[0].address}/dicom-web"
    assert archive_of(home) is not None
    accounts = stack.archive(home).accounts
    assert json.loads(get(f"{first[0].address}/system", accounts.worker))["DicomAet"] == "ORGANLOOP"
    assert noted["viewer_url"] == first[1].address
    pages = stack.pages(home).url
    assert first[1].detail == f"OHIF: open {pages}/viewer in a browser"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get(f"{first[1].address}/dicom-web/studies", accounts.reader)

    stack.down(home, lambda _: None)
    assert {state for state, _ in states(home).values()} == {State.DOWN}
    assert archive_of(home) is None


def test_an_archive_that_a_setting_names_is_not_started_but_shown(home: Settings, archive: Archive) -> None:
    remote = home.model_copy(update=archive.named)
    stack.open_archive(remote, lambda _: None)
    stack.open_viewer(remote, lambda _: None)
    elsewhere, viewer = stack.status(remote)[:2]
    assert (elsewhere.state, elsewhere.address) == (State.ELSEWHERE, archive.dicomweb_url)
    assert stack.archive(remote).process is None
    first = LocalAccount(home.people_folder / "account.json").reset()
    session = {"Cookie": own_cookie(str(stack.pages(home).url), first)}
    roots = {f"{viewer.address}/dicom-web": session, archive.dicomweb_url: {}}
    asked = [json.loads(get(f"{root}/studies", archive.reader, **heads)) for root, heads in roots.items()]
    through, direct = ({study["0020000D"]["Value"][0] for study in found} for found in asked)
    assert through == direct


def test_what_is_not_installed_is_named_and_the_rest_goes_on(
    home: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = list[str]()
    with monkeypatch.context() as without:
        without.setattr(viewer_server, "PAGES", tmp_path / "none")
        stack.open_archive(home, told.append)
        stack.open_viewer(home, told.append)
        assert told == [
            "starting the archive",
            "going on without it: OHIF is not installed: make viewer (needs npm)",
        ]
        assert states(home)["archive"][0] == State.UP
        assert states(home)["viewer"] == (State.MISSING, "OHIF is not installed: make viewer (needs npm)")
        stack.archive(home).stop()
    monkeypatch.setattr(archive_server, "DICOMWEB_PLUGIN", tmp_path / "none.so")
    stack.open_archive(home, told.append)
    stack.open_viewer(home, told.append)
    missing = "Orthanc has no DICOMweb here: apt-get install orthanc-dicomweb"
    assert told[2:] == [f"going on without it: {missing}"]
    assert states(home) == {
        "archive": (State.MISSING, missing),
        "viewer": (State.MISSING, "has no archive to show"),
    }
