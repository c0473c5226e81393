"""The images: what their Dockerfiles promise, what the worker needs, and what starts in them."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from deploy.containers import health, segmenter
from deploy.images import sbom
from tests.conftest import ROOT
from tests.support.imports import everything_behind
from tests.support.waiting import GUARD_SECONDS

FOLDER = ROOT / "deploy" / "images"
DOCKERFILES = {path.name.removesuffix(".Dockerfile"): path for path in FOLDER.glob("*.Dockerfile")}
TRAINING = {"torch", "monai", "einops", "onnx"}


def final_stage(name):
    return re.split(r"^FROM ", DOCKERFILES[name].read_text(), flags=re.M)[-1]


def test_there_is_a_dockerfile_for_each_process_and_the_list_names_it():
    table = tomllib.loads((FOLDER / "images.toml").read_text())
    listed = {name: entry["dockerfile"] for name, entry in table.items() if "dockerfile" in entry}
    own = {f"organloop-{name}": f"deploy/images/{name}.Dockerfile" for name in DOCKERFILES}
    assert listed == {**own, "organloop-trainer-gpu": own["organloop-trainer"]}


@pytest.mark.parametrize(
    ("name", "programs"),
    [
        (
            "segmenter",
            ("triton/organ_segmenter/model.py", "containers/segmenter.py", "containers/segmenter_alive.py"),
        ),
        (
            "segmenter-gpu",
            (
                "triton/organ_segmenter/model.py",
                "triton/build_engines.py",
                "containers/segmenter.py",
                "containers/segmenter_alive.py",
            ),
        ),
    ],
)
def test_an_image_that_takes_parts_of_the_program_takes_all_that_its_programs_import(name, programs):
    copied = set()
    for words in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILES[name].read_text(), flags=re.M):
        *sources, target = words.split()
        for source in (ROOT / one for one in sources):
            files = source.rglob("*.py") if source.is_dir() else [source]
            for file in files:
                place = file.relative_to(ROOT).as_posix()
                if source.is_dir() or target.rstrip("/") in (place, str(Path(place).parent)):
                    copied.add(place)
    wanted = everything_behind([ROOT / "deploy" / one for one in programs], ROOT)
    assert "models/inference/windows.py" in wanted
    served = "deploy/triton/organ_segmenter/model.py"  # it lies in the repository that is mounted
    assert wanted - copied <= {served}


def test_the_gateway_receives_without_a_wait_for_each_acknowledgement():
    assert re.search(r"^ENV .*\bTCP_NODELAY=1\b", DOCKERFILES["gateway"].read_text(), flags=re.M)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_built_on_the_base_that_is_asked_for_and_says_what_it_is(name):
    text, last = DOCKERFILES[name].read_text(), final_stage(name)
    bases = re.findall(r"^FROM (\S+)", text, flags=re.M)
    assert set(bases) == {"${BASE_IMAGE}"}
    for label in ("title", "description", "licenses", "version", "revision", "created", "base.name"):
        assert f"org.opencontainers.image.{label}=" in last, label
    assert f'title="organloop-{name}"' in last
    assert f"sbom.py organloop-{name} " in last


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_starts_without_root_or_shell_and_says_whether_it_is_well(name):
    last = final_stage(name)
    assert re.findall(r"^USER (\S+)", last, flags=re.M)[-1] == "10001:10001"
    starts = re.findall(r"^(?:CMD|ENTRYPOINT) (.*?[^\\])$", last, flags=re.M | re.S)
    assert len(starts) == 1
    assert len(json.loads(starts[0].replace("\\\n", " "))) >= 2
    checks = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", last, flags=re.M)
    assert len(checks) == 1
    assert len(json.loads(checks[0])) >= 2
    assert "STOPSIGNAL SIGTERM" in last


@pytest.mark.parametrize("name", sorted(DOCKERFILES.keys() - {"segmenter-gpu"}))
def test_the_last_stage_installs_no_compiler_and_no_pip(name):
    installed = re.findall(r"apt-get install (.*?)&&", final_stage(name), flags=re.S)
    packages = {word for line in installed for word in line.split() if not word.startswith(("-", "\\"))}
    assert packages
    assert not {p for p in packages if re.search(r"pip|venv|gcc|g\+\+|build-essential|-dev$|make", p)}


def test_the_image_that_backs_up_has_the_program_for_it():
    assert re.search(r"apt-get install [^&]*\bpostgresql-client\b", final_stage("worker"))
    assert "pg_dump --version" in (FOLDER / "self_test.sh").read_text()


def test_the_first_worker_on_one_machine_takes_every_queue_but_the_tuners():
    def queues(name):
        return set(re.findall(r'"--queue", "(\w+)"', final_stage(name)))

    assert queues("worker") == {"watch", "stat", "default"}
    assert queues("trainer") == {"learning"}


def test_nothing_the_worker_installs_brings_torch():
    assert requirements("organloop", {"cluster"}) & TRAINING == set()
    assert requirements("organloop", {"train", "cluster"}) >= TRAINING


def requirements(name, extras, seen=None):
    """Return the names of all that a distribution asks for in the end, by what is installed here."""
    seen = {} if seen is None else seen
    new = extras - seen.get(name, set())
    if name in seen and not new:
        return set(seen)
    seen[name] = seen.get(name, set()) | extras
    try:
        asked = importlib.metadata.requires(name) or ()
    except importlib.metadata.PackageNotFoundError:
        return set(seen)  # for another system or Python
    for requirement in map(Requirement, asked):
        markers = [{"extra": extra} for extra in (extras or {""})]
        if requirement.marker is None or any(requirement.marker.evaluate(one) for one in markers):
            requirements(re.sub(r"[-_.]+", "-", requirement.name).lower(), set(requirement.extras), seen)
    return set(seen)


def test_openvino_is_installed_without_the_package_by_which_it_calls_out():
    for name in ("Makefile", "deploy/images/worker.Dockerfile", "deploy/images/trainer.Dockerfile"):
        assert re.search(r"(-c|--constraint) constraints.txt --no-deps openvino\b", (ROOT / name).read_text())
    assert "openvino" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "openvino-telemetry==0" in (ROOT / "constraints.txt").read_text().splitlines()  # there is no 0
    assert "telemetry" not in (ROOT / "constraints-triton.txt").read_text()


def test_what_the_self_test_imports_of_the_worker_needs_no_torch():
    without = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "monai", "einops", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
"""
    blocks = re.findall(r"<<'PYTHON'\n(.+?)^PYTHON$", (FOLDER / "self_test.sh").read_text(), re.M | re.S)
    [imports] = [block for block in blocks if "flows." in block]
    subprocess.run([sys.executable, "-c", without + imports], check=True, cwd=ROOT, timeout=GUARD_SECONDS)
    flows = {file.parent.name for file in (ROOT / "flows").glob("*/flow.py")}
    assert flows <= set(re.findall(r'"(\w+)"', imports))


