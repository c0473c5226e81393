"""The embedded Triton server: a process of its own on 127.0.0.1, without Docker and without root.

The wheel ``nvidia-pytriton`` carries a real ``tritonserver`` with the Python backend. It lives in a
virtual environment of its own, because it needs numpy below 2: with numpy 2 it starts, says it is
ready, and answers with empty tensors.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import local_process
from deploy.stack.libpython import libpython_folder
from deploy.stack.local_process import LocalProcess
from deploy.stack.local_server import LocalServer, answer_of
from deploy.triton.command import STOP_SECONDS, address_flags, serving_flags
from models.contract import SEGMENTER
from models.errors import ServingUnavailable
from models.release import sha256_hex
from services.files import folder_aside, put, storage_errors

STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class TritonProcess(LocalProcess):
    """A running server, as noted in its state file.

    Parameters
    ----------
    grpc_port, http_port, metrics_port
        On 127.0.0.1.
    """

    grpc_port: int
    http_port: int
    metrics_port: int

    @property
    def url(self) -> str:
        """The gRPC address, ``host:port``."""
        return f"127.0.0.1:{self.grpc_port}"


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
    grpc_port, http_port
        Wanted ports; None, or a port in use, takes a free one.
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
        grpc_port: int | None = None,
        http_port: int | None = None,
    ) -> None:
        super().__init__(home)
        self._repository = repository.resolve()
        self._environment = environment.absolute()  # its python is a link, which must not be followed
        self._code = code.resolve()
        self._ports = (grpc_port, http_port)

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
        if running is not None:
            return running
        self._clear_leftovers()
        with storage_errors(str(self._home)):
            self._home.mkdir(parents=True, exist_ok=True)
            self._repository.mkdir(parents=True, exist_ok=True)
            backends = self._copy_backends()
            if self.log.exists():
                self.log.replace(self.log.with_suffix(".previous.log"))  # how the last one ended
            grpc, web = (local_process.free_port(port or 0) for port in self._ports)
            metrics = local_process.free_port(0)
            command = self._command(backends, grpc, web, metrics)
            process = self._launch(command, self._variables(), grpc, web, metrics)
        try:
            return self._await(process, deadline_seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and its stubs: asked first, killed after `STOP_SECONDS`; none is no error."""
        super().stop()
        self._clear_leftovers()

    def __enter__(self) -> TritonProcess:
        return self.start()

    def _answers(self, process: TritonProcess) -> bool:
        return answers(process.http_port)

    def _command(self, backends: Path, grpc: int, web: int, metrics: int) -> list[str]:
        command = [
            "/usr/bin/env",
            f"--chdir={self._code}",  # where the served model finds `models` and `services`
            str(self._packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
            *serving_flags(self._repository, backends, self._shared_memory_prefix()),
            *address_flags(grpc=grpc, http=web, metrics=metrics),
        ]
        if (self._repository / SEGMENTER).is_dir():
            command.append(f"--load-model={SEGMENTER}")
        return command

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


def answers(http_port: int) -> bool:
    """Tell whether a server on this machine says it is alive; it does once the first loads have ended."""
    return answer_of(f"http://127.0.0.1:{http_port}/v2/health/live", seconds=1) is not None
