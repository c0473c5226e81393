"""One flow run, as the process of a job that was made for it: what a cluster's tuning jobs run.

Prefect's own command for this loads what the server says, and runs what a deployment there has it run before.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import NoReturn
from uuid import UUID

from prefect.client.orchestration import get_client

from deploy.runs.fork_configuration import ForkConfiguration
from deploy.runs.warm_runs import run_forked
from services.files import OWNER_ONLY

RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""In which Prefect's Kubernetes worker tells a job which run it is."""


async def run(flow_run_id: UUID) -> int:
    """Run a flow run to its end, by this program's flow of its name; return the exit status.

    Raises
    ------
    UnknownFlow
        If it is of none.
    """
    async with get_client() as client:
        flow_run = await client.read_flow_run(flow_run_id)
        flow = await client.read_flow(flow_run.flow_id)
    configuration = ForkConfiguration()
    configuration.prepare_for_flow_run(flow_run, flow=flow)
    return (await run_forked(flow_run, configuration)).status_code


def _end(number: int, _: object) -> NoReturn:
    """End when asked to, as the first process of a container does not by itself; the run goes with it."""
    sys.exit(128 + number)


def main() -> None:
    """Run the flow run of this job."""
    os.umask(OWNER_ONLY)
    signal.signal(signal.SIGTERM, _end)
    sys.exit(asyncio.run(run(UUID(os.environ[RUN_VARIABLE]))))


if __name__ == "__main__":
    main()
