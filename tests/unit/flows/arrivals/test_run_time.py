"""What the watch starts is ended by itself before the watch would call it dead and start it beside."""

from __future__ import annotations

import pytest

from flows.corrections.flow import ingest_correction
from flows.launching import INGEST, RUN_SECONDS, SEGMENT
from flows.segmentation.flow import segment_study

FLOWS = {flow.name: flow for flow in (segment_study, ingest_correction)}


@pytest.mark.parametrize("deployment", [SEGMENT, INGEST])
def test_a_run_ends_when_it_would_be_called_dead(deployment: str) -> None:
    assert FLOWS[deployment.split("/")[0]].timeout_seconds == RUN_SECONDS
