"""NVIDIA's Triton, as its image has it, on this machine's GPU."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.containers.segmenter import SERVER
from deploy.gpu_proof.steps import LeftOut, Server
from deploy.stack import local_process
from deploy.stack.triton import lives
from deploy.triton.command import STOP_SECONDS, serving_flags, socket_flags, socket_url
from models.errors import ServingUnavailable
from services.inference.gpu_device import gpu_device
from services.wiring import repository_root


def nvidia_server() -> Server:
    """Return the server of this container.

    Raises
    ------
    LeftOut
        If this is not NVIDIA's image, or there is no GPU.
    """
    if not (SERVER / "backends" / "onnxruntime").is_dir():
        raise LeftOut(f"needs {SERVER} with its backend onnxruntime: NVIDIA's Triton image")
    try:
        return Server(gpu_device(), _served)
    except ServingUnavailable as error:
        raise LeftOut(str(error)) from error


@contextmanager
def _served(repository: Path) -> Iterator[str]:
    socket = Path(tempfile.mkdtemp(prefix="organloop-proof-")) / "grpc"
    url = socket_url(socket)
    command = [
        "/usr/bin/env",
        f"--chdir={repository_root()}",  # where the served model finds `models` and `services`
        str(SERVER / "bin" / "tritonserver"),
        *serving_flags(repository, SERVER / "backends", f"organloop-proof-{os.getpid()}-"),
        "--load-model=*",
        *socket_flags(socket),
    ]
    log = repository.parent / "server.log"
    process = local_process.start(command, log=log, env=os.environ | {"NVIDIA_TF32_OVERRIDE": "0"})
    try:
        local_process.wait_until(lambda: lives(url), process=process, log=log, name="Triton")
        yield url
    finally:
        local_process.stop(process, grace_seconds=STOP_SECONDS)
