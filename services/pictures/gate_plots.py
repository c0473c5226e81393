"""What the gate measured, as a picture: every case's difference, and what the mean of them proves."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.corrections.ledger import INDEPENDENT
from models.gate.document import GateDocument
from models.gate.report import GateCase, OrganGate
from models.organs import name_of
from services.pictures import slices as pictures

Dot = tuple[float, GateCase]
"""A DSC difference, and the case it was measured on."""

SITE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colours that readers with a colour vision deficiency tell apart (Okabe and Ito, 2008)."""


def differences(report: GateDocument) -> bytes | None:
    """Draw every tuned organ's DSC differences, case by case, the largest loss first.

    Filled dots have independent truth, and only these decide; hollow dots are shown. A solid line is the
    mean over patients, a dashed one its lower bound, a red one the loss that must be ruled out.

    Parameters
    ----------
    report
        The document of the `gate` verb.

    Returns
    -------
    bytes or None
        A PNG, one panel per tuned organ; None where no tuned organ was measured.
    """
    measured = [one for one in report.organs if _dots(one)]
    if not measured:
        return None
    sites = sorted({case.site for one in measured for _, case in _dots(one)})
    colours = dict(zip(sites, cycle(SITE_COLOURS), strict=False))
    figure = Figure(figsize=(max(4.5, 2.6 * len(measured) + 0.6), 3.6), dpi=90, layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for axes, one in zip(panels, measured, strict=True):
        _draw(axes, one, colours)
    panels[0].set_ylabel("DSC difference, candidate − incumbent", fontsize=8)
    entries = {
        label: drawn
        for axes in panels
        for drawn, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncol=min(len(entries), 6),
        fontsize=7,
    )
    return pictures.png(figure)


def bootstraps(report: GateDocument) -> bytes | None:
    """Draw the means the bootstrap drew for every tuned organ, with their lower bound and the margin.

    Parameters
    ----------
    report
        The document of the `gate` verb.

    Returns
    -------
    bytes or None
        A PNG, one panel per tuned organ; None where nothing was drawn.
    """
    drawn = [
        (one, found, found.drawn)
        for one in report.organs
        if (found := one.gate_set) is not None and found.drawn is not None
    ]
    if not drawn:
        return None
    figure = Figure(figsize=(max(4.5, 2.6 * len(drawn) + 0.6), 2.8), dpi=90, layout="constrained")
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (one, found, histogram) in zip(panels, drawn, strict=True):
        width = (histogram.high - histogram.low) / len(histogram.counts)
        middles = [histogram.low + (n + 0.5) * width for n in range(len(histogram.counts))]
        axes.bar(middles, histogram.counts, width=width, color="0.6")
        axes.axvline(found.mean, color="black", linewidth=1.0)
        if found.lower_bound is not None:
            axes.axvline(found.lower_bound, color="black", linestyle="dashed", linewidth=1.0)
        if one.margin is not None:
            axes.axvline(-one.margin, color="#a4161a", linestyle="dotted", linewidth=1.2)
        axes.set_title(name_of(one.organ), fontsize=9)
        axes.set_xlabel("mean DSC difference", fontsize=8)
        axes.set_yticks([])
        axes.tick_params(labelsize=8)
    return pictures.png(figure)


def _dots(finding: OrganGate) -> list[Dot]:
    """Return the cases that have the organ, the largest loss first."""
    known = [(one.difference, one) for one in finding.cases if one.difference is not None]
    return sorted(known, key=lambda dot: (dot[0], dot[1].case))


def _draw(axes: Axes, one: OrganGate, colours: Mapping[str, str]) -> None:
    axes.axhline(0, color="0.8", linewidth=0.8)
    dots = list(enumerate(_dots(one), 1))
    for site, colour in colours.items():
        for is_deciding, face in ((True, colour), (False, "none")):
            shown = [
                (place, difference)
                for place, (difference, dot) in dots
                if dot.site == site and (dot.origin == INDEPENDENT) is is_deciding
            ]
            label = (f"site {site}" if site else "site not known") if is_deciding else None
            x, y = zip(*shown, strict=True) if shown else ((), ())
            axes.scatter(x, y, s=14, facecolors=face, edgecolors=colour, linewidths=0.9, label=label)
    found = one.gate_set
    for name, level, style, colour in (
        ("mean", found.mean if found else None, "solid", "black"),
        ("lower bound", found.lower_bound if found else None, "dashed", "black"),
        ("margin", None if one.margin is None else -one.margin, "dotted", "#a4161a"),
    ):
        if level is not None:
            axes.axhline(level, color=colour, linestyle=style, linewidth=1.0, label=name)
    axes.set_title(name_of(one.organ), fontsize=9)
    axes.set_xlabel("cases, sorted", fontsize=8)
    axes.tick_params(labelsize=8)
