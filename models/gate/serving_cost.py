"""What serving two releases costs: counted, which may be weighed, and timed, which is only shown.

What is counted of a graph is the same on any machine at any load (`services.inference.graph_cost`). Seconds
are not: they say what a machine did at one moment, beside whatever else it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReleaseCost:
    """What one release costs, counted on its exported graphs.

    Parameters
    ----------
    window_flops
        Floating point operations of one window: trunk and every head; a product and a sum are two.
    window_moved_bytes
        Bytes that all operators of a window read and write.
    live_bytes
        Most that stands at once, of all that is made for a window.
    network_bytes
        Of the exported graphs.
    study_flops, study_moved_bytes
        Of one study: the mean of the gate set's studies, by the windows that each is cut into.
    """

    window_flops: int
    window_moved_bytes: int
    live_bytes: int
    network_bytes: int
    study_flops: int
    study_moved_bytes: int


@dataclass(frozen=True)
class Timing:
    """How long a release took to answer one window, answer by answer; it decides nothing.

    Parameters
    ----------
    wall_seconds
        From question to answer.
    processor_seconds
        That the process which answered spent meanwhile, on all its threads; None where it did not say.
    """

    wall_seconds: tuple[float, ...]
    processor_seconds: tuple[float | None, ...]


@dataclass(frozen=True)
class ServingCost:
    """What either release costs the server.

    Parameters
    ----------
    studies, windows
        Of the gate set: how many, and windows of all together; both releases are asked about the same ones.
    incumbent, candidate
        Counted.
    timed
        Answers to the same window, asked in turn, by ``incumbent`` and ``candidate``; shown only.
    """

    studies: int
    windows: int
    incumbent: ReleaseCost
    candidate: ReleaseCost
    timed: Mapping[str, Timing] = field(default_factory=dict)
