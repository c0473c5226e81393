"""This program's answers in a process of its own.

``python -m tests.bench.imported.ours FOLDER RELEASE CT OUT [CT OUT ...]``; says of each CT what
``tests/fixtures/nnunet/predict.py`` says. Beside the labels it makes every organ's probability, what windows
disagree about, and features for coverage: all that is served. With the address of a Triton in place of the
folder that server is asked.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from services.inference.engine import InProcessSegmenter
from services.releases.reference_files import read_reference
from services.triton.client import TritonSegmenter
from tests.bench.imported.material import THREADS


def main(where: str, release: int, *files: str) -> None:
    """Label each CT; axes of the labels (k, j, i)."""
    asked = (
        InProcessSegmenter(Path(where), THREADS)
        if where.startswith("/")
        else TritonSegmenter(where, deadline_seconds=1800)
    )
    asked.profile(release)  # loads the networks, as the genuine predictor's are before it is timed
    for ct, out in zip(files[::2], files[1::2], strict=True):
        given = read_reference(Path(ct))
        began = time.perf_counter(), time.process_time()
        answer = asked.segment(given.values, release, ct=given.geometry)
        ended = time.perf_counter(), time.process_time()
        assert answer.drawn is not None
        labels = np.zeros(given.geometry.shape, dtype=np.uint8)
        for channel, mask in answer.drawn.on_ct.items():
            labels[mask.dense()] = channel + 1
        np.save(Path(out), labels)
        peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
        figures = {"seconds": ended[0] - began[0], "cpu": ended[1] - began[1], "peak_bytes": peak}
        print(json.dumps({"ct": ct, **figures}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
