"""How volumes and answers travel: shared memory on one host, compressed gRPC elsewhere, the same bits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, service_pb2, service_pb2_grpc

from models.errors import ServingRejected, ServingTimedOut
from models.inference.compact import DISAGREEMENT_RANGE, pack
from models.inference.segmentation import Segmentation
from services.triton import shared_memory
from services.triton.client import Transport, TritonSegmenter
from tests.support.relay import Relay
from tests.support.serving import Serving
from tests.support.tiny_networks import noisy_body, tiny_contract
from tests.support.waiting import GUARD_SECONDS

HU = noisy_body((40, 60, 64))
OVERHEAD = 30_000
"""Bytes of one request's messages besides volume and result."""


@pytest.fixture
def relay(serving: Serving) -> Iterator[Relay]:
    process = serving.server.process
    assert process is not None
    with Relay(process.url.removeprefix("unix:")) as relay:
        yield relay


def asked(url: str, transport: Transport, hu: np.ndarray = HU, sampled: bool = False) -> Segmentation:
    client = TritonSegmenter(url, deadline_seconds=GUARD_SECONDS, transport=transport)
    try:
        return client.segment(hu, 1, sampled)
    finally:
        client.close()


def same(one: Segmentation, other: Segmentation) -> bool:
    fields = ("probability", "disagreement", "global_feature", "window_origin")
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in fields)


def regions(serving: Serving) -> list[str]:
    client = InferenceServerClient(serving.triton.url)
    names = list(client.get_system_shared_memory_status().regions)
    client.close()
    return names


@pytest.mark.parametrize("transport", [Transport.AUTO, Transport.SHARED_MEMORY])
def test_on_one_host_the_volume_goes_through_memory_and_nothing_is_left(
    serving: Serving, relay: Relay, transport: Transport
) -> None:
    before = set(regions(serving))  # of requests in other tests whose process was killed
    answer = asked(relay.url, transport)
    assert relay.up < OVERHEAD < HU.nbytes
    assert same(answer, serving.in_process.segment(HU, 1))
    assert set(regions(serving)) <= before
    assert list(shared_memory.FOLDER.glob(f"{shared_memory.PREFIX}*")) == []


def test_elsewhere_volume_and_answer_are_compressed_and_on_one_host_neither(
    serving: Serving, relay: Relay
) -> None:
    plain = asked(relay.url, Transport.PLAIN)
    up, down = relay.up, relay.down
    assert HU.nbytes < up < HU.nbytes + OVERHEAD
    small = asked(relay.url, Transport.COMPRESSED)
    assert relay.up - up < 0.8 * up
    assert same(plain, small)
    packed = (pack(plain.probability, 1.0), pack(plain.disagreement, DISAGREEMENT_RANGE))
    size = sum(one.code.nbytes + one.exact.nbytes for one in packed)
    assert relay.down - down < 0.9 * size < size < down
    down = relay.down
    asked(relay.url, Transport.AUTO)
    assert relay.down - down > size


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("127.0.0.1:8001", True),
        ("localhost:8001", True),
        ("[::1]:8001", True),
        ("127.1.2.3:1", True),
        ("10.0.0.5:8001", False),
        ("triton:8001", False),
        ("localhost.example.org:8001", False),
    ],
)
def test_only_the_loopback_is_this_host(url: str, local: bool) -> None:
    assert shared_memory.is_local(url) is local


