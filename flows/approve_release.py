"""A decision that waits for a person, in Prefect: the run is paused until somebody gives a name and a reason.

The waiting itself is the release's state in the records (`needs-approval`), so it outlives server and run:
`organloop promote` is the same act by command.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows.gate_candidate import PASSED, all_reasons, gate_task, publish_decision_task
from flows.promote_release import promote_release

WAIT_SECONDS = 7 * 24 * 3600
"""How long a run waits for a person; then it fails, and the release still waits in the records."""


POLL_SECONDS = 2
"""How often a run asks whether somebody has."""


class Approval(RunInput):
    """What a person says."""

    approver: str = Field(description="Name of the person whose act this is; kept on record.")
    reason: str = Field(description="Why, in one sentence; kept on record.")


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
