"""The experiments as tables, in the paper's form and beside its figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.continual.experiments import LEVELS, TOP, Experiments, Found
from tests.bench.continual.measuring import mean, means
from tests.bench.continual.methods import SNAPSHOT_STUDIES
from tests.bench.continual.published import PAPER_STEPS, WINDOWS_A_STUDY
from tests.bench.continual.scale import KEPT, REVISED

PAPER = {
    "full-1": "54.4 %",
    "tuned-1": "54.2 %",
    "tuned-2": "76.1 % and 78.8 %",
    "spleen": (0.94, 0.25),
    "right_kidney": (0.92, 0.08),
    "left_kidney": (0.91, 0.12),
    "pancreas": (0.81, 0.07),
    "liver": (0.96, 0.01),
}
"""Figures of the paper: mean DSC of the revised organs; DSC of the others before and after tuning on the
revised organs alone."""

Row = Sequence[str]


def lines(header: Row, rows: Sequence[Row]) -> str:
    """Return a table in Markdown."""
    bar = ["---"] * len(header)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, bar, *rows))


def new_site(found: Found, organs: Sequence[str] = REVISED) -> list[str]:
    """Return DSC on the new site's tests by organ, then their mean."""
    columns = found["sites"]["B"]
    return [f"{mean(columns[organ]):.3f}" for organ in organs] + [f"{means(columns, organs):.3f}"]


def first_table(done: Experiments) -> str:
    """Experiment 3.1: Continual Tuning against Full Training."""
    scale = done.scale
    short, long = scale.steps[done.trunk], scale.full_steps[done.trunk]
    rows = [("incumbent", "0", *new_site(done.result("incumbent")), "")]
    named = {
        "full-uniform-1": (f"Full Training, {short} steps, every study as often", scale.cohort, ""),
        "full-short-1": (f"Full Training, {short} steps, every second window revised", scale.cohort, ""),
        "full-1": (f"Full Training, {long} steps, first round", scale.cohort, PAPER["full-1"]),
        f"tuned-{TOP}-1": ("Continual Tuning, first round", scale.first, PAPER["tuned-1"]),
        "full-2": (f"Full Training, {long} steps, second round", scale.cohort, ""),
        f"tuned-{TOP}-2": ("Continual Tuning, second round", scale.first + scale.second, PAPER["tuned-2"]),
        "whole-hybrid-1": ("whole network from the incumbent, hybrid labels", scale.cohort, ""),
    }
    for name, (words, studies, paper) in named.items():
        if done.done(name):
            rows.append((words, str(studies), *new_site(done.result(name)), str(paper)))
    return lines(("learnt", "studies", *REVISED, "mean", "paper, mean"), rows)


def second_table(done: Experiments) -> str:
    """Experiment 3.2: what tuning on the revised organs alone does to the others."""
    rows = []
    named = {
        "incumbent": "before",
        "whole-revised-background-1": "whole network, unlabelled taken for background",
        "whole-revised-1": "whole network, unlabelled masked",
        "shared-incumbent": "shared heads, before",
        "shared-revised-1": "shared heads, frozen trunk",
        f"tuned-{TOP}-1": "private heads, frozen trunk",
    }
    for name, words in named.items():
        if done.done(name):
            found = done.result(name)
            columns = found["sites"]["B"]
            rows.append((words, *(f"{mean(columns[o]):.3f}" for o in KEPT), f"{means(columns, REVISED):.3f}"))
    for place, words in ((0, "paper, before"), (1, "paper, revised organs alone")):
        rows.append((words, *(f"{PAPER[organ][place]:.2f}" for organ in KEPT), ""))
    return lines(("the other organs", *KEPT, "revised, mean"), rows)


def third_table(done: Experiments) -> str:
    """Experiment 3.3: one site against many."""
    named = {
        "incumbent": "incumbent",
        f"tuned-{TOP}-1": "12 of B, replay of A",
        "many-sites": "4 each of B, C, D, replay of A",
        "only-B": "12 of B alone",
        "only-C": "12 of C alone",
        "only-D": "12 of D alone",
    }
    rows = []
    for name, words in named.items():
        if done.done(name):
            sites = done.result(name)["sites"]
            rows.append((words, *(f"{means(sites[s], REVISED):.3f}" if s in sites else "" for s in "ABCD")))
    own = [("B", "only-B"), ("C", "only-C"), ("D", "only-D")]
    if all(done.done(name) for _, name in own):
        cells = [f"{means(done.result(name)['sites'][site], REVISED):.3f}" for site, name in own]
        old = f"{means(done.result('incumbent')['sites']['A'], REVISED):.3f}"
        rows.append(("a head version for each site, chosen by site", old, *cells))
    return lines(("revised organs, mean DSC", "A", "B", "C", "D"), rows)


