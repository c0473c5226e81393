"""Plots of the flags: risk over coverage, coverage over splits, regions against chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from models.organs import ORGANS
from tests.bench.flags.figures import Judged, SplitCoverage, area_under_risk, risk_coverage

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def risk_curves(rows: Mapping[str, Sequence[Judged]], path: Path) -> None:
    """Draw risk over coverage of every score, a panel per site."""
    figure, panels = plt.subplots(1, len(rows), figsize=(6 * len(rows), 5.4), squeeze=False)
    for panel, (site, judged) in zip(panels[0], rows.items(), strict=True):
        bad = [row.under for row in judged]
        for name in judged[0].scores:
            score = [row.scores[name] for row in judged]
            kept, risk = risk_coverage(score, bad)
            panel.plot(kept, risk, label=f"{name} ({area_under_risk(score, bad):.4f})")
        panel.set(title=site, xlabel="share of organs kept, the surest first", ylabel="share under target")
        panel.legend(
            title="score (area)", fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.15)
        )
    _save(figure, path)


def coverage_splits(found: Mapping[str, Sequence[SplitCoverage]], path: Path) -> None:
    """Draw the coverage of every organ in every split inside its band, a panel per site."""
    figure, panels = plt.subplots(1, len(found), figsize=(6 * len(found), 4.2), squeeze=False)
    for panel, (site, splits) in zip(panels[0], found.items(), strict=True):
        for n, organ in enumerate(ORGANS):
            own = [one for one in splits if one.organ == organ]
            low, high = (np.mean([getattr(one, end) / one.tested for one in own]) for end in ("low", "high"))
            panel.fill_between([n - 0.35, n + 0.35], low, high, color="0.85")
            panel.plot(
                n + np.linspace(-0.25, 0.25, len(own)), [one.covered / one.tested for one in own], ".k", ms=3
            )
        panel.axhline(0.9, color="C0", lw=0.8)
        panel.set(title=site, ylabel="share of organs with DSC at least L")
        panel.set_xticks(range(len(ORGANS)), ORGANS, rotation=60, fontsize=8)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
