"""The embedded Triton server: a process of its own, without Docker, without root and without a port.

It listens on a socket in a folder that only its owner may enter, and the file system is its lock: whoever may
load a model runs code in it, and keys on a command line every user of a machine can read.

The wheel ``nvidia-pytriton`` carries a real ``tritonserver`` with the Python backend. It lives in a
virtual environment of its own, because it needs numpy below 2: with numpy 2 it starts, says it is
ready, and answers with empty tensors.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import local_process
from deploy.stack.libpython import libpython_folder
from deploy.stack.local_process import LocalProcess
from deploy.stack.local_server import LocalServer
from deploy.triton.command import STOP_SECONDS, serving_flags, socket_flags, socket_url
from models.contract import SEGMENTER
from models.errors import ServingUnavailable
from models.release import sha256_hex
from services.files import folder_aside, put, storage_errors
from services.triton.client import TritonSegmenter

STUB = "triton_python_backend_stub"
LOOK_SECONDS = 1.0
"""Longest wait for an answer whether it lives."""


@dataclass(frozen=True)
class TritonProcess(LocalProcess):
    """A running server, as noted in its state file.

    Parameters
    ----------
    socket
        Path of its socket, without the number that Triton adds; empty for one of an earlier version, which
        listens on ports.
    """

    socket: str = ""

    @property
    def url(self) -> str:
        """The gRPC address, ``unix:path``."""
        return socket_url(Path(self.socket))


class TritonServer(LocalServer[TritonProcess]):
    """The embedded server of one Organloop home; as a context manager it starts, and stops at the end.

    Parameters
    ----------
    home
        Folder for its state: copied backends, log, state file.
    repository
        The model repository (`services.triton.repository`).
    environment
        The server's virtual environment, ``.venv-triton``.
    code
        Root of the project, from which the served model imports `models` and `services`.
    """

    name = "Triton"
    kind = TritonProcess
    grace_seconds = STOP_SECONDS

    def __init__(
        self,
        home: Path,
        repository: Path,
        environment: Path,
        code: Path,
    ) -> None:
        super().__init__(home)
        self._repository = repository.resolve()
        self._environment = environment.absolute()  # its python is a link, which must not be followed
        self._code = code.resolve()

    def start(self, deadline_seconds: float = local_process.START_SECONDS) -> TritonProcess:
        """Start the server with every version in the repository; a running one is left alone.

        Parameters
        ----------
        deadline_seconds
            Longest wait until it answers; the versions are then loaded or have failed.

        Returns
        -------
        TritonProcess
            The running server. A version that cannot be loaded does not keep the others from serving:
            ask for its readiness.

        Raises
        ------
        ServingUnavailable
            If the server's environment is not complete.
        StartFailed
            If the server ended or did not answer in time; the message ends with its log.
        StorageFailed
            If the home is not writable.
        """
        running = self.process
        if running is not None and running.socket:
            return running
        if running is not None:
            self.stop()
        self._clear_leftovers()
        with storage_errors(str(self._home)):
            self._home.mkdir(parents=True, exist_ok=True)
            self._repository.mkdir(parents=True, exist_ok=True)
            backends = self._copy_backends()
            if self.log.exists():
                self.log.replace(self.log.with_suffix(".previous.log"))  # how the last one ended
            socket = self._socket()
            process = self._launch(self._command(backends, socket), self._variables(), str(socket))
        try:
            return self._await(process, deadline_seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and its stubs: asked first, killed after `STOP_SECONDS`; none is no error."""
        noted = self._noted
        super().stop()
        if noted is not None and noted.socket:
            shutil.rmtree(Path(noted.socket).parent, ignore_errors=True)
        self._clear_leftovers()

    def __enter__(self) -> TritonProcess:
        return self.start()

    def _answers(self, process: TritonProcess) -> bool:
        return lives(process.url)

    def _command(self, backends: Path, socket: Path) -> list[str]:
        command = [
            "/usr/bin/env",
            f"--chdir={self._code}",  # where the served model finds `models` and `services`
            str(self._packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
            *serving_flags(self._repository, backends, self._shared_memory_prefix()),
            *socket_flags(socket),
        ]
        if (self._repository / SEGMENTER).is_dir():
            command.append(f"--load-model={SEGMENTER}")
        return command

    def _socket(self) -> Path:
        """Return where to listen: where the server before did, whose callers ask there, or a new place.

        It is not in the home, whose path may be longer than a socket's can be.
        """
        before = self._noted
        if before is not None and before.socket and _is_ours_alone(Path(before.socket).parent):
            return Path(before.socket)
        return Path(tempfile.mkdtemp(prefix="organloop-triton-")) / "grpc"

    def _variables(self) -> dict[str, str]:
        """Environment of server and stubs.

        The stub runs an isolated Python: no ``PYTHON…`` variable reaches it. It finds its environment
        by the first ``python3`` on the path, and the project's code in its current folder.
        """
        libraries = [str(self._packages() / "nvidia_pytriton.libs")]
        libpython = libpython_folder(self._environment / "bin" / "python", self._home / "libpython")
        if libpython is not None:
            libraries.append(str(libpython))
        return {
            "HOME": os.environ.get("HOME", str(self._home)),
            "LANG": "C.UTF-8",
            # Heads give their memory back after each window; with huge pages taking it again is cheap.
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
            "PATH": f"{self._environment / 'bin'}:{os.environ.get('PATH', os.defpath)}",
            "LD_LIBRARY_PATH": ":".join(libraries),
        }

    def _packages(self) -> Path:
        packages = self._environment / "lib" / "python3.11" / "site-packages"
        if not (packages / "pytriton" / "tritonserver").is_dir():
            raise ServingUnavailable(f"{self._environment} has no Triton server: run `make setup`")
        return packages

    def _copy_backends(self) -> Path:
        """Copy the backends and put the stub of this Python into place; return their folder."""
        source = self._packages() / "pytriton" / "tritonserver"
        backends = self._home / "backends"
        with folder_aside(self._home / ".backends") as aside:
            shutil.copytree(source / "backends", aside, dirs_exist_ok=True)
            shutil.copy2(source / "python_backend_stubs" / "3.11" / STUB, aside / "python" / STUB)
            put(aside, backends)
        return backends

    def _clear_leftovers(self) -> None:
        """End stubs and free shared memory that a killed server has left behind."""
        stub = str(self._home / "backends" / "python" / STUB)
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):  # gone meanwhile, another user's, or no process
                if str((entry / "exe").readlink()).startswith(stub):
                    os.kill(int(entry.name), signal.SIGKILL)
        for region in Path("/dev/shm").glob(f"{self._shared_memory_prefix()}*"):
            region.unlink(missing_ok=True)

    def _shared_memory_prefix(self) -> str:
        """Begin the names of this home's shared memory, so that no other server's is touched."""
        return f"organloop-{sha256_hex(str(self._home).encode())[:12]}-"


def _is_ours_alone(folder: Path) -> bool:
    """Tell whether a folder is still the one that was made: gone from /tmp, anybody may make it anew."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o777 == 0o700


def lives(url: str) -> bool:
    """Tell whether a server says it is alive; it does once the first loads have ended."""
    client = TritonSegmenter(url, deadline_seconds=LOOK_SECONDS, attempts=1)
    try:
        return client.lives()
    finally:
        client.close()
