"""``make gpu-proofs``: tunes, exports, compares, serves and gates on one GPU, and prints one table.

It needs no network: a GPU with its driver, torch's CUDA build, `onnxruntime-gpu` in place of `onnxruntime`,
and to serve NVIDIA's Triton image around it. What is missing is left out by name. Work is done in a folder of
its own; that all of it passed goes on record in ORGANLOOP_HOME.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from deploy.cli.console import EXIT_DONE, EXIT_FAILED, Outcome, conclude, progress, table
from deploy.gpu_proof.steps import Line
from deploy.gpu_proof.steps import Outcome as Became
from models.errors import ServingUnavailable
from services.inference.gpu_device import gpu_device


def main() -> None:
    """Prove, print the table, and put on record what passed."""
    parser = argparse.ArgumentParser(prog="make gpu-proofs", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what computes")
    parser.add_argument("--small", action="store_true", help="three studies, four steps: to try the program")
    parser.add_argument(
        "--threads", type=int, default=min(16, os.cpu_count() or 1), help="of the CPU's engine"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    asked = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # as the GPU server's image: float32 means it
    with tempfile.TemporaryDirectory(prefix="gpu-proof-") as folder:
        home = Path(folder)
        sys.exit(conclude(lambda: run(home, asked.device, asked.small, asked.threads), asked.json))


def run(home: Path, device: str, small: bool, threads: int) -> Outcome:
    """Make the site, go through the steps, and tell."""
    from deploy.gpu_proof.engines import machine
    from deploy.gpu_proof.server import nvidia_server
    from deploy.gpu_proof.site import SMALL, WHOLE, open_site
    from deploy.gpu_proof.steps import prove
    from models.tuning.settings import Level, TuningSettings

    name, versions = machine(device)
    if not name:  # known before the site is made, which takes minutes
        raise ServingUnavailable(f"torch sees no GPU ({versions}): install its CUDA build and a driver")
    extent, begin = SMALL if small else WHOLE, time.monotonic()
    services = open_site(home, extent, threads, progress)
    tuning = TuningSettings(Level.NEIGHBOURHOOD, steps=extent.steps)
    lines = []
    for line in prove(services, device, tuning, nvidia_server, progress):
        progress(f"  {line.outcome}: {line.measured}")
        lines.append(line)
    return conclusion(lines, time.monotonic() - begin, recorded(lines, device))


def proven(lines: Sequence[Line]) -> tuple[str, ...]:
    """Return the targets that a run on a GPU has proven: each was served, and nothing failed."""
    served = {line.step.removeprefix("serve, "): line for line in lines if line.step.startswith("serve, ")}
    if any(line.outcome is Became.FAILED for line in lines) or lines[-1].outcome is not Became.PASSED:
        return ()
    return tuple(target for target, line in served.items() if line.outcome is Became.PASSED)


def recorded(lines: Sequence[Line], device: str) -> tuple[str, ...]:
    """Put on record in the site's home which targets were proven on which GPU; return them."""
    from services.records.events.serving import GpuProven
    from services.records.store import open_records
    from services.settings import Settings

    targets = proven(lines) if device == "cuda" else ()
    if targets:
        records = open_records(Settings().records_url)
        for target in targets:
            said = tuple(asdict(line) for line in lines)
            records.record(GpuProven(target=target, device=gpu_device(), lines=said), who="gpu proofs")
        records.close()
    return targets


def conclusion(lines: Sequence[Line], seconds: float, targets: Sequence[str]) -> Outcome:
    """Return the table, a row for BENCHMARKS.md, and what it proves."""
    sides = {"step": "left", "device": "left", "seconds": "right", "measured": "left", "outcome": "left"}
    rows = [(one.step, one.device, f"{one.seconds:.1f}", one.measured, one.outcome) for one in lines]
    failed = any(line.outcome is Became.FAILED for line in lines)
    done = [one for one in lines[1:] if one.outcome is not Became.LEFT_OUT]
    figures = "; ".join(f"{one.step}: {one.seconds:.1f} s, {one.measured}" for one in done)
    row = f"| first run on {lines[0].measured} | {seconds:.0f} s; {figures} | `make gpu-proofs` |"
    said = (
        f"proven here, and on record: {', '.join(targets)}"
        if targets
        else "no GPU target is proven by this: onnxruntime and tensorrt stay unproven here"
    )
    document = {
        "lines": [asdict(line) for line in lines],
        "seconds": round(seconds, 1),
        "proven": list(targets),
        "benchmark": row,
    }
    return Outcome(document, (table(sides, rows), row, said), EXIT_FAILED if failed else EXIT_DONE)


if __name__ == "__main__":
    main()
