"""`segment` prints the address to look at first, where somebody here can open it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.cli.studies import _viewer_lines
from deploy.stack import up_and_down
from flows.segmentation.first_look import FirstLook
from services.settings import Settings

LOOK = FirstLook("stomach", "1.2.3.1", 6, "1.2.3.4")


def printed(settings: Settings, look: FirstLook | None) -> list[str]:
    return _viewer_lines(settings, SimpleNamespace(study_uid="1.2.3", first_look=look))


def test_it_is_printed_while_the_viewer_runs_and_something_is_flagged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    assert printed(settings, LOOK) == []
    running = SimpleNamespace(url="http://127.0.0.1:3000")
    monkeypatch.setattr(up_and_down, "viewer", lambda _: running)
    assert printed(settings, LOOK) == [
        "open http://127.0.0.1:3000/segmentation?StudyInstanceUIDs=1.2.3&initialSeriesInstanceUID=1.2.3.1"
        "&hangingProtocolId=default&image=1.2.3.4&segment=6"
    ]
    assert printed(settings, None) == []
