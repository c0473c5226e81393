"""The flows `promote-release` and `approve-release`, and what Prefect shows of gate and promotion.

A decision that waits for a person is a state of the release in the records (`needs-approval`), so it outlives
server and run: `organloop promote` is the same act by command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prefect import flow, pause_flow_run, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.input import RunInput
from pydantic import Field

from flows.gate.gate_candidate import PASSED, gate_candidate, organ_rows
from flows.promotion.promote import Promoted, promote, promotion_page
from flows.retries import worth_trying_again
from models.gate.document import GateDocument
from services.pictures.gate_plots import bootstraps, differences
from services.pictures.slices import data_url
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import connect

T = TypeVar("T")

WAIT_SECONDS = 7 * 24 * 3600
"""How long a run waits for a person; then it fails, and the release still waits in the records."""

POLL_SECONDS = 2
"""How often a run asks whether somebody has."""


class Approval(RunInput):
    """What a person says."""

    approver: str = Field(description="Name of the person whose act this is; kept on record.")
    reason: str = Field(description="Why, in one sentence; kept on record.")


@task(name="gate", retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=worth_trying_again)
def gate_task(number: int) -> GateDocument:
    """Decide on a candidate; the document of the `gate` verb."""
    return gate_candidate(number, connect(Settings()))


def _list(report: GateDocument) -> str:
    return "\n".join(f"- **{reason.code}**: {reason.detail}" for reason in report.all_reasons)


@task(name="publish decision")
def publish_decision_task(report: GateDocument) -> None:
    """Show the decision, its reasons and every organ's figures in the Prefect dashboard."""
    reasons = _list(report)
    decision = f"# Release {report.release}: {report.decision}"
    create_markdown_artifact(
        key="gate-decision",
        markdown=f"{decision}\n\n{reasons or 'No reason against it.'}\n",
        description=f"Release {report.release} against release {report.incumbent_release}",
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
        description=f"DSC on the frozen gate set, {report.profile}",
    )


def as_task(name: str, work: Callable[[], T], again: bool) -> T:
    """Take a step as a task of the run, which Prefect shows and tries again."""
    taken = task(
        name=name,
        retries=3 if again else 0,
        retry_delay_seconds=[2, 10, 30],
        retry_condition_fn=worth_trying_again,
    )
    return taken(work)()


@task(name="publish promotion")
def publish_promotion_task(done: Promoted) -> None:
    """Show in the Prefect dashboard who made which release the incumbent, and why."""
    create_markdown_artifact(
        key="incumbent",
        markdown=promotion_page(done, ReleaseStore(Settings().release_store)),
        description=f"Incumbent: release {done.release}",
    )


@flow(name="promote-release")
def promote_release(number: int, approver: str, reason: str) -> Promoted:
    """Promote a release the gate let pass; the document of the `promote` verb."""
    done = promote(number, connect(Settings()), approver, reason, step=as_task)
    publish_promotion_task(done)
    return done


@flow(name="approve-release")
def approve_release(number: int, wait_seconds: int = WAIT_SECONDS) -> Promoted | GateDocument:
    """Let the gate decide, wait for a person where it lets the candidate pass, and promote it.

    Returns
    -------
    dict
        The document of the `promote` verb; of the `gate` verb where nobody can approve.
    """
    decision = gate_task(number)
    publish_decision_task(decision)
    if decision.decision not in PASSED:
        return decision
    reasons = _list(decision)
    asked = Approval.with_initial_data(
        description=f"Release {number}: {decision.decision}\n\n{reasons or 'No reason against it.'}"
    )
    approval = pause_flow_run(
        wait_for_input=asked, timeout=wait_seconds, poll_interval=POLL_SECONDS, key=f"release-{number}"
    )
    return promote_release(number, approval.approver, approval.reason)
