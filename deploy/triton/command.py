"""The flags of a Triton server that serves releases: the same on one machine and in a container.

Only the standard library: the segmenter's image has nothing else of the project's own environment.
"""

from __future__ import annotations

from pathlib import Path

STUB_SECONDS = 120
"""How long a version may take to compile its networks before Triton gives it up."""
STOP_SECONDS = 5
"""Patience with requests under way when asked to end; after a failed load Triton waits for it in vain."""


def serving_flags(repository: Path, backends: Path, shared_memory_prefix: str) -> list[str]:
    """Return the flags, without `address_flags` and without what is loaded at the start.

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
        "--disable-auto-complete-config",  # the configuration is complete; saves a stub per load
        "--pinned-memory-pool-byte-size=0",  # volumes are blended on the CPU
        f"--exit-timeout-secs={STOP_SECONDS}",  # after a failed load it would wait in vain
        "--grpc-infer-response-compression-level=low",  # answers are mostly zeros
    ]


def address_flags(**ports: int) -> list[str]:
    """Return the flags of the ports on 127.0.0.1, by service: ``grpc``, ``http``, ``metrics``."""
    return [
        flag
        for service, port in ports.items()
        for flag in (f"--{service}-address=127.0.0.1", f"--{service}-port={port}")
    ]
