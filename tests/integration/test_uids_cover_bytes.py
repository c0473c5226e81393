"""Objects of other bytes have other UIDs: a version that an object names is found by changing it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

NOBODY = "nobody"
PACKAGES = ("organloop", "highdicom", "pydicom")
SCRIPT = """
import hashlib, importlib.metadata, json, os, sys
from datetime import datetime
import highdicom, pydicom  # once, for all

installed = importlib.metadata.version
for package in sys.argv[1:]:
    if os.fork() == 0:
        importlib.metadata.version = lambda name: "99.9" if name == package else installed(name)
        from services.dicom.results.write import write_results
        from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

        series = ct_series(AFFINES["axial"])
        findings = findings_of(series, organ_masks(series.volume.geometry.shape))
        objects = write_results(series, findings, written_at=datetime(2026, 3, 1))
        told = {one.kind: [one.sop_instance_uid, hashlib.sha256(one.content).hexdigest()] for one in objects}
        print(json.dumps([package, told]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, list[str]]]:
    """UID and SHA-256 of each object by kind, as written where one package has another version."""
    command = [sys.executable, "-c", SCRIPT, NOBODY, *PACKAGES]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(line) for line in told.splitlines())


@pytest.mark.parametrize("package", PACKAGES)
def test_another_version_makes_other_uids_wherever_it_makes_other_bytes(
    written: dict[str, dict[str, list[str]]], package: str
) -> None:
    assert written.keys() == {NOBODY, *PACKAGES}
    for kind, (uid, content) in written[NOBODY].items():
        other_uid, other_content = written[package][kind]
        assert (other_content == content) == (other_uid == uid), kind


def test_every_object_names_the_version_that_wrote_it(written: dict[str, dict[str, list[str]]]) -> None:
    named = {
        kind for kind, (_, content) in written["organloop"].items() if content != written[NOBODY][kind][1]
    }
    assert named == written[NOBODY].keys() == {"organ-seg", "review-seg", "report-sr"}
