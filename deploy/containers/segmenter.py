"""The segmenter's container: look whether Triton can serve here, then become it.

Only the standard library. What is given as arguments is handed on to Triton, after our own flags.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import NoReturn

from deploy.triton.command import RELEASE_KEY, SERVING_KEY, key_flags, serving_flags

REPOSITORY = Path("/models")
"""Where the model repository is mounted, unless an argument says so: ``triton/repository`` of the home."""
REPOSITORY_FLAG = "--model-repository="
SECRETS = Path("/run/secrets")
"""Where a container finds what is secret as files."""
MODELS = re.compile(r"organ_segmenter|organ_window_\d+")
"""The segmenter, and on a GPU server the ensemble of each release (`services.inference.gpu_windows`)."""
SERVER = Path("/opt/tritonserver")
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = 512 * 2**20
"""A volume and its answer cross between server and stub in shared memory: Docker's 64 MiB are too few."""


def main() -> NoReturn:
    """Become the server; exit 1 with the reason where it could not serve."""
    repository, arguments = repository_of(sys.argv[1:])
    prefix = f"organloop-{socket.gethostname()}-"
    clear(SHARED_MEMORY, prefix)
    try:
        warnings = check(repository, SERVER, SHARED_MEMORY)
        keys = key_flags(key(SERVING_KEY), key(RELEASE_KEY))
    except Unfit as reason:
        sys.exit(f"the segmenter cannot start: {reason}")
    for warning in warnings:
        sys.stderr.write(f"segmenter: {warning}\n")
    server = str(SERVER / "bin" / "tritonserver")
    flags = [*serving_flags(repository, SERVER / "backends", prefix), *keys, *loading(repository)]
    os.execv(server, [server, *flags, *arguments])


def key(name: str, secrets: Path = SECRETS) -> str:
    """Return a key of this server, from its variable or its file among the secrets, as settings are read.

    Raises
    ------
    Unfit
        If there is none, or one that a flag could not hold.
    """
    setting = f"organloop_triton_{name}_key"
    file = secrets / setting
    value = os.environ.get(setting.upper()) or (file.read_text().strip() if file.is_file() else "")
    if not re.fullmatch(r"[\w-]{16,}", value, re.ASCII):
        raise Unfit(
            f"{setting.upper()} is no key: 16 or more letters, digits, - and _ are needed, since whoever may "
            "load a model runs code here"
        )
    return value


def repository_of(arguments: list[str]) -> tuple[Path, list[str]]:
    """Return the model repository, and the arguments that are Triton's."""
    named = [one.removeprefix(REPOSITORY_FLAG) for one in arguments if one.startswith(REPOSITORY_FLAG)]
    rest = [one for one in arguments if not one.startswith(REPOSITORY_FLAG)]
    return Path(named[-1]) if named else REPOSITORY, rest


class Unfit(Exception):
    """Triton cannot serve here; the message says why and what to do."""


def check(repository: Path, server: Path, shared_memory: Path) -> tuple[str, ...]:
    """Look at what Triton needs; return what a person should know though it starts.

    Raises
    ------
    Unfit
        If it could not serve.
    """
    if not (server / "bin" / "tritonserver").is_file():
        raise Unfit(f"there is no server at {server}")
    if not repository.is_dir():
        raise Unfit(f"there is no folder {repository}: mount the home's triton/repository there, read-only")
    if not os.access(repository, os.R_OK | os.X_OK):
        raise Unfit(f"user {os.getuid()} may not read {repository}")
    free = shutil.disk_usage(shared_memory).free
    if free < SHARED_MEMORY_BYTES:
        raise Unfit(
            f"{shared_memory} has {free / 2**20:.0f} MiB free and {SHARED_MEMORY_BYTES / 2**20:.0f} are "
            "needed: shm_size in Compose, an emptyDir with medium Memory in Kubernetes"
        )
    if not models(repository):
        return (f"{repository} holds no release yet: it serves none until one is loaded",)
    return ()


def clear(shared_memory: Path, prefix: str) -> None:
    """Free what a killed server of this container has left: in Kubernetes the memory outlives it."""
    for region in shared_memory.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def loading(repository: Path) -> list[str]:
    """Return the flags that load the models of releases at the start, and no others."""
    return [f"--load-model={name}" for name in models(repository)]


def models(repository: Path) -> list[str]:
    """Return the models of a repository that a caller asks, by name; they bring in what they need."""
    return sorted(
        folder.name
        for folder in repository.iterdir()
        if MODELS.fullmatch(folder.name) and (folder / "config.pbtxt").is_file()
    )


if __name__ == "__main__":
    main()
