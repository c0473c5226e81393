"""What a run in the workers' own pool is started with: nothing that the Prefect server can choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.workers.process import ProcessJobConfiguration

from deploy.runs.known_flows import variables_of

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse

POOL_TEMPLATE = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
"""The work pool's base job template: a deployment or run that sets a variable is refused by the server."""


class ForkConfiguration(ProcessJobConfiguration):
    """The environment of the worker itself, and the flow of its own program; no command, no folder."""

    @classmethod
    async def from_template_and_values(
        cls,
        base_job_template: object,
        values: object,
        client: PrefectClient | None = None,
    ) -> ForkConfiguration:
        """Return a configuration that takes neither template nor values from the server."""
        return cls()

    def prepare_for_flow_run(
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: Flow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Fill in what the engine asks for; raises `UnknownFlow` for a run that is none of ours."""
        ours = variables_of(flow)
        super().prepare_for_flow_run(flow_run, deployment, flow, work_pool, worker_name, worker_id)
        self.env |= ours
