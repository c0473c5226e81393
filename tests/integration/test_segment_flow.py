"""The Prefect flow segment-study, run against a real Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from deploy.stack import up_and_down as stack
from services.settings import Settings
from tests.integration.conftest import Command
from tests.support.prefect_api import ask

SCRIPT = """
import json, sys
from pathlib import Path
from flows.segmentation.flow import segment_study
from models.documents import to_json
print(json.dumps(to_json(segment_study(Path(sys.argv[1]), Path(sys.argv[2])))))
"""


def test_the_flow_segments_and_shows_its_findings_in_prefect(
    organloop: Command, phantom_study: Path, tmp_path: Path
) -> None:
    access = stack.prefect(Settings(home=organloop.home)).access
    assert access is not None
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(phantom_study / "ct"), str(tmp_path / "out")],
        env=os.environ | access.variables | {"ORGANLOOP_HOME": str(organloop.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout.splitlines()[-1])
    assert all(Path(one["path"]).is_file() for one in document["objects"])
    runs = ask(access, "flow_runs/filter", flows={"name": {"any_": ["segment-study"]}})
    (ours,) = (one for one in runs if one["parameters"]["source"] == str(phantom_study / "ct"))
    assert ours["state_type"] == "COMPLETED"
    (artifact,) = ask(access, "artifacts/filter", flow_runs={"id": {"any_": [ours["id"]]}})
    assert artifact["key"] == "findings"
    assert document["study_uid"] in artifact["description"]
