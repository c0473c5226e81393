"""Every value of the chart is used: it reaches the manifests, or changes them."""

from __future__ import annotations

import json
import tempfile
from copy import deepcopy
from functools import cache
from typing import Any

import yaml

from tests.support.chart import ALL, CHART, MINIMAL, helm, render


def leaves(values, path=""):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


OUTSIDE = {
    "gateway": {"enabled": False, "queryFrom": "", "forwardTo": ""},
    "archive": {"orthancUrl": "https://a:1", "networks": ["192.0.2.1/32"]},
    "people": {"caSecret": ""},
}
"""An archive of the hospital's own, in place of the gateway."""
OWN_DATABASE = {"database": {"bundled": False, "host": "db", "caSecret": "ca", "networks": ["192.0.2.2/32"]}}
OTHERS = {
    "triton.target": "onnxruntime",
    "database.sslMode": "require",
    "settings.watchFrom": "beginning",
    "settings.readersDisagree": "latest",
    "settings.segProfile": "slicer",
    "settings.auditShare": 0.5,
    "settings.keepFeaturesDays": 7,
    "settings.keepUnsentDays": 8,
    "settings.keepPicturesDays": 9,
    "images.pullPolicy": "Always",
    "gateway.dimse.serviceType": "LoadBalancer",
    "doors.serviceType": "ClusterIP",
    "people.ownCorrections": "allowed",
    "people.unprovenActs": "refused",
    "triton.precision": "fp32",
    "store.accessModes": ["ReadWriteMany", "ReadWriteOnce"],
    "gateway.queryFrom": "ct-1",
    "gateway.forwardTo": "ct-1",
    "archive.dicomwebUrl": "https://c/dicom",
    "worker.graceSeconds": 1500,
    "worker.replicas": 7,
    "worker.runsAtOnce": 7,
    "prefect.historyDays": 77,
    "gateway.storage.limit": "7Gi",
    "users": "assigned",
    "secretKeys": {"prefect-auth": {"name": "elsewhere"}},
    "labels": {"example.org/cost-centre": "radiology"},
}
"""Another value, where it takes one of few or is rendered as something else."""
PLACED = ("annotations", "modalities")
"""Checked by what ci/all-values.yaml gives them; `pods` by test_chart_pods.py."""
ELSEWHERE = {
    "archive.": OUTSIDE,
    "database.host": OWN_DATABASE,
    "database.caSecret": OWN_DATABASE,
    "database.networks": OWN_DATABASE,
    "database.sslMode": OWN_DATABASE,
    "store.existingClaim": {"backup": {}},
    "backup.existingClaim": {"backup": {}},
    "images.digests.": {"triton": {"target": "python", "device": ""}},
    "images.digests.segmenter-gpu": {"images": {}},
    "images.database.digest": {"images": {}},
    "people.trustedProxies": {"people": {"issuer": "", "client": "", "caSecret": ""}},
}
"""Where a value counts that does not among all of ci/all-values.yaml."""


def test_every_value_reaches_the_manifests():
    """Each value, with one that nothing else has, is found in what is rendered; the others change it."""
    defaults = dict(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))
    marked = {path: marker(path, value, number) for number, (path, value) in enumerate(defaults.items(), 1)}
    marked = {path: value for path, value in marked.items() if value is not None}
    groups: list[tuple[Any, dict[str, Any]]] = []
    for path, value in marked.items():
        top = where(path)
        group = next((one for known, one in groups if known is top), None)
        if group is None:
            groups.append((top, group := {}))
        group[path] = value
    assert len(marked) > 100
    unused = []
    for top, group in groups:
        text = rendered_with(nested(group, top))
        unused += [path for path, value in group.items() if not appears(value, text)]
    for path, value in {**OTHERS, **switches(defaults)}.items():
        if rendered_with(nested({path: value}, where(path))) == rendered_with(where(path)):
            unused.append(path)
    assert unused == []


NOWHERE_ELSE: dict[str, Any] = {}


def where(path):
    """Return the values on top of ci/all-values.yaml under which a value counts."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    return next(
        (top for begin, top in ELSEWHERE.items() if begin.endswith(".") and path.startswith(begin)),
        NOWHERE_ELSE,
    )


def switches(defaults):
    """Return each yes or no, turned round from what ci/all-values.yaml says."""
    given = dict(leaves(yaml.safe_load(ALL.read_text())))
    both = ("gateway.enabled", "database.bundled")  # each way is rendered above
    found = {path: given.get(path, value) for path, value in defaults.items() if isinstance(value, bool)}
    return {path: not value for path, value in found.items() if path not in both}


def marker(path, value, number):
    """Return a value of the same kind that nothing else has; None where another test is for it."""
    last = path.rpartition(".")[2]
    if path in OTHERS or last in PLACED or isinstance(value, bool) or path.startswith("pods."):
        return None
    if last == "gpuResource":
        return f"marked.example/gpu-{number}"
    special = {
        "timezone": "Asia/Tokyo",
        "backup.schedule": f"{number % 60} 5 * * *",
        "gateway.aet": "MARKED",
        "archive.orthancUrl": "https://marked:1",
        "archive.caSecret": "marked-ca",
        "gateway.dimse.nodePort": 30000 + number,
        "triton.replicas": 17,
        "triton.threads": 171,
        "tuning.gpus": 13,
        "tuning.jobsAtOnce": 53,
        "doors.replicas": 11,
        "pages.replicas": 12,
        "people.issuer": "https://marked.example",
        "people.scopes": "openid marked",
        "people.trustedProxies": [f"203.0.113.{number}"],
        "backup.keep": 777,
    }
    if path in special:
        return special[path]
    if "digest" in path:
        return f"sha256:{number:064d}"
    if last == "dnsPorts":
        return [20000 + number]
    if path.startswith("people.groups."):
        return [f"marked-{number}"]
    if last in ("networks", "kubernetesApi", "dnsNetworks"):
        return [f"203.0.113.{number}/32"]
    if last == "pullSecrets":
        return [f"marked-{number}"]
    if last in ("size", "memory", "sharedMemory"):
        return f"{9000 + number}Gi"
    if last == "ephemeral-storage":
        return f"{20000 + number}Gi"  # more than work.size, as must be
    if last == "cpu":
        return f"{9000 + number}m"
    if isinstance(value, int):
        return 3000 + number
    return (
        f"marked_{number}"
        if last in ("name", "prefectName", "user") and "database" in path
        else f"marked-{number}"
    )


def appears(value, text):
    return all(str(one) in text for one in (value if isinstance(value, list) else [value]))


def nested(flat, top):
    """Return values by dotted path as Helm reads them, on top of others."""
    made = deepcopy(top)
    for path, value in flat.items():
        *folders, last = path.split(".")
        place = made
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return made


def rendered_with(values):
    return _rendered_with(json.dumps(values))


@cache
def _rendered_with(values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        found = helm("template", "organloop", CHART, "--kube-version", "1.35.0", "-f", ALL, "-f", file.name)
    assert found.returncode == 0, f"{values}: {found.stderr}"
    return found.stdout


def test_a_run_has_its_part_of_a_workers_memory_and_a_study_half_of_tritons():
    (settings,) = (
        one["data"]
        for one in render(MINIMAL, worker__resources__limits__memory="16Gi", worker__runsAtOnce="5")
        if one["metadata"]["name"] == "organloop-settings"
    )
    assert settings["ORGANLOOP_STUDY_MEMORY_MIB"] == str((16 * 1024 - 640) // 5)
    assert settings["ORGANLOOP_SERVING_MEMORY_MIB"] == str(6 * 1024 // 2)
