"""The local archive: Orthanc keeps what it is sent, once, for this machine only, over a restart."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from deploy.stack import archive as archive_server
from deploy.stack.archive import ArchiveServer
from deploy.stack.local_process import NotInstalled
from models.phantom.case import make_case
from services.dicom.ct.phantom_series import write_phantom_series
from tests.support.archive import Archive, archive_at
from tests.support.waiting import until


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three slices of a CT."""
    return sorted(write_phantom_series(make_case("A", 4), tmp_path_factory.mktemp("ct")))[:3]


def send(archive: Archive, files: list[Path], title: str = "STORESCU") -> subprocess.CompletedProcess[str]:
    peer = ["-aec", archive.aet, "127.0.0.1", str(archive.dicom_port)]
    return subprocess.run(
        ["storescu", "-aet", title, *peer, *map(str, files)], capture_output=True, text=True, check=False
    )


def changes(archive: Archive, since: int = 0) -> list[str]:
    return [one["ChangeType"] for one in archive.ask(f"/changes?since={since}&limit=1000")["Changes"]]


def test_what_is_pushed_is_found_by_dicomweb_and_counts_as_arrived_once_quiet(
    clean_archive: Archive, slices: list[Path]
) -> None:
    since = clean_archive.ask("/changes?last")["Last"]
    assert send(clean_archive, slices).returncode == 0
    studies = clean_archive.ask("/dicom-web/studies")
    assert [one["00201208"]["Value"] for one in studies] == [[3]]  # NumberOfStudyRelatedInstances
    until(lambda: "StableStudy" in changes(clean_archive, since), "it is stable")
    assert changes(clean_archive, since).count("StableStudy") == 1


def test_what_is_sent_again_is_neither_doubled_nor_a_new_arrival(
    clean_archive: Archive, slices: list[Path]
) -> None:
    send(clean_archive, slices)
    since = clean_archive.ask("/changes?last")["Last"]
    before = clean_archive.ask("/instances")
    assert send(clean_archive, slices).returncode == 0
    assert clean_archive.ask("/instances") == before
    assert "NewInstance" not in changes(clean_archive, since)


def test_a_stranger_s_push_is_turned_away(clean_archive: Archive, slices: list[Path]) -> None:
    answer = send(clean_archive, slices, title="NOBODY")
    assert answer.returncode != 0
    assert "Calling AE Title Not Recognized" in answer.stderr
    assert clean_archive.ask("/instances") == []


def test_it_waits_for_no_acknowledgement_of_a_small_packet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image is several; DCMTK, by which Orthanc receives, reads this from its environment."""
    monkeypatch.delenv("TCP_NODELAY")
    with archive_at(tmp_path) as archive:
        process = archive.server.process
        assert process is not None
        assert b"TCP_NODELAY=1" in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")


def test_studies_outlive_a_kill_and_starting_twice_changes_nothing(
    tmp_path: Path, slices: list[Path]
) -> None:
    with archive_at(tmp_path) as archive:
        assert ArchiveServer(tmp_path).start() == archive.process
        archive.put(*slices)
        os.kill(archive.process.pid, signal.SIGKILL)
        os.waitpid(archive.process.pid, 0)
        assert archive.server.url is None
        restarted = Archive(archive.server, archive.server.start())
        assert len(restarted.instances()) == 3
    assert archive.server.process is None


def test_what_is_not_installed_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_server, "DICOMWEB_PLUGIN", tmp_path / "none.so")
    with pytest.raises(NotInstalled, match=r"apt-get install (orthanc )?orthanc-dicomweb"):
        ArchiveServer(tmp_path).start()
