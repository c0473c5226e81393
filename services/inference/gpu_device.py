"""The name of the GPU and server that this process runs on: ``python -m services.inference.gpu_device``.

Other GPUs and other versions of the server give other last bits, so the name is part of the serving profile.
"""

from __future__ import annotations

import os
import re
import subprocess

from models.errors import ServingUnavailable

SERVER_VERSION = "NVIDIA_TRITON_SERVER_VERSION"
"""Set in NVIDIA's Triton images, e.g. 24.10; it fixes TensorRT, cuDNN and ONNX Runtime as well."""


def gpu_device() -> str:
    """Return GPU, compute capability and server, e.g. ``nvidia-l4-sm89-triton24.10``.

    Raises
    ------
    ServingUnavailable
        If there is no GPU, there are different ones, or the server's version is not known.
    """
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ServingUnavailable(f"no GPU answers: {type(error).__name__}") from error
    found = sorted({line.strip() for line in answer.splitlines() if line.strip()})
    version = os.environ.get(SERVER_VERSION, "")
    if len(found) != 1 or not version:
        detail = f"GPUs {found or 'none'}, {SERVER_VERSION} {version or 'not set'}"
        raise ServingUnavailable(f"one kind of GPU and a known server are needed: {detail}")
    name, _, capability = found[0].rpartition(",")
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{words}-sm{capability.strip().replace('.', '')}-triton{version}"


if __name__ == "__main__":
    print(gpu_device())
