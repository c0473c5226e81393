"""What a site says of pods is on every pod; the chart is fit for OpenShift and for an umbrella."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import (
    ALL,
    CHART,
    EXAMPLES,
    HELM,
    HELM_4,
    HOSPITAL,
    KUBERNETES,
    MINIMAL,
    PODS,
    failure,
    helm,
    manifests,
    of_kind,
    pods,
    render,
)

ADDED = yaml.safe_load(PODS.read_text())["pods"]["all"]
COMPONENTS = {
    *("worker", "triton", "tuning-job", "launcher", "gateway", "prefect", "register", "doors", "pages"),
    *("metrics", "backup", "database", "test", "first-release"),
}
MAKERS = ("Deployment", "StatefulSet", "Job", "CronJob")


def inner(one: Any):
    """Yield every mapping of a manifest."""
    if isinstance(one, dict):
        yield one
        one = list(one.values())
    if isinstance(one, list):
        for item in one:
            yield from inner(item)


def test_every_pod_carries_what_the_block_says():
    found = render(ALL, PODS)
    made = list(pods(found))
    assert {pod.component for pod in made} == COMPONENTS
    annotations = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"].get("annotations", {})
        for one in found
        if one["kind"] in ("Deployment", "StatefulSet", "Job")
    }
    for pod in made:
        assert (
            pod.labels.items()
            >= {"example.org/team": "imaging", "example.org/cost-centre": "radiology"}.items()
        )
        if pod.name in annotations:
            assert annotations[pod.name]["example.org/scan"] == "yes"
        spec = pod.spec
        assert spec["affinity"] == ADDED["affinity"]
        assert spec["priorityClassName"] == "clinical"
        assert spec["securityContext"]["supplementalGroups"] == [2000]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert (spec["hostAliases"], spec["dnsConfig"]) == (ADDED["hostAliases"], ADDED["dnsConfig"])
        assert ADDED["volumes"][0] in spec["volumes"]
        assert ADDED["tolerations"][0] in spec["tolerations"]
        gpu = pod.component in ("triton", "tuning-job")
        assert spec["nodeSelector"] == {"pool": "gpu" if gpu else "cpu"}
        assert spec.get("runtimeClassName") == ("nvidia" if gpu else None)
        assert len(spec["tolerations"]) == (2 if gpu else 1)
        for container in pod.containers:
            assert ADDED["env"][0] in container["env"], (pod.name, container["name"])
            assert ADDED["envFrom"][0] in container["envFrom"]
            assert ADDED["volumeMounts"][0] in container["volumeMounts"]
    for one in of_kind(found, *MAKERS).values():
        assert one["metadata"]["annotations"]["reloader.stakater.com/auto"] == "true"


def test_every_object_has_the_site_s_labels_and_no_selector_has():
    found = render(ALL, PODS)
    for one in found:
        assert one["metadata"]["labels"]["example.org/cost-centre"] == "radiology", one["metadata"]["name"]
        for mapping in inner(one.get("spec", {})):
            assert "example.org/cost-centre" not in (mapping.get("matchLabels") or {})


def test_no_is_an_answer(tmp_path):
    """Template functions that merge take false for nothing said."""
    said = tmp_path / "no.yaml"
    said.write_text(
        "pods: {all: {hostUsers: true, securityContext: {supplementalGroupsPolicy: Merge}}, "
        "worker: {hostUsers: false, containerSecurityContext: {readOnlyRootFilesystem: false}}}"
    )
    made = {pod.component: pod for pod in pods(render(MINIMAL, said))}
    assert made["worker"].spec["hostUsers"] is False
    assert made["triton"].spec["hostUsers"] is True
    for name, expected in (("worker", False), ("triton", True)):
        assert made[name].spec["securityContext"]["supplementalGroupsPolicy"] == "Merge"
        for container in made[name].containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is expected
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_a_variable_that_the_chart_sets_is_not_set_twice(tmp_path):
    twice = tmp_path / "twice.yaml"
    twice.write_text("pods: {worker: {env: [{name: PREFECT_API_AUTH_STRING, value: x}]}}")
    said = failure(MINIMAL, twice)
    assert "pods names the variable PREFECT_API_AUTH_STRING for worker, which the chart sets itself" in said


def test_what_a_pod_may_be_told_is_closed(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("pods: {worker: {nodeselector: {pool: cpu}}}")
    assert "nodeselector" in failure(MINIMAL, wrong)


@pytest.mark.parametrize("example", EXAMPLES)
def test_where_the_platform_assigns_users_no_pod_says_who_it_runs_as(example):
    """OpenShift's restricted-v2 refuses every pod with a user or group of its own."""
    for pod in pods(render(*EXAMPLES[example], users="assigned")):
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        for mapping in inner(pod.spec):
            assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(mapping), pod.name