def versions_table(done: Experiments) -> str:
    """One head that replays the old site, against a head a site chosen for each study by a rule."""
    named = {
        "incumbent": "old heads for every study",
        "only-B": "heads tuned on B alone for every study",
        f"tuned-{TOP}-1": "one head: 12 of B, 12 of A replayed",
        "chosen-by-rule-1": "old heads or those of B, by the nearer site",
    }
    rows = []
    for name, words in named.items():
        if done.done(name):
            found = done.result(name)
            sites = found["sites"]
            taken = [
                f"{sum(found['chosen'][site])} of {len(found['chosen'][site])}" if "chosen" in found else ""
                for site in "ABCD"
            ]
            mean_of = [f"{means(sites[s], REVISED):.3f}" if s in sites else "" for s in "ABCD"]
            rows.append((words, *mean_of, ", ".join(filter(None, taken))))
    return lines(("revised organs, mean DSC", "A", "B", "C", "D", "head of B taken, A to D"), rows)


def levels_table(done: Experiments) -> str:
    """The ladder: what each level reaches, and how far it is from Full Training."""
    rows = []
    full = {organ: mean(done.result(longest(done))["sites"]["B"][organ]) for organ in REVISED}
    names = [f"tuned-{level}-1" for level in (*LEVELS, "block", "ladder")]
    for name in names:
        if done.done(name):
            found = done.result(name)
            dsc = {organ: mean(found["sites"]["B"][organ]) for organ in REVISED}
            cost = found["cost"]
            rows.append(
                (
                    name.split("-")[1],
                    *(f"{dsc[o]:.3f} ({dsc[o] - full[o]:+.3f})" for o in REVISED),
                    f"{statistics.fmean(dsc.values()):.3f}",
                    f"{means(found['sites']['A'], REVISED):.3f}",
                    f"{statistics.fmean(cost['parameters'].values()):.0f}",
                    f"{_seconds(cost, 'fit') / len(REVISED):.1f}",
                )
            )
    header = ("level", *(f"{organ} (to Full Training)" for organ in REVISED), "mean B", "mean A")
    return lines((*header, "parameters an organ", "s an organ, warm"), rows)


def ablation_table(done: Experiments) -> str:
    """Replay, importance, partial labels."""
    named = {
        f"tuned-{TOP}-1": "12 revised, 12 replayed at random",
        "no-replay-1": "12 revised, no replay",
        "replay-important-1": "12 revised, 12 replayed by importance and variety",
        "revised-important-1": "revised: 12 by importance and variety of 200",
        "revised-random-1": "revised: 12 of 200 at random",
        "revised-random-2": "revised: 12 others of 200 at random",
        "partial-masked-1": "12 with two of four organs, the others masked",
        "partial-background-1": "12 with two of four organs, the others taken for background",
        "partial-whole-1": "6 with all four organs",
    }
    rows = []
    for name, words in named.items():
        if done.done(name):
            found = done.result(name)
            rows.append((words, *new_site(found), f"{means(found['sites']['A'], REVISED):.3f}"))
    return lines(("learnt", *REVISED, "mean B", "mean A"), rows)


def untouched(done: Experiments, name: str) -> dict[str, bool]:
    """Tell what of the organs that nobody revised is bit for bit as before, on all tests of both sites."""
    before, after = done.result("incumbent"), done.result(name)
    same = {
        what: all(
            before["sites"][site][organ][what] == after["sites"][site][organ][what]
            for site in ("A", "B")
            for organ in KEPT
        )
        for what in ("probabilities", "masks")
    }
    if "digests" in after:
        names = ("trunk", *KEPT)
        same["files"] = all(before["digests"][one] == after["digests"][one] for one in names)
    return same


def untouched_table(done: Experiments) -> str:
    """Which organs that nobody revised still are what they were."""
    named = {
        f"tuned-{TOP}-1": "private heads",
        f"tuned-{TOP}-2": "private heads, second round",
        "whole-revised-1": "whole network",
    }
    rows = []
    for name, words in named.items():
        if done.done(name):
            same = untouched(done, name)
            rows.append(
                (
                    words,
                    *(
                        {True: "the same bits", False: "changed", None: "-"}[same.get(one)]
                        for one in ("files", "probabilities", "masks")
                    ),
                )
            )
    return lines(("tuned", "trunk and five heads", "probabilities", "masks"), rows)


def longest(done: Experiments) -> str:
    """Return the longest Full Training that has been done."""
    return "full-1" if done.done("full-1") else "full-short-1"


def steps_to(done: Experiments, rival: str, dsc: float) -> tuple[int, bool]:
    """Return the first step at which a training was as good, and whether it ever was."""
    cost = done.result(rival)["cost"]
    reached = [step for step, found in cost["curve"] if found >= dsc]
    return (reached[0], True) if reached else (int(cost["steps"]), False)


def _seconds(cost: Mapping[str, Any], part: str) -> float:
    """Return the processor seconds of the fits or of the extraction, as they share the time that passed."""
    passed = cost["measured"]["fit_seconds"] + cost["measured"]["extraction_seconds"]
    return cost["cpu_seconds"] * cost["measured"][f"{part}_seconds"] / passed


