"""The flows that a run may be, by name: a worker runs these, as they are in its own program, and no others.

At Prefect a deployment says which module is loaded, which command is run and with what variables, and whoever
has the password there can write one. Here none of that is believed: a run names a flow, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect.client.schemas.objects import Flow

ENTRYPOINTS: Mapping[str, str] = {
    "segment-study": "flows.segmentation.flow.segment_study",
    "ingest-correction": "flows.corrections.flow.ingest_correction",
    "nightly-tuning": "flows.nightly.flow.nightly_tuning",
    "tune-heads": "flows.tuning.flow.tune_flow",
    "train-release": "flows.training.flow.train_flow",
    "calibrate-release": "flows.calibration.flow.calibrate_flow",
}
"""Where each is found, by the name it has at Prefect."""

ENTRYPOINT_VARIABLE = "PREFECT__FLOW_ENTRYPOINT"
"""Where Prefect's engine looks first; only where it finds nothing it asks the server what to load."""


class UnknownFlow(ValueError):
    """A run is of a flow that no worker of this program runs; the message names those it does."""


def variables_of(flow: Flow | None) -> dict[str, str]:
    """Return the environment by which the process of a run loads its flow from this program.

    Parameters
    ----------
    flow
        As Prefect knows it; None for a run without one.

    Raises
    ------
    UnknownFlow
        If it is none of `ENTRYPOINTS`.
    """
    entrypoint = None if flow is None else ENTRYPOINTS.get(flow.name)
    if entrypoint is None:
        raise UnknownFlow(f"this worker runs {', '.join(sorted(ENTRYPOINTS))}, and no other flow")
    return {ENTRYPOINT_VARIABLE: entrypoint}
