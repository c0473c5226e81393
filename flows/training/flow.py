"""The training job: what a worker with torch does when a person asks for it, and what Prefect shows of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from models.tuning.training_document import Trained
from services.settings import Settings
from services.wiring import connect_in_process


@task(name="train network")
def train_task(begin: str, steps: int) -> Trained:
    """Train trunk and heads; the document of the `train` verb."""
    from flows.training.plan import Begin
    from flows.training.train import train_release, training_settings  # torch, where it is needed

    services = connect_in_process(Settings())
    return train_release(services, Begin(begin), training_settings(Begin(begin), steps), print)


@task(name="publish training")
def publish_training_task(document: Trained) -> None:
    """Show the labels of each organ, and the mean loss by step, in the Prefect dashboard."""
    title = f"Release {document.release}, trained from {document.begin} on {document.cases} cases"
    rows = [{"organ": organ, **asdict(counts)} for organ, counts in document.labels.items()]
    create_table_artifact(key="training-labels", table=rows, description=title)
    steps = [{"step": step, "loss": loss} for step, loss in document.curve]
    create_table_artifact(key="training-curve", table=steps, description=title)


@flow(name="train-release", log_prints=True)
def train_flow(begin: Literal["incumbent", "scratch"], steps: int = 1000) -> Trained:
    """Train the whole network again into a candidate; a run that was cut short goes on."""
    document = train_task(begin, steps)
    publish_training_task(document)
    return document
