"""The command starts without what only some verbs need."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

HEAVY = ("highdicom", "monai", "openvino", "prefect", "scipy.stats", "torch")
SCRIPT = "import sys, deploy.cli.main; print(*sorted(sys.modules))"


def test_the_command_starts_without_heavy_libraries() -> None:
    command = [sys.executable, "-c", SCRIPT]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert [name for name in HEAVY if name in loaded] == []