def ratios(done: Experiments, rival: str) -> dict[str, Any]:
    """Return how many times cheaper tuning is than a training to the same DSC, all of it measured.

    Seconds are the processor's, so that what else ran beside does not count.
    """
    tuned, full = done.result(f"tuned-{TOP}-1"), done.result(rival)
    dsc = means(tuned["sites"]["B"], REVISED)
    looked_at = {o: {"dsc": tuned["sites"]["B"][o]["dsc"][:SNAPSHOT_STUDIES]} for o in REVISED}
    steps, reached = steps_to(done, rival, means(looked_at, REVISED))
    cost, counted, whole = tuned["cost"], tuned["cost"]["counted"], full["cost"]
    seconds = whole["cpu_seconds"] * steps / whole["steps"]
    fit, extraction = (_seconds(cost, part) for part in ("fit", "extraction"))
    operations = whole["flops_a_step"] * steps
    return {
        "dsc": dsc,
        "full_dsc": means(full["sites"]["B"], REVISED),
        "steps": steps,
        "reached": reached,
        "studies": full["studies"] / tuned["studies"],
        "full_flops": operations,
        "full_seconds": seconds,
        "flops_warm": operations / counted["fit_flops"],
        "flops_cold": operations / (counted["fit_flops"] + counted["extraction_flops"]),
        "seconds_warm": seconds / fit,
        "seconds_cold": seconds / (fit + extraction),
        "seconds_an_organ": fit / len(REVISED),
    }


def published_ratios(found: Mapping[str, Any], steps: int, studies: int) -> list[Mapping[str, Any]]:
    """Return the same on the network as published, by level: steps are taken from elsewhere.

    Seconds are the processor's here too.

    Parameters
    ----------
    found
        What `published.measured` returned.
    steps
        Optimiser steps of Full Training.
    studies
        Studies whose windows are extracted when cold.
    """
    step, seconds = found["counted"]["training_step"], found["seconds"]
    share = found["counted"]["extraction"] * studies * WINDOWS_A_STUDY
    larger = (96 / seconds["side"]) ** 3
    rows = []
    for level, tuning in found["tuning"].items():
        fit = tuning["counted"]["fit_flops"]
        fit_seconds = tuning["measured"]["fit_seconds"] * tuning["cpu"] / tuning["wall"]
        cold = studies * WINDOWS_A_STUDY * seconds["extraction_cpu"] * larger
        rows.append(
            {
                "level": level,
                "flops_warm": steps * step / fit,
                "flops_cold": steps * step / (fit + share),
                "seconds_warm": steps * seconds["training_step_cpu"] * larger / fit_seconds,
                "seconds_cold": steps * seconds["training_step_cpu"] * larger / (fit_seconds + cold),
                "seconds_an_organ": fit_seconds / len(REVISED),
            }
        )
    return rows


def ratio_table(done: Experiments, published: Mapping[str, Any] | None) -> str:
    """The three ratios, on the small network measured, on the published one computed from measured parts."""
    ours = ratios(done, longest(done))
    rivals = {longest(done): "Full Training", "whole-hybrid-1": "whole network from the incumbent"}
    header = (
        "network, level", "steps of the rival", "studies", "FLOPs warm", "FLOPs cold", "time warm",
        "time cold", "s an organ, warm",
    )  # fmt: skip
    rows = []
    for rival, words in rivals.items():
        if not done.done(rival):
            continue
        found = ratios(done, rival)
        rows.append(
            (
                f"{done.trunk} of these experiments, {TOP}",
                f"{found['steps']:,} ({words}"
                + ("" if found["reached"] else "; its DSC is not reached")
                + ")",
                f"{found['studies']:.1f}",
                *(
                    f"{found[one]:,.0f}"
                    for one in ("flops_warm", "flops_cold", "seconds_warm", "seconds_cold")
                ),
                f"{found['seconds_an_organ']:.1f}",
            )
        )
    if published is not None:
        learnt = done.scale.first + 12
        for steps, whose in ((ours["steps"], "as above"), (PAPER_STEPS, "the paper's")):
            for row in published_ratios(published, steps, learnt):
                rows.append(
                    (
                        f"U-Net of 19 M, {row['level']}",
                        f"{steps:,} ({whose})",
                        f"{ours['studies']:.1f}",
                        *(
                            f"{row[one]:,.0f}"
                            for one in ("flops_warm", "flops_cold", "seconds_warm", "seconds_cold")
                        ),
                        f"{row['seconds_an_organ']:.1f}",
                    )
                )
    return lines(header, rows)


def report(done: Experiments, published: Mapping[str, Any] | None = None) -> str:
    """Return the tables of a trunk, with what has been done so far."""
    parts = {
        "3.1 Continual Tuning against Full Training (DSC, new site)": first_table(done),
        "3.2 The organs that nobody revised (DSC, new site)": second_table(done),
        "Untouched organs on all tests of both sites": untouched_table(done),
        "3.3 One site, many sites": third_table(done),
        "Replay, or a head a site": versions_table(done),
        "Ablations": ablation_table(done),
    }
    if done.done(longest(done)):
        parts["Levels"] = levels_table(done)
        if done.done(f"tuned-{TOP}-1"):
            parts["Three ratios"] = ratio_table(done, published)
    return "\n\n".join(f"### {done.trunk}: {title}\n\n{table}" for title, table in parts.items())
