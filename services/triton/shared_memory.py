"""Volumes handed to a Triton on this host through system shared memory, instead of through its port."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

PREFIX = "organloop-volume-"
FOLDER = Path("/dev/shm")
MARGIN_SECONDS = 60
"""How long past its request's deadline a region may be left registered by a client that was killed."""
UNREGISTER_SECONDS = 2.0
"""How long to wait for a server that takes back no region, after its answer or in place of one."""

_log = logging.getLogger(__name__)


def is_local(url: str) -> bool:
    """Tell whether an address names this host: a socket, or ``host:port`` of its loopback."""
    if url.startswith("unix:"):
        return True
    host = url.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def shared(array: NDArray[Any], client: InferenceServerClient, deadline_seconds: float) -> Iterator[str]:
    """Show an array to a server on this host; the name of its region, for one request.

    The file is unlinked as soon as the server has it mapped. What a killed client left, a region still
    registered or a file not yet unlinked, is taken back by the next one.

    Parameters
    ----------
    array
        C-contiguous.
    client
        Of the server.
    deadline_seconds
        The request's.

    Raises
    ------
    OSError
        If the memory cannot be had. All of it is reserved beforehand: a server that writes or reads
        beyond a full /dev/shm dies of it.
    InferenceServerException
        If the server does not see this host's memory, or does not answer.
    """
    _take_back(client, deadline_seconds)
    until = int(time.time() + deadline_seconds + MARGIN_SECONDS)
    name = f"{PREFIX}{until}-{uuid.uuid4().hex}"
    path = FOLDER / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, array.nbytes)
            content, written = array.data.cast("B"), 0
            while written < array.nbytes:
                written += os.pwrite(descriptor, content[written:], written)
        finally:
            os.close(descriptor)
        client.register_system_shared_memory(name, f"/{name}", array.nbytes, client_timeout=deadline_seconds)
    finally:
        path.unlink(missing_ok=True)
    try:
        yield name
    finally:
        _unregister(name, client)


def _unregister(name: str, client: InferenceServerClient) -> None:
    """Take a region back; Triton keeps one that a request is still read from, and says so.

    One that is still kept after a moment, or whose server hangs, is left to `_take_back`.
    """
    end = time.monotonic() + UNREGISTER_SECONDS
    for pause in (0.0, 0.01, 0.05, 0.2):
        time.sleep(pause)
        with contextlib.suppress(InferenceServerException):
            client.unregister_system_shared_memory(name, client_timeout=max(end - time.monotonic(), 0.001))
            return


def _take_back(client: InferenceServerClient, deadline_seconds: float) -> None:
    """Unregister and unlink what clients that are gone have left."""
    regions = client.get_system_shared_memory_status(client_timeout=deadline_seconds).regions
    for name in filter(_is_left, regions):
        with contextlib.suppress(InferenceServerException):  # another was quicker, or it is in use
            client.unregister_system_shared_memory(name, client_timeout=deadline_seconds)
            _log.warning("took back shared memory %s that was left registered", name)
    for path in FOLDER.glob(f"{PREFIX}*"):
        if _is_left(path.name):
            with contextlib.suppress(OSError):  # another was quicker, or it is another user's
                path.unlink()
                _log.warning("took back shared memory %s that was left behind", path.name)


def _is_left(name: str) -> bool:
    """Tell whether a region is of a client that must have ended by now."""
    until = re.match(rf"{PREFIX}(\d+)-", name)
    return until is not None and int(until[1]) < time.time()
