"""``make starter``: train the demonstration release again from its seeds, and calibrate it as it serves."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from deploy.cli.console import progress
from deploy.preparation import STARTER
from flows.calibration.measure import Truth, calibrate
from models.masks import BoxedMask
from models.network.starter.train import renew_members, train_starter
from models.phantom.case import make_case
from models.release import Release
from models.volume import Volume
from services.inference.engine import OpenVinoEngine
from services.releases.exporter import export_release
from services.releases.store import ReleaseStore

CALIBRATION_SITE = "A"
CALIBRATION_SEEDS = range(300_000, 300_060)
"""Phantoms for calibration only; the starter was not trained on them and no figure is measured on them."""

THREADS = 2
"""Part of the serving profile the calibration holds in; the default of the setting `threads`."""


def calibration_cases() -> Iterator[tuple[Volume, Truth]]:
    """Yield the calibration phantoms, CT volume and truth."""
    for seed in CALIBRATION_SEEDS:
        case = make_case(CALIBRATION_SITE, seed)
        yield case.volume, {organ: BoxedMask.of(mask) for organ, mask in case.truth.items()}


def calibrated(release: Release, weights: ReleaseStore) -> Release:
    """Return a release with its calibration, measured in the serving engine.

    Raises
    ------
    InvalidRelease
        If a file is damaged or an export does not agree with torch.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = ReleaseStore(Path(folder))
        store.add_trunk(weights.trunk(release.trunk))
        for digest in release.heads.values():
            store.add_head(weights.head(digest))
        parity = export_release(release, store, threads=THREADS)
        progress(
            f"parity: at most {max(one.flipped_fraction for one in parity):.4%} of an organ's voxels flip"
        )
        heads = {organ: store.export(digest) for organ, digest in release.heads.items()}
        engine = OpenVinoEngine(release, store.export(release.trunk), heads, THREADS)
    count = len(CALIBRATION_SEEDS)
    measured = calibrate(
        release, engine, calibration_cases(), lambda done: progress(f"calibration case {done} of {count}")
    )
    return replace(release, calibration=measured)


def main() -> None:
    """Train, calibrate, and write the starter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--calibrate-only", action="store_true", help="keep the weights there are, calibrate them again"
    )
    parser.add_argument(
        "--members-only", action="store_true", help="keep trunk and first members, train the further ones"
    )
    parser.add_argument("--folder", type=Path, default=STARTER, help="where the release is written")
    arguments = parser.parse_args()
    if arguments.members_only:
        renew_members(arguments.folder, progress).write(arguments.folder)
    elif not arguments.calibrate_only:
        train_starter(say=progress).write(arguments.folder)
    store = ReleaseStore(arguments.folder)
    release = calibrated(replace(store.release(1), calibration=None), store)
    (arguments.folder / "releases" / "1" / "release.json").write_bytes(release.to_bytes())
    progress(f"release 1, digest {release.digest}")


if __name__ == "__main__":
    main()
