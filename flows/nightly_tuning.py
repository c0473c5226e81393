"""Every night: check the bounds on audited studies, tune on the day's corrections, gate what comes of it.

It never promotes: that is an act with a name and a reason. Steps repeat without harm, so a night that was
cut short is made up for by the next.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.audit_stream import check_bounds_task, publish_bounds_task
from flows.gate_candidate import gate_task, publish_decision_task
from flows.tune_heads import publish_curve_task, tune_task
from models.network.tuning import Level


@flow(name="nightly-tuning", log_prints=True)
def nightly_tuning(level: Level = Level.NEIGHBOURHOOD) -> dict[str, Any]:
    """Check bounds, tune, and gate what was tuned; nothing to learn is no error."""
    bounds = check_bounds_task()
    publish_bounds_task(bounds)
    tuned = tune_task(None, level)
    if tuned["release"] is None:
        return {"bounds": bounds, "tuning": tuned, "gate": None}
    publish_curve_task(tuned)
    report = gate_task(tuned["release"])
    publish_decision_task(report)
    return {"bounds": bounds, "tuning": tuned, "gate": report}