def test_a_bill_of_materials_names_every_package_once_with_version_licence_and_purl():
    bill = sbom.bill("organloop-worker", "1.2.3", [*sbom.python_components(), *sbom.python_components()])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == "1.2.3"
    names = [component["name"] for component in bill["components"]]
    assert len(names) == len(set(names)) >= 100
    numpy = next(component for component in bill["components"] if component["name"] == "numpy")
    version = importlib.metadata.version("numpy")
    assert numpy["purl"] == f"pkg:pypi/numpy@{version}"
    assert "BSD-3-Clause" in numpy["licenses"][0]["license"]["name"]
    assert json.dumps(bill) == json.dumps(sbom.bill("organloop-worker", "1.2.3", [*sbom.python_components()]))


def test_a_bill_of_materials_names_what_npm_brought(tmp_path):
    package = tmp_path / "package.json"
    package.write_text('{"name": "@ohif/app", "version": "3.13.2", "license": "MIT"}')
    component = sbom.npm_component(package)
    assert component["purl"] == "pkg:npm/%40ohif/app@3.13.2"
    assert component["licenses"] == [{"license": {"name": "MIT"}}]


@pytest.fixture
def server(tmp_path):
    (tmp_path / "server" / "bin").mkdir(parents=True)
    (tmp_path / "server" / "bin" / "tritonserver").touch()
    return tmp_path / "server"


