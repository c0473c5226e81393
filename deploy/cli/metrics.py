"""The verb `metrics`."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Annotated

import typer

from deploy.cli.console import progress
from services.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(metrics)


def metrics(
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port for GET /metrics.")] = 9090,
    address: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    once: Annotated[
        bool, typer.Option("--once", help="Print the metrics and end, listening nowhere.")
    ] = False,
) -> None:
    """Tell Prometheus of the work: studies, seconds by step, flags, edits, gate decisions, what waits.

    Runs until it is told to end (SIGTERM). Metrics hold organs, flags and numbers, nothing of a patient.
    """
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server

    from services.metrics.exposition import RecordsCollector
    from services.wiring import connect, witnesses_of

    services = connect(Settings())
    registry = CollectorRegistry()
    registry.register(RecordsCollector(services.records, services.endpoints, witnesses_of(services.settings)))
    if once:
        sys.stdout.write(generate_latest(registry).decode())
        return
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server, thread = start_http_server(port, address, registry)
    progress(f"metrics at http://{address}:{port}/metrics")
    ended.wait()
    server.shutdown()
    thread.join()