def test_pods_on_a_disk_of_one_node_go_where_the_first_one_is():
    beside = {
        "labelSelector": {"matchLabels": {"organloop/store": "organloop"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    found = list(pods(render(MINIMAL)))
    on_store = {pod.component for pod in found if "organloop/store" in pod.labels}
    assert on_store == {"worker", "triton", "backup", "tuning-job", "first-release"}
    for pod in found:
        claims = [
            one.get("persistentVolumeClaim", {}).get("claimName") for one in pod.spec.get("volumes", ())
        ]
        assert ("organloop-store" in claims) == (pod.component in on_store)
        if pod.component in on_store:
            affinity = pod.spec["affinity"]["podAffinity"]
            assert affinity == {"requiredDuringSchedulingIgnoredDuringExecution": [beside]}
        else:
            assert "affinity" not in pod.spec
    assert not any("organloop/store" in pod.labels for pod in pods(render(HOSPITAL)))


def test_a_claim_of_the_site_s_own_on_one_node_takes_one_replica_of_each():
    said = failure(HOSPITAL, store__existingClaim="mine", store__accessModes="{ReadWriteOnce}")
    assert "store.accessModes lacks ReadWriteMany" in said


def test_a_site_s_own_affinity_stays_beside_the_store_s(tmp_path):
    own = tmp_path / "own.yaml"
    term = {"labelSelector": {"matchLabels": {"app": "pacs"}}, "topologyKey": "zone"}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    own.write_text(json.dumps({"pods": {"worker": {"affinity": {"podAffinity": {required: [term]}}}}}))
    [worker] = [pod for pod in pods(render(MINIMAL, own)) if pod.component == "worker"]
    first, second = worker.spec["affinity"]["podAffinity"][required]
    assert first == term
    assert second["labelSelector"]["matchLabels"] == {"organloop/store": "organloop"}


def test_each_password_may_lie_in_a_secret_of_its_own(tmp_path):
    """As ExternalSecrets, Vault and database operators make them."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    purposes = schema["properties"]["secretKeys"]["propertyNames"]["enum"]
    own = {one: {"name": f"of-{one}", "key": f"key.{one}"} for one in purposes}
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(json.dumps({"existingSecret": "", "secretKeys": own}))
    named = set()
    for pod in pods(render(ALL, elsewhere)):
        for container in pod.containers:
            for variable in container.get("env", ()):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    named.add((reference["name"], reference["key"]))
            said = {one["name"]: one.get("value") for one in container.get("env", ())}
            if "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME" in said:
                kind = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET"
                assert (said[f"{kind}_NAME"], said[f"{kind}_KEY"]) == ("of-prefect-auth", "key.prefect-auth")
    assert named == {(one["name"], one["key"]) for one in own.values()}


def test_accounts_may_be_the_site_s_own():
    found = render(
        ALL,
        serviceAccounts__all__create="false",
        serviceAccounts__all__name="site",
        serviceAccounts__launcher__name="starter",
    )
    assert set(of_kind(found, "ServiceAccount")) == {"starter"}
    for pod in pods(found):
        wanted = "starter" if pod.component == "launcher" else "site"
        assert pod.spec["serviceAccountName"] == wanted
    [binding] = of_kind(found, "RoleBinding").values()
    assert [one["name"] for one in binding["subjects"]] == ["starter"]


@pytest.mark.parametrize("name", ["ct", "a" * 43])
def test_every_name_begins_with_the_override_and_fits(name):
    found = render(ALL, fullnameOverride=name, release="umbrella")
    longest = {"CronJob": 52, "Job": 63, "Deployment": 63, "StatefulSet": 52, "Service": 63}
    for one in found:
        called = one["metadata"]["name"]
        assert called == name or called.startswith(f"{name}-"), called
        assert len(called) <= longest.get(one["kind"], 253), called
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == name
    assert not re.search(r"\bumbrella\b", json.dumps(found))


def test_a_release_whose_name_is_too_long_is_told_what_to_set():
    said = helm("template", "a" * 44, CHART, "--kube-version", KUBERNETES, "-f", MINIMAL)
    assert said.returncode != 0
    assert "set fullnameOverride to a shorter one" in said.stderr


def test_services_and_policies_find_no_pod_of_another_chart_in_the_release():
    """In an umbrella other charts' pods have the same instance, and perhaps a component `worker`."""
    for one in render(ALL):
        if one["kind"] == "Service":
            assert one["spec"]["selector"]["app.kubernetes.io/name"] == "organloop"
        if one["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            for mapping in inner(one["spec"]):
                labels = mapping.get("matchLabels", {})
                if "app.kubernetes.io/instance" in labels:
                    assert labels["app.kubernetes.io/name"] == "organloop"


def test_workloads_find_their_pods_as_they_did_and_the_pods_change_with_no_chart_s_version():
    """A selector can never be changed, and a label that changes restarts the gateway."""
    for one in of_kind(render(ALL), "Deployment", "StatefulSet").values():
        labels = one["spec"]["selector"]["matchLabels"]
        assert set(labels) == {"app.kubernetes.io/instance", "app.kubernetes.io/component"}
        on_pods = one["spec"]["template"]["metadata"]["labels"]
        assert labels.items() <= on_pods.items()
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(on_pods)


def umbrella(folder: Path) -> Path:
    """Make a chart that has ours as a dependency, twice."""
    chart = folder / "umbrella"
    shutil.copytree(CHART, chart / "charts" / "organloop")
    dependency = {"name": "organloop", "version": "0.1.0"}
    (chart / "Chart.yaml").write_text(
        json.dumps(
            {
                "apiVersion": "v2",
                "name": "hospital",
                "version": "1.0.0",
                "dependencies": [
                    {**dependency, "condition": "organloop.enabled"},
                    {**dependency, "alias": "second", "condition": "second.enabled"},
                ],
            }
        )
    )
    minimal = yaml.safe_load(MINIMAL.read_text())
    values = {
        "global": {"imageRegistry": "registry.example.org", "storage": [1, {"a": None}]},
        "organloop": {**minimal, "enabled": True},
        "second": {**minimal, "enabled": True, "fullnameOverride": "second"},
    }
    (chart / "values.yaml").write_text(json.dumps(values))
    return chart


@pytest.mark.parametrize("program", [HELM, HELM_4], ids=["helm-3", "helm-4"])
def test_an_umbrella_renders_it_twice_and_each_has_names_of_its_own(tmp_path, program):
    chart = umbrella(tmp_path)
    said = helm("template", "site", chart, "--kube-version", KUBERNETES, program=program)
    assert said.returncode == 0, said.stderr
    named = [(one["kind"], one["metadata"]["name"]) for one in manifests(said.stdout)]
    assert len(named) == len(set(named))
    assert {name.partition("-")[0] for _, name in named} == {"site", "second"}
    without = helm(
        "template",
        "site",
        chart,
        "--kube-version",
        KUBERNETES,
        "--set",
        "second.enabled=false",
        program=program,
    )
    assert {one["metadata"]["name"].partition("-")[0] for one in manifests(without.stdout)} == {"site"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_helm_3_and_helm_4_make_the_same_manifests(example):
    files = [option for file in EXAMPLES[example] for option in ("-f", file)]
    three, four = (
        helm("template", "organloop", CHART, "--kube-version", KUBERNETES, *files, program=program)
        for program in (HELM, HELM_4)
    )
    assert (three.returncode, four.returncode) == (0, 0), three.stderr + four.stderr

    def ordered(text):
        return sorted(manifests(text), key=lambda one: (one["kind"], one["metadata"]["name"]))

    assert ordered(three.stdout) == ordered(four.stdout)
    assert helm("lint", "--strict", CHART, *files, program=HELM_4).returncode == 0
