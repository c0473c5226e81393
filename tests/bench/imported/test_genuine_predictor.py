"""Beside the genuine predictor, in turn in one run: labels, seconds, memory; 17 classes, equal windows.

`seconds` are processor time of the process that answers (and of the server it asks), so that others who use
the machine change little. The genuine predictor gives labels; this program gives every organ's probability,
what windows disagree about and features beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.stack.servers import triton_server
from flows.serving.serve import write
from flows.training.import_checkpoint import make_first
from flows.training.import_nnunet import ImportedNnunet, Reference, keep_nnunet
from models.metrics.dsc import dsc
from models.network.checkpoints.nnunet.release import Asked
from models.organs import ALIASES
from services.dicom.dictionary import read_organ_file
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.bench.imported.material import (
    CLASSES,
    KEPT,
    THREADS,
    TOOLS,
    copy_labels,
    cts,
    genuine_python,
    network,
    results,
)
from tests.bench.serving.roles import cpu_seconds, peak_bytes
from tests.conftest import ROOT
from tests.support.serving import thrown_away

pytestmark = pytest.mark.timeout(4 * 3600)

TIMES = int(os.environ.get("ORGANLOOP_BENCH_TIMES", "3"))
LARGE = 2000
ORGANS = Path(__file__).with_name("organs.csv")


@dataclass(frozen=True)
class Answered:
    """What one program said of one CT."""

    labels: NDArray[np.uint8]
    cpu: float
    seconds: float
    peak_bytes: int


@pytest.fixture(scope="module")
def files(test_data) -> dict[str, Path]:
    network(test_data("ct-organs-nifti", "a real torso with 61 organs"))
    return cts(test_data("ct-organs-nifti", "a real torso").parent)


@pytest.fixture(scope="module")
def home(files, test_data, tmp_path_factory) -> tuple[Services, ImportedNnunet]:
    """Import the network, proven by what its own predictor says of the first CT."""
    folder = tmp_path_factory.mktemp("home")
    services = connect_in_process(Settings(home=folder / "home", threads=THREADS))
    told = genuine(files, ("copy",))["copy"].labels
    labels = folder / "told.nii.gz"
    image = nibabel.load(files["copy"])
    nibabel.save(nibabel.Nifti1Image(told.T, image.affine), labels)
    document = keep_nnunet(
        network(test_data("ct-organs-nifti", "a real torso")),
        services.releases,
        services.records,
        THREADS,
        Asked("RAS"),
        licence="none: made for a benchmark",
        origin="trained for minutes on bent copies of one CT",
        reference=Reference(files["copy"], labels, "nnunetv2 2.8.1, cpu, fold 0, not mirrored"),
        organ_file=read_organ_file(ORGANS),
    )
    make_first(document.release, services.releases, services.records, "the bench", "it is measured")
    write(services.releases.release(document.release), services)
    return services, document


def test_labels_seconds_and_memory(files, home, test_data, capsys) -> None:
    services, document = home
    assert document.organs == tuple(ALIASES.get(name, name) for name in CLASSES)
    runs: dict[str, dict[str, list[Answered]]] = {}
    with thrown_away(triton_server(services.settings)) as server:
        stubs = [server.pid, *_stubs(services.settings.home)]
        for _ in range(TIMES):
            for name in files:
                found = {
                    "genuine": genuine(files, (name,))[name],
                    "in process": ours(files, (name,), services.repository.versions_folder)[name],
                    "by Triton": ours(files, (name,), server.url, stubs)[name],
                }
                for program, answer in found.items():
                    runs.setdefault(name, {}).setdefault(program, []).append(answer)
    truth = copy_labels(test_data("ct-organs-nifti", "a real torso"))
    rows = [_row(name, by_program) for name, by_program in runs.items()]
    with capsys.disabled():
        print("\n| CT | program | DSC to the genuine, worst | voxels apart | CPU s | of genuine | peak MiB |")
        print("\n".join(line for row in rows for line in row))
        print("\nDSC to the labels the copy was bent with:")
        for number, name in enumerate(CLASSES, 1):
            values = [
                dsc(runs["copy"][program][0].labels == number, truth == number)
                for program in ("genuine", "in process")
            ]
            print(name, *("-" if value is None else f"{value:.3f}" for value in values))
    for by_program in runs.values():
        for program in ("in process", "by Triton"):
            assert _worst(by_program[program][0].labels, by_program["genuine"][0].labels) >= 0.999


def _row(name: str, by_program: Mapping[str, Sequence[Answered]]) -> list[str]:
    theirs = by_program["genuine"]
    lines = []
    for program, answers in by_program.items():
        ratio = median(one.cpu / other.cpu for one, other in zip(answers, theirs, strict=True))
        apart = np.count_nonzero(answers[0].labels != theirs[0].labels)
        lines.append(
            f"| {name} | {program} | {_worst(answers[0].labels, theirs[0].labels):.4f} | {apart} of "
            f"{theirs[0].labels.size} | {median(one.cpu for one in answers):.1f} | {ratio:.2f} | "
            f"{median(one.peak_bytes for one in answers) / 2**20:.0f} |"
        )
    return lines


def _worst(labels: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> float:
    """Return the least DSC of a class of over `LARGE` voxels."""
    large = [number for number, count in enumerate(np.bincount(theirs.ravel())) if number and count > LARGE]
    return min((dsc(labels == number, theirs == number) or 0.0 for number in large), default=1.0)


def genuine(files: Mapping[str, Path], names: Sequence[str]) -> dict[str, Answered]:
    """Ask the genuine predictor."""
    command = [genuine_python(), str(TOOLS / "predict.py"), str(results())]
    return _asked(command, files, names)


def ours(
    files: Mapping[str, Path], names: Sequence[str], where: Path | str, servers: Sequence[int] = ()
) -> dict[str, Answered]:
    """Ask this program; what servers use is counted too."""
    before = sum(map(cpu_seconds, servers))
    command = [sys.executable, "-m", "tests.bench.imported.ours", str(where), "1"]
    answers = _asked(command, files, names)
    used, held = sum(map(cpu_seconds, servers)) - before, sum(map(peak_bytes, servers))
    return {
        name: Answered(one.labels, one.cpu + used, one.seconds, one.peak_bytes + held)
        for name, one in answers.items()
    }


def _asked(command: Sequence[str], files: Mapping[str, Path], names: Sequence[str]) -> dict[str, Answered]:
    outs = {name: KEPT / f"{name}.npy" for name in names}
    words = [str(word) for name in names for word in (files[name], outs[name])]
    environment = os.environ | {"THREADS": str(THREADS), "OMP_NUM_THREADS": str(THREADS)}
    said = subprocess.run(
        [*command, *words], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ).stdout
    figures = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return {
        name: Answered(np.load(outs[name]), one["cpu"], one["seconds"], one["peak_bytes"])
        for name, one in zip(names, figures, strict=True)
    }


def _stubs(home: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if command.startswith(str(home)):
                found.append(int(entry.name))
    return found
