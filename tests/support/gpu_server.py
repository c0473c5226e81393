"""A GPU server's repository served without a GPU: its networks run on the CPU, all else is as generated."""

from __future__ import annotations

import py_compile
import re
import shutil
from pathlib import Path

import pytest

from deploy.stack.triton import TritonServer
from tests.conftest import ROOT
from tests.support.serving import ENVIRONMENT

DEVICE = "nvidia-stand-in-sm00-triton24.10"

NETWORK = '''"""Stands in for a backend of the GPU server: the same file and tensors, run by OpenVINO."""

from pathlib import Path

import openvino
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        settings = {
            "INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY",
            "INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 1,
        }
        self.network = openvino.Core().compile_model(str(file), "CPU", settings)

    def execute(self, requests):
        answers = []
        for request in requests:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            found = self.network(given)
            tensors = [pb_utils.Tensor(name, found[name].copy()) for name in request.requested_output_names()]
            answers.append(pb_utils.InferenceResponse(tensors))
        return answers
'''


class GpuServer(TritonServer):
    """An embedded server that takes itself for one on a GPU."""

    def __init__(self, home: Path) -> None:
        if not ENVIRONMENT.exists():
            pytest.skip("the embedded Triton's environment .venv-triton is not there (make setup)")
        self.served = home / "repository"
        super().__init__(home / "server", home / "repository", ENVIRONMENT, ROOT)
        self.programs = home / "programs"
        self.programs.mkdir()
        program = self.programs / "nvidia-smi"
        program.write_text("#!/bin/sh\necho 'NVIDIA Stand-in, 0.0'\n")
        program.chmod(0o755)

    def mirror(self, generated: Path) -> None:
        """Serve a repository: every file as it was generated, and programs that stand in for backends."""
        self.served.mkdir(exist_ok=True)
        for folder in self.served.iterdir():
            if not (generated / folder.name).exists():
                shutil.rmtree(folder)
        for source in generated.iterdir():
            for version in source.iterdir():
                target = self.served / source.name / version.name
                if version.is_dir() and not target.exists():
                    shutil.copytree(version, target)
            for version in (self.served / source.name).iterdir():
                if not (source / version.name).exists() and version.is_dir():
                    shutil.rmtree(version)
            self._configure(source, self.served / source.name)

    def _configure(self, source: Path, target: Path) -> None:
        text = (source / "config.pbtxt").read_text()
        if re.match(r"organ_(trunk|head)_", source.name):
            text = text.replace('backend: "onnxruntime"', 'backend: "python"').replace("KIND_GPU", "KIND_CPU")
            text = re.sub(r"default_model_filename.*\n", "", text)
            program = target / "1" / "model.py"
            if not program.exists():
                program.write_text(NETWORK)
                # Written by the server at the first load it would count as a change, and be loaded again.
                mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
                py_compile.compile(str(program), doraise=True, invalidation_mode=mode)
        config = target / "config.pbtxt"
        if not config.exists() or config.read_text() != text:
            config.write_text(text)

    def _command(self, backends: Path, socket: Path) -> list[str]:
        """Load all there is at the start, as the image's entrypoint does."""
        command = super()._command(backends, socket)
        return [*(word for word in command if not word.startswith("--load-model")), "--load-model=*"]

    def _variables(self) -> dict[str, str]:
        variables = super()._variables()
        path = f"{variables['PATH']}:{self.programs}"
        return {**variables, "PATH": path, "NVIDIA_TRITON_SERVER_VERSION": "24.10"}
