"""Where the embedded server's Python stub finds ``libpython3.11.so.1.0``, without root."""

from __future__ import annotations

import subprocess
from pathlib import Path

from models.errors import ServingUnavailable
from services.files import folder_aside, put

LIBPYTHON = "libpython3.11.so.1.0"
PACKAGE = "libpython3.11"
DOWNLOAD_SECONDS = 120


def libpython_folder(python: Path, tools: Path) -> Path | None:
    """Return the folder to add to the loader's path.

    Parameters
    ----------
    python
        Interpreter of the server's environment; the library beside it fits it exactly.
    tools
        Folder for a private copy of Debian's package where the machine has none.

    Returns
    -------
    Path or None
        None where the loader knows the library by itself.

    Raises
    ------
    ServingUnavailable
        If there is none and it cannot be fetched; the message says what to install.
    """
    asked = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    beside = Path(_output([str(python), "-c", asked]).strip())
    if (beside / LIBPYTHON).is_file():
        return beside
    if LIBPYTHON in _output(["/sbin/ldconfig", "-p"]):
        return None
    found = sorted(tools.rglob(LIBPYTHON))
    return found[0].parent if found else _fetched(tools)


def _fetched(tools: Path) -> Path:
    """Unpack Debian's package into a folder of ours; neither step needs root."""
    with folder_aside(tools.with_name(f".{tools.name}-aside")) as aside:
        try:
            subprocess.run(
                ["apt-get", "download", PACKAGE],
                cwd=aside, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS,
            )  # fmt: skip
            package = next(aside.glob("*.deb"))
            subprocess.run(["dpkg", "-x", package.name, "."], cwd=aside, check=True, capture_output=True)
            package.unlink()
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            raise ServingUnavailable(
                f"the Triton server needs {LIBPYTHON} (Debian's package {PACKAGE}), "
                f"which is not installed and cannot be fetched: {error}"
            ) from error
        put(aside, tools)
    return next(tools.rglob(LIBPYTHON)).parent


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
