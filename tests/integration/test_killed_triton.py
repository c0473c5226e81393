"""A study of a real Orthanc whose Triton is killed while it is asked: said, waited for, finished once."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

from deploy.stack.triton import TritonServer
from flows.launching import RunState
from flows.segmentation.segment import segment
from models.errors import ServingUnavailable
from services.records.entries.arrivals import ArrivalState
from services.triton.client import TritonSegmenter
from tests.conftest import ROOT
from tests.integration.test_triton import processes
from tests.support.archive import Archive
from tests.support.arrivals import Worker, open_hospital, write_short_phantom
from tests.support.learning import ORGANS, open_site
from tests.support.serving import ENVIRONMENT, thrown_away
from tests.support.waiting import until


def test_a_study_whose_triton_is_killed_in_mid_request_is_finished_once_it_is_back(
    clean_archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = write_short_phantom(tmp_path / "ct")
    hospital = open_hospital(open_site(tmp_path / "site"), clean_archive, ct, tmp_path / "hospital")
    settings = hospital.services.settings
    server = TritonServer(settings.home / "triton", settings.triton_repository, ENVIRONMENT, ROOT)
    with thrown_away(server) as process:
        client = TritonSegmenter(process.url, attempts=2, pause_seconds=0.1)
        services = dataclasses.replace(hospital.services, segmenter=client, endpoints=(client,))
        hospital = dataclasses.replace(hospital, services=services, worker=Worker(services))
        hospital.push()
        hospital.settle()
        [stub] = processes(settings.triton_repository.resolve())[1]
        os.kill(stub, signal.SIGSTOP)  # so that the request is in Triton's hands, and stays unanswered
        infer, killed = client._client.infer, Event()

        def kill() -> None:
            killed.set()
            os.kill(process.pid, signal.SIGKILL)

        def ask(*given: Any, **named: Any) -> Any:
            if not killed.is_set():
                Timer(0.5, kill).start()
            return infer(*given, **named)

        monkeypatch.setattr(client._client, "infer", ask)
        with pytest.raises(ServingUnavailable, match=rf"Triton at {process.url}, release 1"):
            segment(hospital.study_uid, None, services, organs=ORGANS)
        assert killed.is_set(), "it had the request until it was killed: it was stopped, and answers nobody"
        assert hospital.results() == []
        [run] = hospital.worker.runs
        hospital.worker.states[run] = RunState.LOST
        assert hospital.watch()["held"] is not None
        assert hospital.worker.runs.keys() == {run}, "nothing is started while no segmenter answers"
        server.start()
        until(lambda: hospital.watch()["held"] is None and len(hospital.worker.runs) > 1, "a second run")
        hospital.worker.work()
        arrival = hospital.arrival
        assert (arrival.state, arrival.attempts, arrival.interrupted) == (ArrivalState.SEGMENTED, 0, 1)
        assert hospital.results() == hospital.of_record()
        assert len(hospital.recorded()) == 1
        client.close()
