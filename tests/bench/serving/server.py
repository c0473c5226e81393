"""A Triton that serves a bench's release, started by a process of its own: a client's memory is not its.

Says one JSON document, address and processes, and stops when its input ends.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from services.triton.repository import TritonRepository
from tests.bench.serving.material import THREADS, material
from tests.support.serving import MODEL, server_at


def main() -> int:
    """Serve until told to stop."""
    of = material(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        server = server_at(Path(folder))
        TritonRepository(Path(folder) / "repository", MODEL, THREADS).write_version(of.release, of.store)
        with server as process:
            stubs = [
                int(entry.name)
                for entry in Path("/proc").iterdir()
                if entry.name.isdigit() and _command(entry).startswith(folder)
            ]
            print(json.dumps({"url": process.url, "pids": [process.pid, *stubs]}), flush=True)
            sys.stdin.read()
    return 0


def _command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    raise SystemExit(main())
