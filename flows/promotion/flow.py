"""The flow `promote-release`, and what Prefect shows of gate and promotion.

It is no deployment: whoever has Prefect's password may start those, and a name typed there proves nobody.
`organloop promote` promotes. A decision that waits for a person is a state of the release in the records
(`needs-approval`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from flows.gate.gate_candidate import gate_candidate, organ_rows
from flows.promotion.promote import Promoted, promote, promotion_page
from flows.retries import worth_trying_again
from models.gate.document import GateDocument
from services.pictures.gate_plots import bootstraps, differences
from services.pictures.slices import data_url
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import connect

T = TypeVar("T")


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
