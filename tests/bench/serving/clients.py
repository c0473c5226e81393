"""Four clients of one Triton at once, and what passes on the wire."""

from __future__ import annotations

import json
import sys
import threading
import time
from itertools import pairwise

import numpy as np

from services.triton.client import Transport, TritonSegmenter
from tests.bench.serving.material import Material, material
from tests.bench.serving.roles import served
from tests.support.relay import Relay

CLIENTS = 4
EACH = 3


def on_the_wire(of: Material, url: str) -> dict[str, tuple[int, int]]:
    """Return bytes up and down of one CT, ours by each transport and patch by patch."""
    said = {}
    names = {
        "shared memory": Transport.SHARED_MEMORY,
        "compressed gRPC": Transport.COMPRESSED,
        "plain gRPC": Transport.PLAIN,
    }
    windows = 0
    for name, transport in names.items():
        with Relay(url.removeprefix("unix:")) as relay:
            client = TritonSegmenter(relay.url, deadline_seconds=600, transport=transport)
            windows = len(client.segment(of.hu, 1).window_origin)
            client.close()
            said[name] = (relay.up, relay.down)
    voxels, organs = int(np.prod(of.release.contract.window_shape)), len(of.release.contract.organs)
    said["full results, float16 (reckoned)"] = (of.hu.nbytes, of.hu.size * organs * 4)
    patch = 4 * voxels * windows
    said["a peer's patches, float32 binary (reckoned)"] = (patch, patch * organs)
    text = len(json.dumps(np.random.default_rng(0).random(1000, np.float32).tolist())) / 1000
    said["a peer's patches as JSON (reckoned)"] = (int(patch / 4 * text), int(patch / 4 * text * organs))
    return said


def main() -> int:
    """Measure and say one JSON document."""
    of = material(sys.argv[1])
    with served(of) as (url, _):
        clients = [TritonSegmenter(url, deadline_seconds=1800) for _ in range(CLIENTS)]
        clients[0].segment(of.hu, 1)
        marks = [time.perf_counter()]
        for _ in range(EACH):
            clients[0].segment(of.hu, 1)
            marks.append(time.perf_counter())
        alone = float(np.median([b - a for a, b in pairwise(marks)]))
        seconds: list[float] = []

        def ask(client: TritonSegmenter) -> None:
            for _ in range(EACH):
                began = time.perf_counter()
                client.segment(of.hu, 1)
                seconds.append(time.perf_counter() - began)

        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        for client in clients:
            client.close()
        said = {
            "alone": alone,
            "seconds": took,
            "volumes": len(seconds),
            "worst": max(seconds),
            "wire": on_the_wire(of, url),
        }
    json.dump(said, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
