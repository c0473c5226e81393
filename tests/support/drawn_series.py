"""Draw series that are fit, segment each, and tell what came of them; run as a program.

``python -m tests.support.drawn_series --seed 1 --count 500 --profile ohif --work FOLDER`` prints a document,
``{verdicts, slowest_seconds, fault}``. The fault names the smallest series that was fit and was not
segmented. The same seed draws the same series.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.support.fit_series import FitSeries, fit_series, segmented, site_at


def run(number: int, count: int, profile: str, work: Path) -> dict[str, object]:
    """Draw so many series and segment them."""
    site = site_at(work / "home", profile)
    verdicts: Counter[str] = Counter()
    slowest = 0.0
    fault: str | None = None

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(series=fit_series())
    def every_one(series: FitSeries) -> None:
        nonlocal slowest, fault
        folder, started = work / "series", time.perf_counter()
        shutil.rmtree(folder, ignore_errors=True)
        try:
            verdicts[segmented(series, site, folder)] += 1
        except Exception as error:
            fault = f"{series!r}: {type(error).__name__}: {error}"
            raise
        slowest = max(slowest, time.perf_counter() - started)

    try:
        every_one()
    except Exception:
        assert fault is not None
    return {"verdicts": dict(verdicts.most_common()), "slowest_seconds": round(slowest, 1), "fault": fault}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--profile", default="ohif")
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    said = run(arguments.seed, arguments.count, arguments.profile, arguments.work)
    json.dump(said, sys.stdout, indent=1)
