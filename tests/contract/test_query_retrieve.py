"""Studies queried and retrieved from a PACS that speaks DIMSE only: DCMTK's, and an Orthanc as one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from deploy.stack.local_process import free_port
from deploy.stack.orthanc.modalities import Modality
from models.errors import PacsFailed, PacsUnavailable, Refused
from services.pacs.query_retrieve import OrthancQuerySource
from tests.support.archive import Archive, archive_at
from tests.support.instances import Instance, ct_slice, ct_study
from tests.support.waiting import until


@dataclass(frozen=True)
class Pacs:
    """A PACS one can only query, and how a test puts objects into it."""

    put: Callable[[list[Instance]], None]
    folder: Path
    pid: int


@dataclass(frozen=True)
class Site:
    """The archive of this site, and what it knows of other PACS."""

    archive: Archive
    pacs: dict[str, Pacs]

    def source(self, name: str, **values: Any) -> OrthancQuerySource:
        given = {"attempts": 2, "pause_seconds": 0.01} | values
        return OrthancQuerySource(self.archive.client(**given), name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if shutil.which("dcmqrscp") is None:
        pytest.skip("DCMTK is not installed: apt-get install dcmtk")
    home = tmp_path_factory.mktemp("site")
    ports = {name: free_port(0) for name in ("here", "dcmtk", "estranged", "orthanc", "nobody")}
    known = {name: Modality(name.upper(), port=port) for name, port in ports.items() if name != "here"}
    here = {"here": Modality("ORGANLOOP", port=ports["here"], may_query=True)}
    with (
        archive_at(home / "here", dicom_port=ports["here"], modalities=known) as archive,
        archive_at(home / "orthanc", dicom_port=ports["orthanc"], aet="ORTHANC", modalities=here) as other,
        dcmqrscp(home / "dcmtk", "DCMTK", ports["dcmtk"], ports["here"]) as dcmtk,
        dcmqrscp(home / "estranged", "ESTRANGED", ports["estranged"], None) as estranged,
    ):
        orthanc = Pacs(lambda objects: other.put(*(one.content for one in objects)), home, other.process.pid)
        yield Site(archive, {"orthanc": orthanc, "dcmtk": dcmtk, "estranged": estranged})


@contextmanager
def dcmqrscp(home: Path, aet: str, port: int, destination: int | None) -> Iterator[Pacs]:
    """Run DCMTK's PACS; without a destination it knows nobody to send to."""
    storage = home / "storage"
    storage.mkdir(parents=True)
    host = f"here = (ORGANLOOP, 127.0.0.1, {destination})\n" if destination else ""
    (home / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{host}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{aet} {storage} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["dcmqrscp", "-c", str(home / "dcmqrscp.cfg")], stdout=log, stderr=log, start_new_session=True
        )

    def put(objects: list[Instance]) -> None:
        outbox = home / "outbox"
        shutil.rmtree(outbox, ignore_errors=True)
        outbox.mkdir()
        for one in objects:
            (outbox / one.file_name).write_bytes(one.content)
        sent = subprocess.run(
            ["storescu", "-aec", aet, "127.0.0.1", str(port), "+sd", str(outbox)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert sent.returncode == 0, sent.stderr

    try:
        echo = ["echoscu", "-aec", aet, "127.0.0.1", str(port)]
        until(
            lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0,
            lambda: (home / "log").read_text(),
        )
        yield Pacs(put, storage, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(params=["dcmtk", "orthanc"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_study_is_retrieved_whole(site: Site, name: str) -> None:
    objects = ct_study(6, 3)
    site.pacs[name].put(objects)
    source = site.source(name)
    assert source.instances(objects[0].study_uid) == 9
    study = source.retrieve(objects[0].study_uid)
    assert [len(series.sop_instance_uids) for series in study.series] == [
        sum(one.series_uid == series.series_uid for one in objects) for series in study.series
    ]
    assert {uid for series in study.series for uid in series.sop_instance_uids} == {
        one.sop_instance_uid for one in objects
    }
    assert source.retrieve(objects[0].study_uid).series == study.series
    assert site.archive.ask("/queries") == []


def test_ct_studies_are_found_by_their_day(site: Site, name: str) -> None:
    early = ct_study(1, StudyDate="20250101")
    late = ct_study(1, StudyDate="20260401")
    later = ct_study(1, StudyDate="20260402")
    ultrasound = ct_study(1, StudyDate="20260402", Modality="US")
    site.pacs[name].put([*early, *late, *later, *ultrasound])
    found = set(site.source(name).studies_since(date(2026, 4, 1)))
    assert {late[0].study_uid, later[0].study_uid} <= found
    assert early[0].study_uid not in found
    # DCMTK's PACS knows no ModalitiesInStudy, which is optional: what it finds is looked at when it has come
    assert (ultrasound[0].study_uid in found) == (name == "dcmtk")


@pytest.mark.parametrize("uid", ["2.25.1", "", "*", "1.2\\1.3"])
def test_what_the_pacs_does_not_hold_is_gone(site: Site, name: str, uid: str) -> None:
    source = site.source(name)
    assert source.instances(uid) == 0
    with pytest.raises(Refused, match="study-gone"):
        source.retrieve(uid)


def test_slices_the_pacs_could_not_send_are_missed_whatever_else_the_archive_holds(site: Site) -> None:
    objects = ct_study(5)
    dcmtk = site.pacs["dcmtk"]
    before = set(dcmtk.folder.iterdir())
    dcmtk.put(objects)
    lost = sorted(path for path in set(dcmtk.folder.iterdir()) - before if path.name.startswith("CT"))[2]
    lost.write_bytes(b"")
    ours = ct_slice(objects[0].study_uid, generate_uid(), Modality="SR")
    site.archive.put(ours.content)
    with pytest.raises(Refused, match="incomplete") as refused:
        site.source("dcmtk").retrieve(objects[0].study_uid)
    assert refused.value.measured == {"counted": 0, "listed": 5, "received": 4, "missing": 1}


def test_a_pacs_that_may_not_send_here_fails(site: Site) -> None:
    objects = ct_study(2)
    site.pacs["estranged"].put(objects)
    with pytest.raises(PacsFailed, match="'estranged' did not send study"):
        site.source("estranged").retrieve(objects[0].study_uid)


@pytest.mark.parametrize("other", ["nobody", "never-heard-of", "../changes"])
def test_a_pacs_that_does_not_answer_is_named(site: Site, other: str) -> None:
    acts: list[Callable[[OrthancQuerySource], object]] = [
        lambda source: source.studies_since(date(2026, 1, 1)),
        lambda source: source.instances("1.2.3"),
        lambda source: source.retrieve("1.2.3"),
    ]
    for act in acts:
        with pytest.raises(PacsFailed, match=f"The PACS '{other}' could not be asked"):
            act(site.source(other))


def test_a_pacs_that_stops_in_the_middle_is_not_waited_for_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = ct_study(2)
    site.pacs["dcmtk"].put(objects)
    source = site.source("dcmtk", deadline_seconds=2)
    move = OrthancQuerySource._move

    def frozen(self: OrthancQuerySource, *arguments: str) -> str | None:
        os.killpg(site.pacs["dcmtk"].pid, signal.SIGSTOP)
        return move(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(OrthancQuerySource, "_move", frozen)
        with pytest.raises(
            PacsUnavailable, match=r"sent nothing of study .* for 2 s; 0 instances had arrived"
        ):
            source.retrieve(objects[0].study_uid)
    os.killpg(site.pacs["dcmtk"].pid, signal.SIGCONT)
    assert len(source.retrieve(objects[0].study_uid).series[0].sop_instance_uids) == 2
