"""How the loss of each tuned organ fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from models.organs import name_of
from services.pictures.slices import colour, png


def tuning_curves(curve: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """Return a PNG of loss by step.

    Parameters
    ----------
    curve
        By organ key, ``(step, loss)`` points; the loss is BCE + soft Dice.
    """
    figure = Figure(figsize=(6, 3), dpi=90, layout="tight")
    axes = figure.add_subplot()
    for key, points in curve.items():
        axes.plot(*zip(*points, strict=True), color=colour(key), label=name_of(key))
    axes.set_xlabel("step")
    axes.set_ylabel("loss (BCE + soft Dice)")
    axes.legend(fontsize=8)
    return png(figure)
