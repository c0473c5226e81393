"""The first run on a GPU, in small on the CPU: the same steps; what a GPU alone has is stood in for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.cli.console import EXIT_DONE, EXIT_FAILED
from deploy.doctor.finding import State
from deploy.doctor.serving import serving
from deploy.gpu_proof import __main__ as gpu_proof
from deploy.gpu_proof import steps
from deploy.gpu_proof.__main__ import conclusion, proven, recorded
from deploy.gpu_proof.server import nvidia_server
from deploy.gpu_proof.steps import Line, Outcome, Server, prove
from deploy.preparation import prepare
from flows.cases.keep import add_case
from flows.serving.proof import unproven
from models.corrections.ledger import INDEPENDENT
from models.gate.report import Decision
from models.phantom.case import make_case
from services.dicom.ct.phantom_series import write_phantom_series, write_truth
from services.records.entries.cases import Purpose
from services.records.store import open_records
from services.settings import Settings
from services.wiring import connect_in_process
from tests.support.gpu_server import DEVICE, GpuServer
from tests.support.learning import SPACING, TUNING, Site
from tests.support.serving import thrown_away


@pytest.fixture(scope="module")
def site(corrected: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site where a reader corrected three studies, with a gate set of one."""
    folder = tmp_path_factory.mktemp("gpu-proof")
    site = corrected.copy(folder)
    case = make_case("B", 11, spacing_mm=SPACING)
    write_phantom_series(case, folder / "ct")
    write_truth(case, folder / "truth.npz")
    add_case(folder / "ct", folder / "truth.npz", Purpose.GATE, INDEPENDENT, site.services)
    site.services.records.freeze(Purpose.GATE)
    return site


@pytest.fixture(scope="module")
def lines(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Line]:
    """Go through every step."""
    server = GpuServer(tmp_path_factory.mktemp("gpu-server"))

    @contextmanager
    def served(repository: Path) -> Iterator[str]:
        server.mirror(repository)
        with thrown_away(server) as process:
            yield process.url

    told = prove(site.services, "cpu", TUNING, lambda: Server(DEVICE, served), lambda _: None)
    return {line.step: line for line in told}


def test_every_step_passes_or_says_what_it_needs(lines: dict[str, Line]) -> None:
    became = {name: line.outcome for name, line in lines.items()}
    assert became == {
        "machine": Outcome.PASSED,
        "tune": Outcome.PASSED,
        "export": Outcome.PASSED,
        "parity, ONNX Runtime": Outcome.PASSED,
        "parity, TensorRT": Outcome.LEFT_OUT,
        "serve, onnxruntime": Outcome.PASSED,
        "serve, tensorrt": Outcome.LEFT_OUT,
        "gate": Outcome.PASSED,
    }, lines
    assert lines["parity, TensorRT"].measured == "needs a GPU"
    assert "trtexec" in lines["serve, tensorrt"].measured


def test_each_line_says_what_was_measured(lines: dict[str, Line]) -> None:
    assert lines["tune"].measured == "2 heads in 4 steps, 1 heads as they were"
    assert re.fullmatch(
        r"logits within \d\.\de-\d+ of OpenVINO's, 0 of \d+ labels differ; .* s a window",
        lines["parity, ONNX Runtime"].measured,
    )
    assert lines["serve, onnxruntime"].measured.startswith(f"onnxruntime/{DEVICE}/fp32: as proven at export")
    decision = lines["gate"].measured.split(" ")[0]
    assert decision in set(Decision)
    assert lines["gate"].measured.endswith("on answers in cpu/cpu/fp32/in-process")
    told = conclusion(list(lines.values()), 12.3, proven(list(lines.values())))
    assert told.exit_code == EXIT_DONE
    assert told.document["benchmark"].startswith("| first run on cpu: torch 2.")


def test_a_step_that_fails_says_why_and_what_needs_it_is_left_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_gpu(device: str) -> tuple[str, dict[str, str]]:
        return "", {"torch": "2.13.0+cpu"}

    monkeypatch.setattr(steps, "machine", without_gpu)
    found = list(prove(site.services, "cuda", TUNING, nvidia_server, lambda _: None))
    assert found[0].outcome is Outcome.FAILED
    assert "torch sees no GPU (torch 2.13.0+cpu)" in found[0].measured
    assert {line.outcome for line in found[1:]} == {Outcome.LEFT_OUT}
    assert (proven(found), conclusion(found, 1.0, ()).exit_code) == ((), EXIT_FAILED)


def line(step: str, outcome: Outcome = Outcome.PASSED) -> Line:
    return Line(step, "cuda", 1.0, "", outcome)


@pytest.mark.parametrize(
    ("serve", "gate", "targets"),
    [
        (Outcome.PASSED, Outcome.PASSED, ("onnxruntime",)),
        (Outcome.LEFT_OUT, Outcome.PASSED, ()),
        (Outcome.FAILED, Outcome.PASSED, ()),
        (Outcome.PASSED, Outcome.FAILED, ()),
    ],
)
def test_a_target_is_proven_by_being_served_and_gated(
    serve: Outcome, gate: Outcome, targets: tuple[str, ...]
) -> None:
    tensorrt = line("serve, tensorrt", Outcome.LEFT_OUT)
    assert proven([line("tune"), line("serve, onnxruntime", serve), tensorrt, line("gate", gate)]) == targets


def test_a_gpu_target_is_unproven_until_the_proofs_have_passed_on_that_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, triton_target="onnxruntime", triton_device=DEVICE)
    told = list[str]()
    assert prepare(settings, told.append, starter=False) is None
    records = open_records(settings.records_url)
    assert told[0] == unproven(settings, records)
    assert (
        f"ORGANLOOP_TRITON_TARGET=onnxruntime is unproven: `make gpu-proofs` has not passed on {DEVICE}"
        in (told[0])
    )
    assert next(iter(serving(connect_in_process(settings)))).state is State.WARNING
    assert unproven(Settings(home=tmp_path), records) is None

    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path))
    monkeypatch.setattr(gpu_proof, "gpu_device", lambda: DEVICE)
    passed = [line("machine"), line("serve, onnxruntime"), line("gate")]
    assert recorded(passed, "cpu") == ()
    assert unproven(settings, records)
    assert recorded(passed, "cuda") == ("onnxruntime",)
    assert unproven(settings, records) is None
    assert unproven(settings.model_copy(update={"triton_device": "another"}), records)
    assert unproven(settings.model_copy(update={"triton_target": "tensorrt"}), records)
    assert next(iter(serving(connect_in_process(settings)))).name == "release"
