"""A real Orthanc with a configuration of a container."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.stack import archive as archive_server
from deploy.stack.local_process import NotInstalled


@contextmanager
def orthanc_at(folder: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    """Run Orthanc with the files of a folder; yield its log, which tells when it has started."""
    log = folder.with_name(f"{folder.name}.log")
    with (
        log.open("w") as said,
        subprocess.Popen(
            [program(), str(folder)], env=os.environ | variables, stdout=said, stderr=said
        ) as server,
    ):
        try:
            yield log
        finally:
            server.terminate()


def program() -> str:
    """Return the path of Orthanc; skip where it is not installed."""
    try:
        return archive_server.installed()
    except NotInstalled as error:
        pytest.skip(str(error))


def refuses_when_full() -> bool:
    """Tell whether the Orthanc of this machine can; an older one, told a limit, does not start."""
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return found is not None and tuple(map(int, found.groups())) >= (1, 11, 3)
