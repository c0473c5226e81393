"""Thousands of damaged series: every outcome a verdict, within bounds of memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEEDS, COUNT = range(100, 104), 1500


def test_six_thousand_damaged_series_end_in_a_verdict(tmp_path, capsys):
    verdicts: Counter[str] = Counter()
    faults, peak, slowest = [], 0.0, 0.0
    for seed in SEEDS:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.fuzz_series", "--seed", str(seed), "--count", str(COUNT),
             "--work", str(tmp_path / str(seed))],
            capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        said = json.loads(done.stdout)
        verdicts.update(said["verdicts"])
        faults += said["faults"]
        peak, slowest = max(peak, said["peak_mb"]), max(slowest, said["slowest_seconds"])
    with capsys.disabled():
        print(
            f"\n{len(SEEDS) * COUNT} damaged series: {len(faults)} without a verdict; peak {peak:.0f} MB, "
            f"slowest {slowest:.1f} s"
        )
        print("  " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))
    assert faults == []
