"""`organloop up` where something runs already: what is served is this program's and the incumbent's."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import stack
from services.inference.triton import TritonSegmenter
from services.settings import Settings
from services.wiring import connect_in_process
from tests.serving import ENVIRONMENT
from tests.tiny_networks import noisy_body, publish_tiny


def test_triton_is_started_again_for_another_program_and_told_to_load_a_new_incumbent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (ENVIRONMENT / "bin" / "python").exists():
        pytest.skip("the embedded Triton's environment .venv-triton is not there (make setup)")
    settings = Settings(home=tmp_path, triton_grpc_port=18441, triton_http_port=18440)
    site = connect_in_process(settings)
    publish_tiny(site.releases, 1, {"liver": 1, "spleen": 2})
    second = publish_tiny(site.releases, 2, {"liver": 1, "spleen": 3}, parent=1)
    site.records.set_incumbent(1, approver="test", reason="first")
    server, told = stack.triton_server(settings), list[str]()
    try:
        stack.serve_incumbent(settings, told.append)
        first = server.status()
        assert first is not None
        assert told == ["starting Triton"]
        stack.serve_incumbent(settings, told.append)
        assert (server.status(), told) == (first, ["starting Triton"])

        site.records.set_incumbent(2, approver="test", reason="second")
        stack.serve_incumbent(settings, told.append)
        assert (server.status(), told[1:]) == (first, ["loading version 2"])

        before = stack.served_program(settings)
        monkeypatch.setattr(stack, "SERVED_CODE", (*stack.SERVED_CODE, "services/settings.py"))
        assert stack.served_program(settings) != before
        stack.serve_incumbent(settings, told.append)
        again = server.status()
        assert again is not None
        assert again.pid != first.pid
        assert told[2:] == ["stopping Triton: it runs an older program", "starting Triton"]
        client = TritonSegmenter(again.url)
        assert client.segment(noisy_body(), 2).release_digest == second.digest
        assert client.ready(1)
        client.close()
    finally:
        server.stop()
