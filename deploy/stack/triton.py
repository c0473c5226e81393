"""The embedded Triton server: a process of its own on 127.0.0.1, without Docker and without root.

The wheel ``nvidia-pytriton`` carries a real ``tritonserver`` with the Python backend. It lives in a
virtual environment of its own, because it needs numpy below 2: with numpy 2 it starts, says it is
ready, and answers with empty tensors.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from deploy.stack import local_process
from deploy.stack.libpython import libpython_folder
from deploy.stack.local_process import LocalProcess
from deploy.triton.command import STOP_SECONDS, serving_flags
from models.contract import SEGMENTER
from models.errors import ServingUnavailable
from models.release import sha256_hex
from services.files import folder_aside, put, replace, storage_errors

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


class TritonServer:
    """The embedded server of one Organloop home.

    It outlives the command that started it. As a context manager it stops at the end.

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

    def __init__(
        self,
        home: Path,
        repository: Path,
        environment: Path,
        code: Path,
        grpc_port: int | None = None,
        http_port: int | None = None,
    ) -> None:
        self._home = home.resolve()
        self._repository = repository.resolve()
        self._environment = environment.absolute()  # its python is a link, which must not be followed
        self._code = code.resolve()
        self._ports = (grpc_port, http_port)
        self.log = self._home / "server.log"
        self._state = self._home / "server.json"

    def status(self) -> TritonProcess | None:
        """Return the running server, or None."""
        try:
            process = TritonProcess(**json.loads(self._state.read_bytes()))
        except FileNotFoundError:
            return None
        return process if process.alive else None

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
        running = self.status()
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
            started = local_process.start(command, log=self.log, env=self._variables())
        process = TritonProcess(started.pid, started.started, grpc, web, metrics)
        try:
            replace(self._state, json.dumps(asdict(process)).encode())
            local_process.wait_until(
                lambda: _answers(process),
                process=process,
                log=self.log,
                name="Triton",
                deadline_seconds=deadline_seconds,
            )
        except BaseException:
            self.stop()
            raise
        return process

    def stop(self) -> None:
        """Stop the server and its stubs: asked first, killed after `STOP_SECONDS`; none is no error."""
        process = self.status()
        if process is not None:
            local_process.stop(process, grace_seconds=STOP_SECONDS)
        self._clear_leftovers()
        self._state.unlink(missing_ok=True)

    def log_tail(self) -> str:
        """Return the end of the server's log."""
        return local_process.log_tail(self.log)

    def __enter__(self) -> TritonProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self, backends: Path, grpc: int, web: int, metrics: int) -> list[str]:
        command = [
            "/usr/bin/env",
            f"--chdir={self._code}",  # where the served model finds `models` and `services`
            str(self._packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
            *serving_flags(self._repository, backends, self._shared_memory_prefix()),
        ]
        for service, port in (("grpc", grpc), ("http", web), ("metrics", metrics)):
            command += [f"--{service}-address=127.0.0.1", f"--{service}-port={port}"]
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


def _answers(process: TritonProcess) -> bool:
    """Tell whether the server's HTTP end says it is alive; it opens once the first loads have ended."""
    connection = http.client.HTTPConnection("127.0.0.1", process.http_port, timeout=1)
    try:
        connection.request("GET", "/v2/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
