"""Engines are built once per trunk, GPU, server and precision; trtexec itself needs a GPU and is played."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.releases.store import ReleaseStore
from services.triton.gpu_target import GpuTarget
from tests.conftest import ROOT
from tests.support.tiny_networks import publish_tiny

TRTEXEC = """#!/bin/sh
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v100500] # $*"
echo "$*" >> {log}
for word in "$@"; do case "$word" in
  --onnx=*) onnx="${{word#--onnx=}}";;
  --saveEngine=*) plan="${{word#--saveEngine=}}";;
esac; done
{fails}
sha256sum < "$onnx" > "$plan"
"""


class Node:
    """A GPU node: its driver's program, its server's version, its trtexec."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ReleaseStore(folder / "releases")
        self.engines = folder / "triton" / "engines"
        self.log = folder / "log"
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.smi("NVIDIA L4, 8.9")
        self.trtexec()

    def smi(self, answer: str) -> None:
        self._program("nvidia-smi", f"#!/bin/sh\nprintf '{answer}\\n'\n")

    def trtexec(self, fails: str = "") -> None:
        self._program("trtexec", TRTEXEC.format(log=self.log, fails=fails))

    def _program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def run(self, *words: str, version: str = "24.10") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy.triton.build_engines"]
        return subprocess.run(
            [*command, "--trtexec", str(self.programs / "trtexec"), *words],
            env={
                "PATH": f"{self.programs}:{os.defpath}",
                "NVIDIA_TRITON_SERVER_VERSION": version,
                "ORGANLOOP_HOME": str(self.folder),
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def builds(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    publish_tiny(node.store, 1, {"liver": 1, "spleen": 2})
    publish_tiny(node.store, 2, {"liver": 1, "spleen": 3})  # on the same trunk
    return node


def test_a_trunk_is_built_once_and_again_only_for_another_gpu_server_or_precision(node: Node) -> None:
    first = node.run()
    assert first.returncode == 0, first.stderr
    (told,) = json.loads(first.stdout)
    trunk = node.store.release(1).trunk
    assert told == {
        "trunk": trunk,
        "engine": str(node.engines / trunk / "nvidia-l4-sm89-triton24.10-fp32"),
        "built": True,
    }
    note = json.loads((Path(told["engine"]) / "engine.json").read_text())
    assert (note["tensorrt"], note["precision"], note["trunk"]) == ("100500", "fp32", trunk)
    assert "--noTF32" in node.builds[0]
    assert "--fp16" not in node.builds[0]
    assert not json.loads(node.run().stdout)[0]["built"]
    assert len(node.builds) == 1
    assert json.loads(node.run("--precision", "fp16").stdout)[0]["built"]
    assert "--fp16" in node.builds[1]
    assert json.loads(node.run(version="24.11").stdout)[0]["built"]
    node.smi("NVIDIA A100-SXM4-80GB, 8.0")
    assert json.loads(node.run().stdout)[0]["engine"].endswith("/nvidia-a100-sxm4-80gb-sm80-triton24.10-fp32")
    assert len(node.builds) == 4
    target = GpuTarget("tensorrt", "nvidia-l4-sm89-triton24.10", "fp32", node.engines)
    plan = (Path(told["engine"]) / "model.plan").read_bytes()
    assert plan in [content for part in target.parts(node.store.release(2), node.store).values()
                    for content in part.values()]  # fmt: skip


def test_an_engine_that_was_built_with_other_flags_is_built_anew(node: Node) -> None:
    (told,) = json.loads(node.run().stdout)
    note = Path(told["engine"]) / "engine.json"
    known = json.loads(note.read_text())
    assert "--noTF32" in known["flags"].split()
    note.write_text(json.dumps({**known, "flags": known["flags"].replace("--noTF32 ", "")}))
    assert json.loads(node.run().stdout)[0]["built"]
    assert not json.loads(node.run().stdout)[0]["built"]


def test_a_damaged_engine_is_built_anew(node: Node) -> None:
    (told,) = json.loads(node.run().stdout)
    plan = Path(told["engine"]) / "model.plan"
    whole = plan.read_bytes()
    plan.write_bytes(b"cut")
    assert json.loads(node.run().stdout)[0]["built"]
    assert plan.read_bytes() == whole


@pytest.mark.parametrize("fails", ["exit 3", "exit 0"])
def test_a_build_that_fails_leaves_nothing_that_is_taken_for_an_engine(node: Node, fails: str) -> None:
    node.trtexec(fails)
    failed = node.run()
    assert failed.returncode == 1
    assert "built no engine" in failed.stderr
    assert [*node.engines.rglob("*.plan"), *node.engines.rglob("*.json")] == []
    node.trtexec()
    assert json.loads(node.run().stdout)[0]["built"]


@pytest.mark.parametrize("answer", ["NVIDIA L4, 8.9\\nNVIDIA A10, 8.6", ""])
def test_nothing_is_built_where_the_gpu_is_not_one_kind(node: Node, answer: str) -> None:
    node.smi(answer)
    failed = node.run()
    assert failed.returncode == 1
    assert "one kind of GPU" in failed.stderr
    assert node.builds == []
