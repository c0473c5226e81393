"""``make demo``: phantoms, or a CT of your own, through the real stack, with a report to look at."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from deploy import stack
from deploy.console import Outcome, conclude, progress, table
from deploy.report import pictures
from deploy.report.page import Page
from models.dsc import dsc
from models.organs import CATALOGUE, ORGANS, organ
from models.phantom import make_case
from services.dicom.phantom_series import read_truth, write_phantom_series, write_truth
from services.dicom.seg_reader import read_seg
from services.dicom.series import CTSeries, choose_series, load, read_series
from services.settings import Settings

PHANTOMS = (("A", 700_001), ("A", 700_002), ("A", 700_003), ("B", 700_001), ("B", 700_002), ("B", 700_003))
"""Site and seed of the studies shown; none of them was trained or calibrated on."""

NOT_CLINICAL = "DEMO, NOT FOR CLINICAL USE: these weights were trained on phantoms and have seen no patient."


@dataclass(frozen=True)
class Shown:
    """One study of the report, as read back from what was written.

    Parameters
    ----------
    name
        Heading.
    series
        The CT.
    masks
        By organ key, as the organ SEG says.
    review
        Labels and masks of the review SEG's segments, in rank order.
    document
        What `segment` said.
    truth
        By organ key, of a phantom; None for a CT of one's own.
    """

    name: str
    series: CTSeries
    masks: dict[str, NDArray[np.bool_]]
    review: tuple[tuple[str, NDArray[np.bool_]], ...]
    document: dict[str, Any]
    truth: dict[str, NDArray[np.bool_]] | None

    def scores(self) -> dict[str, float | None]:
        """Return DSC to the truth by organ; None where there is no truth or the organ is not there."""
        if self.truth is None:
            return dict.fromkeys(ORGANS)
        return {key: dsc(self.masks[key], self.truth[key]) for key in ORGANS}


def run(study: Path | None, settings: Settings) -> Outcome:
    """Start the stack, segment, and report."""
    begin = time.monotonic()
    stack.up(settings, progress)
    api = stack.prefect(settings).api_url
    os.environ["PREFECT_API_URL"] = str(api)
    from flows.segment_study import segment_study  # Prefect reads its address when it is imported

    folder = settings.home / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    studies = [("your CT", study, None)] if study else _phantoms(folder / "studies")
    shown = []
    for number, (name, source, truth) in enumerate(studies, 1):
        progress(f"study {number} of {len(studies)}: {name}")
        out = folder / "results" / source.name if study else folder / "results" / name
        document = segment_study(source, out)
        shown.append(_read_back(name, source, document, truth))
    report = folder / "report.html"
    progress("drawing the report")
    _report(shown).save(report)
    seconds = time.monotonic() - begin
    document = {
        "report": str(report.resolve()),
        "seconds": round(seconds, 1),
        "studies": [one.document for one in shown],
    }
    last = f"Report: {report.resolve()}   ({seconds:.0f} s; the stack still runs: `organloop down` stops it)"
    return Outcome(document, (NOT_CLINICAL, *_tables(shown), last))


def _phantoms(folder: Path) -> Sequence[tuple[str, Path, dict[str, NDArray[np.bool_]] | None]]:
    """Write the phantom studies as DICOM; return name, CT folder and truth of each."""
    studies = []
    for number, (site, seed) in enumerate(PHANTOMS, 1):
        progress(f"phantom {number} of {len(PHANTOMS)}: site {site}, seed {seed}")
        case = make_case(site, seed)
        name = f"{site}-{seed}"
        write_phantom_series(case, folder / name / "ct")
        write_truth(case, folder / name / "truth.npz")
        studies.append((name, folder / name / "ct", read_truth(folder / name / "truth.npz")[0]))
    return studies


def _read_back(
    name: str, source: Path, document: dict[str, Any], truth: dict[str, NDArray[np.bool_]] | None
) -> Shown:
    series = load(choose_series(read_series(source)))
    paths = {item["kind"]: Path(item["path"]) for item in document["objects"]}
    by_label = {entry.label: entry.key for entry in CATALOGUE}
    masks = {by_label[s.label]: s.mask for s in read_seg(paths["organ-seg"], series).segments}
    review = read_seg(paths["review-seg"], series).segments if "review-seg" in paths else ()
    return Shown(name, series, masks, tuple((s.label, s.mask) for s in review), document, truth)


def _tables(shown: Sequence[Shown]) -> list[Table]:
    """One table for the terminal: an organ a row."""
    columns, rows = _summary(shown)
    return [table(columns, rows)]


def _summary(shown: Sequence[Shown]) -> tuple[dict[str, str], list[list[str]]]:
    """Return columns and rows: DSC to truth by site, and how often each flag was raised."""
    sites = sorted({one.name.split("-")[0] for one in shown if one.truth is not None})
    scores = {one.name: one.scores() for one in shown}
    columns = {"organ": "left"} | {f"DSC, site {site}": "right" for site in sites}
    columns |= {"clear": "right", "review": "right", "reject": "right", "reasons": "left"}
    rows = []
    for key in ORGANS:
        said = [next(o for o in one.document["organs"] if o["organ"] == key) for one in shown]
        row = [organ(key).label]
        for site in sites:
            values = [scores[one.name][key] for one in shown if one.name.startswith(site)]
            known = [value for value in values if value is not None]
            row.append(f"{mean(known):.3f}" if known else "—")
        row += [str(sum(o["flag"] == flag for o in said)) for flag in ("clear", "review", "reject")]
        row.append(", ".join(sorted({reason for o in said for reason in o["reasons"]})))
        rows.append(row)
    return columns, rows


def _report(shown: Sequence[Shown]) -> Page:
    page = Page("Organloop: what was found")
    page.sentence(NOT_CLINICAL, kind="warning")
    page.sentence(
        f"{len(shown)} CT studies, segmented by release {shown[0].document['release']} through Triton and "
        "read back from the DICOM SEG that a viewer would open. DSC is the overlap with the phantom's exact "
        "truth, measured on the CT grid."
    )
    columns, rows = _summary(shown)
    page.table(list(columns), rows)
    page.picture(
        pictures.legend(), "Outlines: what was found. Dotted white: truth. Yellow: regions to look at."
    )
    for one in shown:
        page.heading(one.name)
        k = pictures.best_slice(dict(one.review) or one.masks)
        hatched = np.any([mask for _, mask in one.review], axis=0) if one.review else None
        caption = f"Slice {k + 1} of {one.series.volume.geometry.shape[0]}"
        page.picture(
            pictures.axial(one.series.volume, k, one.masks, truth=one.truth, review=hatched), caption
        )
        seconds = one.document["seconds"]
        page.sentence(
            f"{seconds['total']:.1f} s: "
            + ", ".join(f"{n} {s:.1f}" for n, s in seconds.items() if n != "total")
        )
        scores = one.scores()
        page.table(
            ("organ", "presence", "ml", "DSC to truth", "DSC at least", "flag", "reasons"),
            [
                (
                    organ(o["organ"]).label,
                    o["presence"],
                    round(o["volume_ml"]),
                    scores[o["organ"]],
                    o["dsc_lower_bound"],
                    o["flag"],
                    ", ".join(o["reasons"]),
                )
                for o in one.document["organs"]
            ],
        )
    return page


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, help="folder with the DICOM files of one CT study")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    arguments = parser.parse_args()
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    sys.exit(conclude(lambda: run(arguments.study, Settings()), arguments.json))


if __name__ == "__main__":
    main()