def test_a_server_that_does_not_see_this_hosts_memory_is_asked_by_grpc_and_it_is_said(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As one in a container behind a published port."""
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    with caplog.at_level(logging.WARNING):
        answer = asked(serving.triton.url, Transport.AUTO)
    assert same(answer, serving.in_process.segment(HU, 1))
    assert "shares no memory" in caplog.text
    with pytest.raises(ServingRejected, match="shares no memory"):
        asked(serving.triton.url, Transport.SHARED_MEMORY)
    assert list(tmp_path.iterdir()) == []


def test_a_request_given_up_while_it_waits_its_turn_does_not_hurt_the_server(serving: Serving) -> None:
    big = noisy_body((80, 90, 90))
    before = set(regions(serving))
    first = TritonSegmenter(
        serving.triton.url, deadline_seconds=GUARD_SECONDS, transport=Transport.SHARED_MEMORY
    )
    given_up = threading.Event()

    def keep_busy() -> None:  # however fast the machine is, somebody is before the one that gives up
        while not given_up.is_set():
            first.segment(big, 1)

    busy = [threading.Thread(target=keep_busy) for _ in range(4)]
    for one in busy:
        one.start()
    while len(set(regions(serving)) - before) < len(busy):  # until each has handed a volume over
        assert all(one.is_alive() for one in busy)
    hasty = TritonSegmenter(serving.triton.url, deadline_seconds=0.3, transport=Transport.SHARED_MEMORY)
    with pytest.raises(ServingTimedOut):
        hasty.segment(HU, 1)
    given_up.set()
    hasty.close()
    for one in busy:
        one.join()
    first.close()
    # Triton takes no memory away that a request is still to be read from: it is taken back later.
    assert len(set(regions(serving)) - before) <= 1
    assert same(asked(serving.triton.url, Transport.AUTO), serving.in_process.segment(HU, 1))


def test_what_a_killed_client_left_registered_is_taken_back(serving: Serving) -> None:
    name = f"{shared_memory.PREFIX}{int(time.time()) - 1}-killed"
    path = shared_memory.FOLDER / name
    path.write_bytes(bytes(4096))
    client = InferenceServerClient(serving.triton.url)
    client.register_system_shared_memory(name, f"/{name}", 4096)
    path.unlink()
    assert name in regions(serving)
    asked(serving.triton.url, Transport.AUTO)
    assert name not in regions(serving)
    client.close()


def test_what_a_client_left_that_was_killed_while_it_wrote_is_unlinked(serving: Serving) -> None:
    left = shared_memory.FOLDER / f"{shared_memory.PREFIX}{int(time.time()) - 1}-killed"
    writing = shared_memory.FOLDER / f"{shared_memory.PREFIX}{int(time.time()) + 600}-at-work"
    odd = shared_memory.FOLDER / f"{shared_memory.PREFIX}no-time"
    try:
        for path in (left, writing, odd):
            path.write_bytes(bytes(64))
        asked(serving.triton.url, Transport.SHARED_MEMORY)
        assert [path.exists() for path in (left, writing, odd)] == [False, True, True]
    finally:
        for path in (left, writing, odd):
            path.unlink(missing_ok=True)


class Hung(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that takes the volume and then hangs."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def SystemSharedMemoryStatus(self, request, context):  # noqa: N802
        return service_pb2.SystemSharedMemoryStatusResponse()

    def SystemSharedMemoryRegister(self, request, context):  # noqa: N802
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request, context):  # noqa: N802
        self.ended.wait()
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def ModelInfer(self, request, context):  # noqa: N802
        self.ended.wait()
        return service_pb2.ModelInferResponse()


def granting(monkeypatch: pytest.MonkeyPatch, *calls: str) -> dict[str, float]:
    """Note the seconds that calls of the server are given as they are sent: no clock measures them."""
    granted: dict[str, float] = {}

    def noting(call: str) -> None:
        whole = getattr(InferenceServerClient, call)

        def sent(*given: Any, client_timeout: float, **named: Any) -> Any:
            granted[call] = max(granted.get(call, 0.0), client_timeout)
            return whole(*given, client_timeout=client_timeout, **named)

        monkeypatch.setattr(InferenceServerClient, call, sent)

    for call in calls:
        noting(call)
    return granted


def test_a_server_that_hangs_is_waited_for_no_longer_than_the_deadline(monkeypatch) -> None:
    monkeypatch.setattr(shared_memory, "UNREGISTER_SECONDS", 0.3)
    hung = Hung()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(hung, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = TritonSegmenter(f"127.0.0.1:{port}", deadline_seconds=1.0)
    granted = granting(monkeypatch, "infer", "unregister_system_shared_memory")
    try:
        with pytest.raises(ServingTimedOut):  # it comes back while the server hangs
            client.segment(HU, 1)
        assert 0 < granted["infer"] <= 1.0
        assert 0 < granted["unregister_system_shared_memory"] <= 0.3
    finally:
        client.close()
        hung.ended.set()
        server.stop(None)
    assert list(shared_memory.FOLDER.glob(f"{shared_memory.PREFIX}*")) == []


def test_sampled_features_come_only_where_asked_for_and_are_those_of_this_process(serving: Serving) -> None:
    hu = noisy_body((20, 26, 28))
    assert asked(serving.triton.url, Transport.AUTO, hu).samples is None
    answer = asked(serving.triton.url, Transport.AUTO, hu, sampled=True)
    here = serving.in_process.segment(hu, 1, sampled=True)
    assert answer.samples is not None
    assert here.samples is not None
    answer.samples.require(tiny_contract(), len(answer.window_origin))
    for name in ("window", "index", "weight", "taps"):
        assert getattr(answer.samples, name).tobytes() == getattr(here.samples, name).tobytes()
    assert same(answer, here)
    assert answer.samples.weight.sum() == pytest.approx(len(answer.window_origin) * 16**3, rel=1e-4)
    assert np.unique(answer.samples.window).size == len(answer.window_origin)
