"""Do the experiments that are missing: ``python -m tests.bench.continual.run --trunk unet --minutes 12``."""

from __future__ import annotations

import argparse

import torch

from tests.bench.continual import published
from tests.bench.continual.experiments import Experiments, run
from tests.bench.continual.scale import chosen
from tests.bench.continual.tables import report


def main() -> int:
    """Do what is missing; exit 1 if something still is."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.continual.run", description=__doc__)
    parser.add_argument("--trunk", choices=("unet", "swin"), default="unet")
    parser.add_argument("--minutes", type=float, default=1e6, help="nothing is begun after so many minutes")
    parser.add_argument("--only", action="append", help="this experiment, by name; repeatable")
    parser.add_argument("--tables", action="store_true", help="show what has been done so far, do nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    experiments = Experiments(chosen(), options.trunk)
    if options.tables:
        print(report(experiments, published.known()))
        return 0
    for name in options.only or ():
        experiments.result(name)
    return 0 if options.only or run(experiments, 60 * options.minutes) else 1


if __name__ == "__main__":
    raise SystemExit(main())
