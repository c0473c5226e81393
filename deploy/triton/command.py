"""The flags of a Triton server that serves releases: the same on one machine and in a container.

Only the standard library: the segmenter's image has nothing else of the project's own environment.
"""

from __future__ import annotations

from pathlib import Path

SOCKET_NUMBER = 1
"""Triton puts a port behind every address, and so behind a socket's."""
STUB_SECONDS = 120
"""How long a version may take to compile its networks before Triton gives it up."""
STOP_SECONDS = 5
"""Patience with requests under way when asked to end; after a failed load Triton waits for it in vain."""


SERVING_PROTOCOLS = ("inference", "metadata", "model-config", "shared-memory", "statistics")
"""What it takes to have volumes answered."""
RELEASE_PROTOCOLS = ("model-repository", "trace", "logging")
"""What it takes to change what answers: whoever may load a model may run code in the server."""
SERVING_KEY, RELEASE_KEY = "serving", "release"
"""Names of the keys; a caller sends each as the header ``triton-grpc-protocol-<name>``."""


def serving_flags(repository: Path, backends: Path, shared_memory_prefix: str) -> list[str]:
    """Return the flags, without where it listens and without what is loaded at the start.

    Its HTTP is off: one request of many small pieces ends this server. Whether it lives, gRPC's own health
    service says (grpc.health.v1), which asks no key.

    Parameters
    ----------
    repository
        The model repository; Triton only reads it.
    backends
        Folder of the backends, the Python stub in it.
    shared_memory_prefix
        Begins the names of this server's shared memory.
    """
    return [
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--backend-config=python,stub-timeout-seconds={STUB_SECONDS}",
        # The stubs' memory bears a name of its own, so that what a killed server left can be told and freed.
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix}",
        "--model-control-mode=explicit",  # a release is loaded when it is told to be, not when seen
        "--exit-on-error=false",  # one release that cannot be loaded must not stop the incumbent
        "--strict-readiness=false",  # it lives and serves though one release cannot be loaded
        "--allow-http=false",
        "--allow-metrics=false",
        "--disable-auto-complete-config",  # the configuration is complete; saves a stub per load
        "--pinned-memory-pool-byte-size=0",  # volumes are blended on the CPU
        f"--exit-timeout-secs={STOP_SECONDS}",  # after a failed load it would wait in vain
        "--grpc-infer-response-compression-level=low",  # answers are mostly zeros
    ]


def key_flags(serving: str, release: str) -> list[str]:
    """Return the flags by which all but health is answered to those alone who send the keys.

    Parameters
    ----------
    serving, release
        The keys; the first for `SERVING_PROTOCOLS`, the second for `RELEASE_PROTOCOLS`.
    """
    return [
        f"--grpc-restricted-protocol={','.join(protocols)}:{name}={key}"
        for protocols, name, key in (
            (SERVING_PROTOCOLS, SERVING_KEY, serving),
            (RELEASE_PROTOCOLS, RELEASE_KEY, release),
        )
    ]


def socket_url(socket: Path) -> str:
    """Return the address at which a client asks on a socket."""
    return f"unix:{socket}:{SOCKET_NUMBER}"


def socket_flags(socket: Path) -> list[str]:
    """Return the flags by which it listens on a socket of the file system alone, and on no port.

    Parameters
    ----------
    socket
        Its path without what Triton adds, ``:1``.
    """
    return [f"--grpc-address=unix:{socket}", f"--grpc-port={SOCKET_NUMBER}"]
