"""The machine: room and speed of the storage, memory, the GPU and its driver."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.doctor.finding import Finding, State

SAMPLE_MIB = 64
SLOW_MIB_PER_SECOND = 20.0
"""A study of 300 slices is 150 MiB: below this it waits for the disk longer than for the network."""
FREE_GIB, SCARCE_GIB = 20.0, 5.0
"""Below the first there is a warning; below the second the next weeks' studies do not fit."""
GPU_SECONDS = 20
_GIB, _MIB = 1 << 30, 1 << 20
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Of the container this runs in; ``max`` where it has none."""


def storage(home: Path) -> Iterator[Finding]:
    """Measure the folder of all state: may it be written, how fast, how much room is left.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free / _GIB
    with tempfile.TemporaryDirectory(prefix="doctor-", dir=home) as folder:
        sample = Path(folder) / "sample"
        started = time.perf_counter()
        with sample.open("wb", buffering=0) as file:
            piece = os.urandom(_MIB)  # what can be compressed would flatter some file systems
            for _ in range(SAMPLE_MIB):
                file.write(piece)
            os.fsync(file.fileno())
        speed = SAMPLE_MIB / (time.perf_counter() - started)
        started = time.perf_counter()
        (Path(folder) / "small").write_bytes(b"x")
        (Path(folder) / "small").rename(Path(folder) / "renamed")
        rename_ms = 1000 * (time.perf_counter() - started)
    yield privacy(home)
    yield room(free)
    yield write_speed(speed, rename_ms)


def privacy(home: Path) -> Finding:
    """Judge whether others on this machine may enter the folder, which holds studies with patients' names."""
    found = home.stat()
    mode = f"{found.st_mode & 0o777:04o}"
    measured = {"mode": mode}
    if not found.st_mode & 0o007:
        return Finding("storage, others", State.GOOD, f"mode {mode}: others may not enter", measured=measured)
    if found.st_uid == os.getuid():
        remedy = f"`chmod 700 {home}`; `organloop up` does it."
        detail = f"mode {mode}: every user of this machine may enter"
        return Finding("storage, others", State.BAD, detail, remedy, measured)
    detail = f"mode {mode}, another user's: who else sees this storage may enter"
    return Finding("storage, others", State.WARNING, detail, "Close the volume's root to others.", measured)


def room(free_gib: float) -> Finding:
    """Judge the room that is left, GiB."""
    measured = {"free_gib": round(free_gib, 1)}
    detail = f"{free_gib:.0f} GiB free"
    if free_gib >= FREE_GIB:
        return Finding("storage, room", State.GOOD, detail, measured=measured)
    state = State.WARNING if free_gib >= SCARCE_GIB else State.BAD
    remedy = f"Give ORGANLOOP_HOME a larger disk; plan {FREE_GIB:.0f} GiB to spare."
    return Finding("storage, room", state, detail, remedy, measured)


def write_speed(mib_per_second: float, rename_ms: float) -> Finding:
    """Judge how fast the storage takes data, flushed to the disk."""
    measured = {"write_mib_per_second": round(mib_per_second, 1), "rename_ms": round(rename_ms, 1)}
    detail = f"writes {mib_per_second:.0f} MiB/s, flushed; a rename takes {rename_ms:.1f} ms"
    if mib_per_second >= SLOW_MIB_PER_SECOND:
        return Finding("storage, speed", State.GOOD, detail, measured=measured)
    remedy = (
        f"Below {SLOW_MIB_PER_SECOND:.0f} MiB/s studies wait for it: move ORGANLOOP_HOME to a faster disk."
    )
    return Finding("storage, speed", State.WARNING, detail, remedy, measured)


def memory(wanted_mib: int) -> Iterator[Finding]:
    """Compare the memory that a run is said to have with what this machine, or this container, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or no limit
        total = min(total, int(_CGROUP_LIMIT.read_text()))
    yield memory_of(wanted_mib, total // _MIB)


def memory_of(wanted_mib: int, total_mib: int) -> Finding:
    """Judge the memory that a run is said to have, MiB."""
    measured = {"total_mib": total_mib, "study_mib": wanted_mib}
    detail = f"{total_mib / 1024:.1f} GiB, of which one run may take {wanted_mib / 1024:.1f}"
    if wanted_mib <= total_mib:
        return Finding("memory", State.GOOD, detail, measured=measured)
    remedy = "Set ORGANLOOP_STUDY_MEMORY_MIB to what one run has: a large CT would end it."
    return Finding("memory", State.BAD, detail, remedy, measured)


def gpu(wanted_by: str | None) -> Iterator[Finding]:
    """Look for a GPU and its driver.

    Parameters
    ----------
    wanted_by
        The setting that asks for one; None where everything runs on the CPU.
    """
    asked = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,memory.free",
        "--format=csv,noheader,nounits",
    ]
    remedy = (
        f"{wanted_by} asks for a GPU: install NVIDIA's driver on this node, or give the container the GPU."
    )
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=GPU_SECONDS, check=False)
        lines = (
            [line for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []
        )
        found = "nvidia-smi finds no GPU here" if not lines else ""
    except FileNotFoundError:
        lines, found = [], "no GPU here: nvidia-smi is not installed"
    except subprocess.TimeoutExpired:
        lines, found = [], f"nvidia-smi did not answer within {GPU_SECONDS} s"
    if found and wanted_by is None:
        yield Finding("gpu", State.SKIPPED, f"{found}; nothing is set to use one")
    elif found:
        yield Finding("gpu", State.BAD, found, remedy)
    for line in lines:
        yield described(line)


def described(line: str) -> Finding:
    """Return the finding for one line of nvidia-smi: name, driver, memory and free memory in MiB."""
    name, driver, total, free = (part.strip() for part in line.rsplit(",", 3))
    if not (total.isdecimal() and free.isdecimal()):  # [N/A] where the memory is shared or divided
        return Finding("gpu", State.GOOD, f"{name}, driver {driver}", measured={"driver": driver})
    measured = {"driver": driver, "memory_mib": int(total), "free_mib": int(free)}
    return Finding(
        "gpu", State.GOOD, f"{name}, driver {driver}, {free} of {total} MiB free", measured=measured
    )
