"""The verbs a cluster's init containers and jobs call: `prepare`, `register`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import Json, Outcome, answer, progress
from models.release import NONE_SERVES
from services.settings import Settings

WAIT_SECONDS = 600.0


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(prepare)
    app.command("register")(register_deployments)


def prepare(
    starter: Annotated[
        bool,
        typer.Option(
            "--starter",
            envvar="ORGANLOOP_STARTER",
            show_envvar=False,
            help="Where no release is the incumbent, take in the demonstration one. Not for clinical use.",
        ),
    ] = False,
    repository: Annotated[
        bool,
        typer.Option(help="Whether the releases are written for Triton; TensorRT engines are built before."),
    ] = True,
    as_json: Json = False,
) -> None:
    """Bring records and Triton's repository to this version; safe to repeat, and in many places at once.

    The schema of the records is brought up to date, and the incumbent is written for Triton by this program.
    A newer version's schema is left as it is, so that an update can be taken back.
    """

    def verb() -> Outcome:
        from deploy.preparation import prepare as run

        number = run(Settings(), progress, starter=starter, repository=repository)
        text = NONE_SERVES if number is None else f"incumbent: release {number}"
        return Outcome({"incumbent": number}, (text,))

    answer(verb, as_json)


def register_deployments(
    timezone: Annotated[
        str, typer.Option(help="Of the schedules, an IANA name, e.g. Europe/Zurich.")
    ] = "UTC",
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Runs of all workers together at a time. Default: no limit.")
    ] = None,
    learning: Annotated[
        bool,
        typer.Option(
            envvar="ORGANLOOP_TUNING_ENABLED",
            show_envvar=False,
            help="Whether tuning starts by itself at 02:00.",
        ),
    ] = True,
    job_template: Annotated[
        Path | None,
        typer.Option(
            help="File with the base job template (JSON) of the Kubernetes work pool that "
            "ORGANLOOP_TUNING_POOL names. Default: that pool is left as it is."
        ),
    ] = None,
    jobs_at_once: Annotated[int, typer.Option(min=1, help="Jobs of that pool at a time.")] = 1,
    as_json: Json = False,
) -> None:
    """Register every flow at the Prefect server of PREFECT_API_URL, once it answers (up to 10 minutes)."""

    def verb() -> Outcome:
        from deploy.runs.deployments import register as run
        from deploy.stack.prefect import Access, wait_for_api

        access = Access.from_environment()
        if access is None:
            raise typer.BadParameter("PREFECT_API_URL is not set: where is the Prefect server?")
        template = json.loads(job_template.read_bytes()) if job_template else None
        wait_for_api(access.url, WAIT_SECONDS)
        with access.used():
            names = run(
                Settings(),
                timezone,
                learns=learning,
                job_template=template,
                jobs_at_once=jobs_at_once,
                at_once=at_once,
            )
        return Outcome(list(names), names)

    answer(verb, as_json)
