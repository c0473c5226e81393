"""The flows `promote-release` and `approve-release`, and what Prefect shows of gate and promotion.

A decision that waits for a person is a state of the release in the records (`needs-approval`), so it outlives
server and run: `organloop promote` is the same act by command.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, pause_flow_run, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.input import RunInput
from pydantic import Field

from flows.acts import require_name
from flows.gate.gate_candidate import PASSED, all_reasons, gate_candidate, organ_rows
from flows.promotion.promote import (
    complete,
    promotion_page,
    require_canary,
    require_own_promotion,
    require_passed,
)
from flows.retries import worth_trying_again
from flows.serving.serve import serve
from services.pictures.gate_plots import bootstraps, differences
from services.pictures.slices import data_url
from services.settings import Settings
from services.wiring import connect

WAIT_SECONDS = 7 * 24 * 3600
"""How long a run waits for a person; then it fails, and the release still waits in the records."""

POLL_SECONDS = 2
"""How often a run asks whether somebody has."""


class Approval(RunInput):
    """What a person says."""

    approver: str = Field(description="Name of the person whose act this is; kept on record.")
    reason: str = Field(description="Why, in one sentence; kept on record.")


@task(name="gate", retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=worth_trying_again)
def gate_task(number: int) -> dict[str, Any]:
    """Decide on a candidate; the document of the `gate` verb."""
    return gate_candidate(number, connect(Settings()))


@task(name="publish decision")
def publish_decision_task(report: dict[str, Any]) -> None:
    """Show the decision, its reasons and every organ's figures in the Prefect dashboard."""
    reasons = "\n".join(f"- **{reason['code']}**: {reason['detail']}" for reason in all_reasons(report))
    decision = f"# Release {report['release']}: {report['decision']}"
    create_markdown_artifact(
        key="gate-decision",
        markdown=f"{decision}\n\n{reasons or 'No reason against it.'}\n",
        description=f"Release {report['release']} against release {report['incumbent_release']}",
    )
    for key, plot, description in (
        (
            "gate-differences",
            differences(report),
            "Candidate minus incumbent, a dot for each gate case; only filled dots decide",
        ),
        ("gate-bootstrap", bootstraps(report), "Means the bootstrap drew, and what they prove"),
    ):
        if plot:
            create_image_artifact(key=key, image_url=data_url(plot), description=description)
    create_table_artifact(
        key="gate-organs",
        table=organ_rows(report),
        description=f"DSC on the frozen gate set, {report['profile']}",
    )


@task(name="gate's decision")
def require_passed_task(number: int) -> int:
    """Return the incumbent that may be replaced."""
    return require_passed(number, connect(Settings()))


@task(name="load", retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=worth_trying_again)
def serve_task(number: int) -> None:
    """Load the release beside the incumbent."""
    services = connect(Settings())
    serve(services.releases.release(number), services)


@task(name="canary", retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=worth_trying_again)
def canary_task(number: int, incumbent: int) -> None:
    """Let both releases answer the canary."""
    require_canary(number, incumbent, connect(Settings()))


@task(name="flip")
def flip_task(number: int, incumbent: int, approver: str, reason: str) -> None:
    """Make the release the incumbent."""
    records = connect(Settings()).records
    records.set_incumbent(number, approver=approver, reason=reason, replacing=incumbent)


@task(name="golden studies")  # not tried again: what could not be asked has been taken back
def complete_task(number: int, approver: str, reason: str) -> dict[str, Any]:
    """Ask the golden studies and put the promotion on record; the document of the `promote` verb."""
    services = connect(Settings())
    document = complete(number, services)
    require_own_promotion(number, services, approver, reason)
    return document


@task(name="publish promotion")
def publish_promotion_task(document: dict[str, Any]) -> None:
    """Show in the Prefect dashboard who made which release the incumbent, and why."""
    create_markdown_artifact(
        key="incumbent",
        markdown=promotion_page(document, connect(Settings())),
        description=f"Incumbent: release {document['release']}",
    )


@flow(name="promote-release")
def promote_release(number: int, approver: str, reason: str) -> dict[str, Any]:
    """Promote a release the gate let pass."""
    require_name(approver, reason)
    services = connect(Settings())
    if services.records.incumbent() != number:
        incumbent = require_passed_task(number)
        serve_task(number)
        canary_task(number, incumbent)
        flip_task(number, incumbent, approver, reason)
    document = complete_task(number, approver, reason)
    publish_promotion_task(document)
    return document


@flow(name="approve-release")
def approve_release(number: int, wait_seconds: int = WAIT_SECONDS) -> dict[str, Any]:
    """Let the gate decide, wait for a person where it lets the candidate pass, and promote it.

    Returns
    -------
    dict
        The document of the `promote` verb; of the `gate` verb where nobody can approve.
    """
    decision = gate_task(number)
    publish_decision_task(decision)
    if decision["decision"] not in PASSED:
        return decision
    reasons = "\n".join(f"- **{one['code']}**: {one['detail']}" for one in all_reasons(decision))
    asked = Approval.with_initial_data(
        description=f"Release {number}: {decision['decision']}\n\n{reasons or 'No reason against it.'}"
    )
    approval = pause_flow_run(
        wait_for_input=asked, timeout=wait_seconds, poll_interval=POLL_SECONDS, key=f"release-{number}"
    )
    return promote_release(number, approval.approver, approval.reason)
