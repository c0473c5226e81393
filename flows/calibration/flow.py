"""The flow `calibrate-release`, and what Prefect shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from services.settings import Settings
from services.wiring import connect_in_process

if TYPE_CHECKING:  # torch, where it is needed
    from flows.calibration.calibrate import Calibrated


@task(name="calibrate release")
def calibrate_task() -> Calibrated:
    """Calibrate the incumbent; the document of the `calibrate` verb."""
    from flows.calibration.calibrate import calibrate_release  # torch, where it is needed

    return calibrate_release(connect_in_process(Settings()), progress=print)


@task(name="publish calibration")
def publish_calibration_task(document: Calibrated) -> None:
    """Show what is claimed of each organ in the Prefect dashboard."""
    from flows.calibration.calibrate import calibration_rows  # torch, as above

    create_table_artifact(
        key="calibration",
        table=calibration_rows(document),
        description=f"Release {document.release}: release {document.parent} calibrated on "
        f"{document.cases} cases, {document.profile}",
    )


@flow(name="calibrate-release", log_prints=True)
def calibrate_flow() -> Calibrated:
    """Calibrate the incumbent on the calibration set into a candidate."""
    document = calibrate_task()
    publish_calibration_task(document)
    return document