def test_the_segmenter_says_why_it_cannot_start(tmp_path, server):
    with pytest.raises(segmenter.Unfit, match="no server at"):
        segmenter.check(tmp_path, tmp_path / "nowhere", tmp_path)
    with pytest.raises(segmenter.Unfit, match="mount the home's triton/repository there"):
        segmenter.check(tmp_path / "nowhere", server, tmp_path)


def test_the_segmenter_does_not_start_with_too_little_shared_memory(tmp_path, server, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(
        segmenter.shutil, "disk_usage", lambda _: segmenter.shutil._ntuple_diskusage(64, 0, 64 << 20)
    )
    with pytest.raises(segmenter.Unfit, match="64 MiB free and 512 are needed: shm_size"):
        segmenter.check(tmp_path / "models", server, tmp_path)


def test_the_segmenter_starts_empty_and_says_so_and_loads_what_is_there(tmp_path, server):
    models = tmp_path / "models"
    models.mkdir()
    assert segmenter.loading(models) == []
    assert "holds no release yet" in segmenter.check(models, server, tmp_path)[0]
    (models / "organ_segmenter").mkdir()
    (models / "organ_segmenter" / "config.pbtxt").touch()
    assert segmenter.check(models, server, tmp_path) == ()
    assert segmenter.loading(models) == ["--load-model=organ_segmenter"]


def test_the_segmenter_takes_another_repository_and_hands_on_the_rest():
    given = ["--model-repository=/elsewhere", "--exit-timeout-secs=30"]
    assert segmenter.repository_of(given) == (Path("/elsewhere"), ["--exit-timeout-secs=30"])
    assert segmenter.repository_of([]) == (Path("/models"), [])


def test_the_segmenter_has_its_keys_from_a_variable_or_a_file_and_starts_without_none(tmp_path, monkeypatch):
    with pytest.raises(segmenter.Unfit, match="ORGANLOOP_TRITON_RELEASE_KEY is no key: 16 or more"):
        segmenter.key("release", tmp_path)
    (tmp_path / "organloop_triton_release_key").write_text("from-a-file-0123456\n")
    assert segmenter.key("release", tmp_path) == "from-a-file-0123456"
    monkeypatch.setenv("ORGANLOOP_TRITON_RELEASE_KEY", "from-a-variable-0123")
    assert segmenter.key("release", tmp_path) == "from-a-variable-0123"
    for none in ("short", "with a space 0123456", "with=a-sign-0123456", "with,a-comma-0123456"):
        monkeypatch.setenv("ORGANLOOP_TRITON_RELEASE_KEY", none)
        with pytest.raises(segmenter.Unfit):
            segmenter.key("release", tmp_path)


def test_the_segmenter_frees_its_own_shared_memory_only(tmp_path):
    for name in ("organloop-pod-1", "organloop-other-1"):
        (tmp_path / name).touch()
    segmenter.clear(tmp_path, "organloop-pod-")
    assert [path.name for path in tmp_path.iterdir()] == ["organloop-other-1"]


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1)])
def test_a_health_check_follows_the_answer_and_no_proxy(status, expected, monkeypatch, capsys):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Answer) as answering:
        threading.Thread(target=answering.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{answering.server_port}/health"
        monkeypatch.setattr(sys, "argv", ["health", url])
        assert health.main() == expected
    assert (url in capsys.readouterr().err) == bool(expected)


def test_a_health_check_of_nothing_fails_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["health", "http://127.0.0.1:9/health"])
    assert health.main() == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_the_list_holds_every_image_the_chart_starts():
    listed = tomllib.loads((FOLDER / "images.toml").read_text())
    images = yaml.safe_load((ROOT / "helm" / "organloop" / "values.yaml").read_text())["images"]
    assert {f"organloop-{name}" for name in images["digests"]} == {
        n for n, e in listed.items() if "dockerfile" in e
    }
    database = images["database"]
    reference = f"{database['registry']}/{database['name']}:{database['tag']}"
    assert reference in {entry.get("reference") for entry in listed.values()}
