"""``make demo``: the whole loop on phantoms, or a CT of your own, through the real stack."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from deploy.cli.console import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, Outcome, conclude, progress, table
from deploy.stack import up_and_down as stack
from models.errors import Refusal
from services.files import OWNER_ONLY
from services.settings import Settings

if TYPE_CHECKING:
    from deploy.demo.cohorts import Phantoms


def run(study: Path | None, settings: Settings) -> Outcome:
    """Start the stack, segment or turn the loop, and report."""
    begin = time.monotonic()
    if study is None:  # a home of its own: the loop promotes releases and fills sets
        settings = settings.model_copy(update={"home": settings.home / "demo-loop"})
        if settings.home.exists():
            stack.down(settings, progress)
            shutil.rmtree(settings.home)
    os.environ["ORGANLOOP_HOME"] = str(settings.home)
    if study is not None:
        with _stack(settings):
            return _one_study(study, settings, begin)
    from deploy.demo.cohorts import Phantoms

    with Phantoms(settings.home / "studies") as phantoms, _stack(settings):
        return _loop(phantoms, settings, begin)


@contextmanager
def _stack(settings: Settings) -> Iterator[None]:
    """Start the stack, which goes on running, and let flows report to its Prefect."""
    stack.up(settings, progress)
    access = stack.prefect(settings).start()
    os.environ |= access.variables  # for what is started as a process
    with access.used():
        yield


def _one_study(study: Path, settings: Settings, begin: float) -> Outcome:
    from deploy.demo.outcome import read_outcome
    from deploy.demo.report import NOT_CLINICAL, page_of_study, summary
    from flows.segmentation.flow import segment_study

    progress(f"segmenting {study}")
    document = segment_study(study)
    if isinstance(document, Refusal):
        refused = f"refused: {document.code}: {document.detail}"
        return Outcome({"study": document}, (refused,), EXIT_REFUSED)
    outcome = read_outcome(study.resolve().name, "", study, document, None)
    report = settings.home / "report.html"
    page_of_study(outcome).save(report)
    said = {"report": str(report.resolve()), "study": document}
    return Outcome(said, (NOT_CLINICAL, _shown(*summary([outcome])), _last(report, settings, begin)))


def _loop(phantoms: Phantoms, settings: Settings, begin: float) -> Outcome:
    from deploy.demo import loop
    from deploy.demo.report import NOT_CLINICAL, learnt, page_of_loop, summary
    from services.wiring import connect

    turned = loop.run(settings.home, phantoms, connect(settings), progress)
    faults = turned.faults()
    report = settings.home / "report.html"
    progress("drawing the report")
    page_of_loop(turned).save(report)
    columns, rows = learnt(turned)
    said: dict[str, object] = {
        "report": str(report.resolve()),
        "seconds": round(time.monotonic() - begin, 1),
        "tuning": turned.tuning,
        "gate": turned.gate,
        "promotion": turned.promotion,
        "rollback": turned.rollback,
        "unseen": [dict(zip(columns, row, strict=True)) for row in rows],
        "untouched_identical": list(turned.identical),
        "faults": list(faults),
    }
    text: tuple[str | Table, ...] = (
        NOT_CLINICAL,
        "Release 1 on unseen studies:",
        _shown(*summary(turned.before)),
        f"After one turn of the loop ({turned.gate.decision}):",
        _shown(columns, rows),
        _last(report, settings, begin),
    )
    text += tuple(f"Not as it should be: {fault}" for fault in faults)
    return Outcome(said, text, EXIT_FAILED if faults else EXIT_DONE)


def _shown(columns: list[str], rows: list[list[object]]) -> Table:
    words = {"organ", "reasons", "head"}
    cells = [[f"{value:.3f}" if isinstance(value, float) else value for value in row] for row in rows]
    return table({column: "left" if column in words else "right" for column in columns}, cells)


def _last(report: Path, settings: Settings, begin: float) -> str:
    seconds = time.monotonic() - begin
    down = f"ORGANLOOP_HOME={settings.home} .venv/bin/organloop down"
    return f"Report: {report.resolve()}   ({seconds:.0f} s; the stack still runs: `{down}` stops it)"


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--study", type=Path, help="folder with the DICOM files of one CT study")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    arguments = parser.parse_args()
    os.umask(OWNER_ONLY)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    sys.exit(conclude(lambda: run(arguments.study, Settings()), arguments.json))


if __name__ == "__main__":
    main()
