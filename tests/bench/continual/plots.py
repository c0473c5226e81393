"""Pictures of the experiments, in ``build/continual``."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from tests.bench.continual.experiments import TOP, Experiments
from tests.bench.continual.measuring import mean, means
from tests.bench.continual.scale import KEPT, REVISED
from tests.bench.continual.tables import longest


def draw(done: Experiments) -> list[Path]:
    """Draw what Full Training reaches by its steps, and what becomes of the other organs."""
    return [_training(done), _others(done)]


def _training(done: Experiments) -> Path:
    figure = Figure(figsize=(6, 3.5), dpi=100, layout="tight")
    axes = figure.add_subplot()
    cost = done.result(longest(done))["cost"]
    per_step = cost["cpu_seconds"] / cost["steps"]
    axes.plot(*zip(*[(s * per_step, d) for s, d in cost["curve"]], strict=True), "o-", label="Full Training")
    tuned = done.result(f"tuned-{TOP}-1")
    measured = tuned["cost"]["measured"]
    dsc = means(tuned["sites"]["B"], REVISED)
    axes.plot([measured["fit_seconds"]], [dsc], "s", label="tuned, warm")
    axes.plot([measured["fit_seconds"] + measured["extraction_seconds"]], [dsc], "^", label="tuned, cold")
    axes.axhline(means(done.result("incumbent")["sites"]["B"], REVISED), linestyle=":", label="incumbent")
    axes.set_xscale("log")
    axes.set_xlabel("seconds on one core")
    axes.set_ylabel("mean DSC, revised organs, new site")
    axes.legend(fontsize=8)
    return _saved(figure, done, "full-training")


def _others(done: Experiments) -> Path:
    figure = Figure(figsize=(7, 3.5), dpi=100, layout="tight")
    axes = figure.add_subplot()
    named = {
        "incumbent": "before",
        f"tuned-{TOP}-1": "private heads",
        "shared-revised-1": "shared heads",
        "whole-revised-1": "whole network",
        "whole-revised-background-1": "whole network, unlabelled = background",
    }
    shown = [(name, words) for name, words in named.items() if done.done(name)]
    for place, (name, words) in enumerate(shown):
        columns = done.result(name)["sites"]["B"]
        at = [n + 0.16 * (place - len(shown) / 2) for n in range(len(KEPT))]
        axes.bar(at, [mean(columns[organ]) for organ in KEPT], 0.15, label=words)
    axes.set_xticks(range(len(KEPT)), KEPT, fontsize=8)
    axes.set_ylabel("DSC, new site")
    axes.legend(fontsize=7)
    return _saved(figure, done, "other-organs")


def _saved(figure: Figure, done: Experiments, name: str) -> Path:
    path = done.scale.folder / f"{done.trunk}-{name}.png"
    figure.savefig(path)
    return path
