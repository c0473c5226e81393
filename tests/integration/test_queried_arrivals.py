"""The watch where the PACS does not send by itself: it is queried, and studies are retrieved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.stack.local_process import free_port
from deploy.stack.orthanc.modalities import Modality
from flows.launching import SEGMENT
from services.settings import Settings
from services.wiring import connect_in_process
from tests.support.archive import Archive, archive_at
from tests.support.arrivals import EXAMINED, Hospital, Worker, watch, write_short_phantom
from tests.support.learning import THREADS, open_site


@pytest.fixture
def queried(tmp_path: Path) -> Iterator[tuple[Hospital, Archive]]:
    """A hospital whose PACS does not send by itself, and that PACS: an Orthanc too."""
    open_site(tmp_path)
    ports = {name: free_port(0) for name in ("here", "pacs")}
    here = {"here": Modality("ORGANLOOP", port=ports["here"], may_query=True)}
    there = {"pacs": Modality("PACS", port=ports["pacs"])}
    with (
        archive_at(tmp_path / "here", dicom_port=ports["here"], modalities=there) as archive,
        archive_at(tmp_path / "pacs", dicom_port=ports["pacs"], aet="PACS", modalities=here) as pacs,
    ):
        settings = Settings(home=tmp_path / "home", threads=THREADS, **archive.named, query_modality="pacs")
        services = connect_in_process(settings)
        yield (
            Hospital(
                services, archive, write_short_phantom(tmp_path / "ct"), Worker(services), today=EXAMINED
            ),
            pacs,
        )


def test_a_pacs_that_does_not_send_is_queried_and_what_it_has_more_is_retrieved(
    queried: tuple[Hospital, Archive],
) -> None:
    hospital, pacs = queried
    *most, last = sorted(hospital.ct.iterdir())
    pacs.put(*most)
    hospital.settle()
    assert hospital.arrival.instances == len(most)
    assert hospital.worker.launched(SEGMENT) == [hospital.study_uid]
    hospital.watch()
    assert len(hospital.archive.instances()) == len(most)
    pacs.put(last)
    hospital.watch()  # retrieves it, last of all
    hospital.settle()
    assert hospital.arrival.instances == len(most) + 1
    assert hospital.worker.launched(SEGMENT) == [hospital.study_uid] * 2, "a new version"
    watch(hospital.services, hospital.worker, today=EXAMINED + timedelta(days=3))
    assert hospital.arrival.attempts == 0
