"""One way to segment the bench's volume, in a process of its own: ``python -m tests.bench.serving.roles``.

Says one JSON document: seconds of each repetition, CPU seconds of the last, peak memory, windows; masks
go to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from tests.bench.serving.material import THREADS, Material, material

Masks = NDArray[np.bool_]
Ask = Callable[[], tuple[Masks, int]]
"""Segments once: masks (organ, k, j, i), and how many windows were evaluated."""


def peak_bytes(pid: int | str) -> int:
    """Return the most memory a process ever held; what getrusage says begins with its parent's."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def cpu_seconds(pid: int | str) -> float:
    """Return the processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def masked(probability: NDArray, of: Material) -> Masks:
    """Return every organ's mask."""
    thresholds = of.release.contract.thresholds
    return np.stack(
        [p >= thresholds[o] for p, o in zip(probability, of.release.contract.organs, strict=True)]
    )


@contextmanager
def triton(of: Material) -> Iterator[tuple[Ask, list[int]]]:
    """Ours: a volume through Triton; with the processes that serve it."""
    from services.triton.client import TritonSegmenter

    with served(of) as (url, pids):
        client = TritonSegmenter(url, deadline_seconds=1800)

        def ask() -> tuple[Masks, int]:
            answer = client.segment(of.hu, 1)
            return masked(answer.probability, of), len(answer.window_origin)

        yield ask, pids
        client.close()


@contextmanager
def served(of: Material) -> Iterator[tuple[str, list[int]]]:
    """Serve a release from a Triton of its own; its address, and its processes."""
    command = [sys.executable, "-m", "tests.bench.serving.server", of.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            said = json.loads(server.stdout.readline())
            yield said["url"], said["pids"]
        finally:
            server.stdin.close()  # it stops, and is waited for


@contextmanager
def in_process(of: Material) -> Iterator[tuple[Ask, list[int]]]:
    """The same engine and windows in this process."""
    from services.inference.engine import OpenVinoEngine

    store, release = of.store, of.release
    heads = {organ: store.export(digest) for organ, digest in release.heads.items()}
    engine = OpenVinoEngine(
        release, store.export(release.trunk), heads, THREADS, lean=True, precision=of.precision
    )

    def ask() -> tuple[Masks, int]:
        answer = engine.segment(of.hu)
        return masked(answer.probability, of), len(answer.window_origin)

    yield ask, []


def as_monai() -> None:
    """Let this process evaluate MONAI's windows of the whole volume: so that only arithmetic differs."""
    from monai.data.utils import dense_patch_slices
    from monai.inferers.utils import _get_scan_interval

    from models.inference import windows

    def plan(body: Masks, _: object, contract: ModelContract) -> tuple[windows.Origin, ...]:
        window = contract.window_shape
        sides = [max(n, w) for n, w in zip(body.shape, window, strict=True)]
        step = _get_scan_interval(sides, window, 3, (contract.overlap,) * 3)
        pads = [max(w - n, 0) // 2 for n, w in zip(body.shape, window, strict=True)]
        return tuple(
            tuple(side.start - pad for side, pad in zip(sides, pads, strict=True))  # type: ignore[misc]
            for sides in dense_patch_slices(sides, window, step)
        )

    windows.plan = plan
    windows.body_mask = lambda hu: np.ones(hu.shape, dtype=bool)


@contextmanager
def monai(of: Material) -> Iterator[tuple[Ask, list[int]]]:
    """MONAI's sliding window on torch: same spacing, window, overlap, Gaussian weight and threads."""
    import torch
    from monai.inferers import sliding_window_inference

    from models.inference.windows import WEIGHT_SIGMA, scale_hu
    from models.network.weights import head_from_bytes, trunk_from_bytes

    torch.set_num_threads(THREADS)
    contract, windows = of.release.contract, 0
    trunk = trunk_from_bytes(of.store.trunk(of.release.trunk)).eval()
    heads = [head_from_bytes(of.store.head(of.release.heads[o])).eval() for o in contract.organs]

    def network(window: torch.Tensor) -> torch.Tensor:
        nonlocal windows
        windows += len(window)
        output = trunk(window)
        return torch.cat([torch.sigmoid(head(output)) for head in heads], 1)

    def ask() -> tuple[Masks, int]:
        nonlocal windows
        windows = 0
        volume = torch.from_numpy(scale_hu(of.hu, contract.hu_window))[None, None]
        with torch.inference_mode():
            answer = sliding_window_inference(
                volume, contract.window_shape, 1, network, contract.overlap, "gaussian", WEIGHT_SIGMA
            )
        return masked(answer[0].numpy(), of), windows

    yield ask, []


ROLES = {"triton": triton, "in-process": in_process, "monai": monai}


def main() -> int:
    """Run one role."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("network", choices=("starter", "unet"))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--monai-windows", action="store_true", help="evaluate where MONAI does")
    options = parser.parse_args()
    of = replace(material(options.network), precision=options.precision)
    if options.monai_windows:
        as_monai()
    said: dict[str, Any] = {"wall": []}
    with ROLES[options.role](of) as (ask, pids):
        ask()  # the first one also grows pools and pages
        for _ in range(options.repeats):
            cpu = sum(map(cpu_seconds, pids)) + time.process_time()
            began = time.perf_counter()
            masks, windows = ask()
            said["wall"].append(time.perf_counter() - began)
            said["cpu"] = sum(map(cpu_seconds, pids)) + time.process_time() - cpu
        said["windows"] = windows
        said["memory"] = peak_bytes("self") + sum(map(peak_bytes, pids))
    if options.masks:
        np.save(options.masks, np.packbits(masks))
    json.dump(said, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
