"""Whatever is started keeps its threads from spinning: on a busy machine they cost more than the work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def test_who_starts_by_deploy_and_all_it_starts_has_threads_that_wait():
    clean = {name: value for name, value in os.environ.items() if name not in QUIET}
    program = (
        "import deploy, os; print(*(os.environ.get(n) for n in ('OPENBLAS_NUM_THREADS', 'OMP_WAIT_POLICY')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == list(QUIET.values())


def test_what_a_site_sets_itself_stands():
    program = "import deploy, os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    own = os.environ | {"OPENBLAS_NUM_THREADS": "4"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=own, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "4"


@pytest.mark.parametrize("image", ["worker", "trainer", "segmenter", "segmenter-gpu"])
def test_images_that_compute_say_so_too(image):
    words = (ROOT / "deploy" / "images" / f"{image}.Dockerfile").read_text().split()
    assert {f"{name}={value}" for name, value in QUIET.items()} <= set(words)
