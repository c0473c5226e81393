"""Flow runs as forks of a process that has imported everything: a run begins at once, not after 5 s.

What Prefect's own process worker does beside starting a process - control channel, cancellation, reporting
how it ended - is Prefect's here too.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.abc
from anyio import to_thread
from prefect import engine
from prefect.flows import load_flow_from_entrypoint
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.workers.process import ProcessJobConfiguration, ProcessWorkerResult

from deploy.runs.known_flows import ENTRYPOINT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.context import SpawnProcess

    from prefect.client.schemas.objects import FlowRun
    from prefect.flows import Flow
    from prefect.runner._control_channel import ControlChannel

IMPORTED = (
    "flows.segmentation.flow",
    "flows.corrections.flow",
    "prefect.flow_engine",
    "deploy.runs.warm_runs",
)
"""What runs need that somebody waits for; the others import the rest when they begin."""


def warm_up() -> None:
    """Start the process that runs are forks of; it imports while the worker starts."""
    multiprocessing.set_forkserver_preload(list(IMPORTED))
    forkserver.ensure_running()


async def run_forked(
    flow_run: FlowRun,
    configuration: ProcessJobConfiguration,
    task_status: anyio.abc.TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> ProcessWorkerResult:
    """Run a flow run to its end, as `ProcessWorker.run` does, in a fork."""
    results = []
    with tempfile.TemporaryDirectory(suffix="prefect") as folder:
        async with FlowRunExecutorContext() as context:
            executor = context.create_executor(
                flow_run,
                _Forked(configuration.env, folder, context.control_channel),
                resolve_flow=_of_this_program(configuration),
                propose_submitting=False,
            )

            async def execute(*, task_status: anyio.abc.TaskStatus[ProcessHandle]) -> None:
                results.append(await executor.submit(task_status=task_status))

            async with anyio.create_task_group() as group:
                handle = await group.start(execute)
                task_status.started(handle.pid)
    [result] = results
    if result is None or result.status_code is None:
        raise RuntimeError("the flow run's process was not started")
    return ProcessWorkerResult(status_code=result.status_code, identifier=str(result.handle.pid))


def _of_this_program(
    configuration: ProcessJobConfiguration,
) -> Callable[[FlowRun], Awaitable[Flow[..., Any]]]:
    """Return what finds the flow whose hooks are called when a run ends without them."""

    async def find(_: FlowRun) -> Flow[..., Any]:
        return load_flow_from_entrypoint(str(configuration.env[ENTRYPOINT_VARIABLE]))

    return find


class _Forked:
    """Starts one flow run as a fork; Prefect's `ProcessStarter`."""

    def __init__(self, env: Mapping[str, str | None], folder: str, channel: ControlChannel) -> None:
        self._env, self._folder, self._channel = env, folder, channel

    async def start(
        self,
        flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        env = {name: value for name, value in self._env.items() if value is not None}
        env |= {
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        }
        with contextlib.suppress(RuntimeError):  # without a channel a run is killed, not asked to end
            port, token = self._channel.register(flow_run.id)
            env |= {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        process = multiprocessing.get_context("forkserver").Process(target=_run, args=(env, self._folder))
        try:
            await to_thread.run_sync(process.start)
        except BaseException:
            self._channel.unregister(flow_run.id)
            raise
        task_status.started(ProcessHandle(cast("SpawnProcess", process)))
        await to_thread.run_sync(process.join, abandon_on_cancel=True)


def _run(env: Mapping[str, str], folder: str) -> None:
    """Be the process of one flow run."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = ["prefect.engine"]
    try:
        runpy.run_path(str(engine.__file__), run_name="__main__")
    finally:
        sys.stdout.flush()
        atexit._run_exitfuncs()  # a fork ends without; they send the last logs and states
