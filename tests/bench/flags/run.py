"""Answer and measure what is missing: ``python -m tests.bench.flags.run``; a study takes some seconds.

Two processes share the work with ``--half 0`` and ``--half 1``; ``--minutes`` does it in pieces.
"""

from __future__ import annotations

import argparse
import math
import time

from tests.bench.flags.cohort import compute, damages, sites
from tests.bench.flags.measures import measured, shipped


def main() -> None:
    """Answer and measure what is missing, the sites first."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.flags.run", description=__doc__)
    parser.add_argument("--half", type=int, choices=(0, 1), help="every second study only")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long; call again")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    studies = [*sites(), *damages()]
    if options.half is not None:
        studies = studies[options.half :: 2]
    compute(studies, 60 * options.minutes)
    release = shipped()
    for study in studies:
        if study.path.exists() and time.monotonic() < ends:
            list(measured([study], release))


if __name__ == "__main__":
    main()
