"""A Prefect Kubernetes worker whose jobs are what the chart says, whatever the Prefect server says.

Prefect's own takes the pod of a job from the server, variables and all: whoever has the password there could
start any pod in the namespace, with every secret in it. This one reads the job from a file of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration

from deploy.runs.known_flows import variables_of

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse


class JobConfiguration(KubernetesWorkerJobConfiguration):
    """A job as the chart's file has it; `template` is set once, before the worker starts."""

    template: ClassVar[dict[str, Any]]

    @classmethod
    async def from_template_and_values(
        cls,
        base_job_template: object,
        values: object,
        client: PrefectClient | None = None,
    ) -> JobConfiguration:
        """Return the configuration of the file; template and values of the server are left aside."""
        made: JobConfiguration = await super().from_template_and_values(cls.template, {}, client=client)
        return made

    def prepare_for_flow_run(
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: Flow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Fill in which run it is; raises `UnknownFlow` for one that no job of ours would run."""
        variables_of(flow)
        super().prepare_for_flow_run(flow_run, deployment, flow, work_pool, worker_name, worker_id=worker_id)


def main() -> None:
    """Start jobs until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pool", required=True, help="work pool")
    parser.add_argument("--template", required=True, type=Path, help="base job template (JSON)")
    asked = parser.parse_args()
    JobConfiguration.template = json.loads(asked.template.read_bytes())
    launcher = KubernetesWorker(work_pool_name=asked.pool, create_pool_if_not_found=False)
    launcher.job_configuration = JobConfiguration  # a class of its own would take the place of Prefect's
    asyncio.run(launcher.start(with_healthcheck=True))


if __name__ == "__main__":
    main()
