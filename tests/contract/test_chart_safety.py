"""The rules of a safe installation, on the manifests as Helm renders them."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.chart import (
    ALL,
    CHART,
    EXAMPLES,
    HOSPITAL,
    MINIMAL,
    NAMESPACE,
    of_kind,
    pods,
    render,
    template,
)

SECRET = re.compile(r"password|secret|token|passwd", re.IGNORECASE)
LASTING = ("Deployment", "StatefulSet")


@pytest.fixture(params=EXAMPLES)
def found(request):
    return render(*EXAMPLES[request.param])


def test_every_pod_is_fit_for_the_restricted_standard(found):
    """Pod Security Standards, profile restricted."""
    for pod in pods(found):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.name
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            assert forbidden not in pod.spec
        for volume in pod.spec.get("volumes", ()):
            allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
            assert set(volume) - {"name"} <= allowed, pod.name
        for container in pod.containers:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, container["name"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True
            assert not {"privileged", "runAsUser", "procMount"} & set(security)
            assert all("hostPort" not in port for port in container.get("ports", ()))


def test_every_container_has_somewhere_to_write_only_where_it_writes(found):
    for pod in pods(found):
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", ())}
        claims = {"prefect", "studies", "data"}
        for container in pod.containers:
            for mount in container.get("volumeMounts", ()):
                assert mount["name"] in volumes or mount["name"] in claims, (pod.name, mount)
                read_only = {"configMap", "secret", "projected"} & set(volumes.get(mount["name"], {}))
                assert not read_only or mount["readOnly"] is True


def test_triton_cannot_write_its_repository_and_sees_nothing_else_of_the_store(found):
    [triton] = [pod for pod in pods(found) if pod.component == "triton"]
    [container] = [c for c in triton.spec["containers"] if c["name"] == "triton"]
    [store] = [mount for mount in container["volumeMounts"] if mount["name"] == "store"]
    assert store == {
        "name": "store",
        "mountPath": "/models",
        "subPath": "triton/repository",
        "readOnly": True,
    }
    [preparing] = [c for c in triton.spec["initContainers"] if c["name"] == "prepare"]
    assert {"name": "store", "mountPath": "/var/lib/organloop"} in preparing["volumeMounts"]


def test_studies_are_worked_on_on_each_pod_s_own_disk_within_a_limit(found):
    """On the store a worker would see, and might remove, what one on another node is reading."""
    settings = of_kind(found, "ConfigMap")["organloop-settings"]["data"]
    work = settings["ORGANLOOP_WORK"]
    assert not work.startswith(f"{settings['ORGANLOOP_HOME']}/")
    working = {pod.component: pod for pod in pods(found) if pod.component in ("worker", "tuning-job")}
    assert set(working) == {"worker", "tuning-job"}
    for pod in working.values():
        [container] = pod.spec["containers"]
        assert {"name": "work", "mountPath": work} in container["volumeMounts"]
        [volume] = [one for one in pod.spec["volumes"] if one["name"] == "work"]
        assert set(volume["emptyDir"]) == {"sizeLimit"}


def test_only_what_launches_jobs_may_ask_kubernetes(found):
    asking = {pod.component for pod in pods(found) if pod.spec["automountServiceAccountToken"] is not False}
    assert asking == {"launcher"}
    assert all(
        account["automountServiceAccountToken"] is False
        for account in of_kind(found, "ServiceAccount").values()
    )
    assert not of_kind(found, "ClusterRole", "ClusterRoleBinding")
    [role] = of_kind(found, "Role").values()
    may = {(kind, verb) for rule in role["rules"] for kind in rule["resources"] for verb in rule["verbs"]}
    jobs = {("jobs", verb) for verb in ("create", "get", "list", "watch", "delete")}
    seen = {("pods", verb) for verb in ("get", "list", "watch")} | {("pods/log", "get")}
    assert may == jobs | seen
    [binding] = of_kind(found, "RoleBinding").values()
    assert [one["name"] for one in binding["subjects"]] == ["organloop-launcher"]
    users = {pod.component for pod in pods(found) if pod.spec["serviceAccountName"] == "organloop-launcher"}
    assert users == {"launcher"}


def test_without_tuning_nothing_asks_kubernetes_and_nothing_starts_at_night():
    found = render(MINIMAL, tuning__enabled="false")
    assert not of_kind(found, "Role", "RoleBinding")
    assert all(pod.spec["automountServiceAccountToken"] is False for pod in pods(found))
    [register] = [pod for pod in pods(found) if pod.component == "register"]
    assert "--no-learning" in register.spec["containers"][0]["args"]


def test_nothing_secret_is_in_the_release(found):
    """What `helm get` shows: manifests, notes and values. Secrets are only named."""
    assert not of_kind(found, "Secret")
    for pod in pods(found):
        for container in pod.containers:
            for variable in container.get("env", ()):
                if SECRET.search(variable["name"]) and not re.search("SECRET_(NAME|KEY)$", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], variable
            assert not any(SECRET.search(argument) for argument in container.get("args", ()))
    for config in of_kind(found, "ConfigMap").values():
        assert not re.search(r"://[^/\s:@]+:[^/\s@]+@", json.dumps(config["data"]))


def test_a_container_is_given_the_passwords_it_asks_with_and_no_others():
    prefect, archive, own = (
        {"prefect-auth"},
        {"archive-user", "archive-password"},
        {"prefect-database-password"},
    )
    writer, reader, backup = ({f"database-{role}-password"} for role in ("writer", "reader", "backup"))
    owner = {"database-password"}
    serving, release = {"triton-serving-key"}, {"triton-release-key"}
    readers, session = {"reader-user", "reader-password"}, {"session-key"}
    wanted = {
        "worker": prefect | writer | archive | serving | release | session,
        "pages": prefect | writer | readers | serving | session | {"oidc-client-secret", "tell"},
        "doors": prefect | readers,
        "triton": serving | release,
        "prefect-job": prefect | writer,
        "first": writer | serving | release,
        "launcher": prefect,
        "register": prefect,
        "prefect": prefect | own,
        "prepare": owner | writer | reader | backup,
        "prepare-records": owner | writer | reader | backup,
        "ready": reader | serving,
        "metrics": reader | serving,
        "backup": backup,
        "postgres": owner | own,
        "orthanc": archive | readers,
        "forwarder": archive,
    }
    given: dict[str, set[str]] = {}
    for pod in pods(render(ALL)):
        for container in pod.containers:
            keys = {
                one["valueFrom"]["secretKeyRef"]["key"]
                for one in container.get("env", ())
                if "secretKeyRef" in one.get("valueFrom", {})
            }
            given[container["name"]] = given.get(container["name"], set()) | keys
    assert {name: keys for name, keys in given.items() if keys} == wanted


def test_every_value_that_names_a_secret_takes_a_name_only():
    names = [
        line.strip().partition(":")[0]
        for line in (CHART / "values.yaml").read_text().splitlines()
        if SECRET.search(line.partition(":")[0]) and not line.strip().startswith("#")
    ]
    assert set(names) == {"existingSecret", "secretKeys", "tlsSecret", "caSecret", "pullSecrets"}


def test_no_key_reaches_what_only_checks_certificates(found):
    for pod in pods(found):
        for volume in pod.spec.get("volumes", ()):
            for source in volume.get("projected", {}).get("sources") or ():
                assert [item["key"] for item in source["secret"]["items"]] in (["ca.crt"], ["tls.crt"])
            if "secret" in volume:
                assert pod.component in ("gateway", "doors")


def test_variables_of_services_are_not_taken_for_settings(found):
    """Kubernetes would set ORGANLOOP_PREFECT_PORT=tcp://…, which is a setting of ours."""
    assert all(pod.spec["enableServiceLinks"] is False for pod in pods(found))


def test_every_container_asks_for_what_it_needs_and_has_a_limit(found):
    for pod in pods(found):
        for container in pod.containers:
            for amount in ("requests", "limits"):
                asked = {"cpu", "memory", "ephemeral-storage"}
                assert asked <= set(container["resources"][amount]), (pod.name, container["name"])


MEBIBYTES = {"Mi": 1, "Gi": 1024, "Ti": 1024**2}


def mebibytes(size):
    return int(size[:-2]) * MEBIBYTES[size[-2:]]


def test_every_folder_on_a_node_s_disk_is_bounded_and_fits_what_its_pod_may_take(found):
    """A pod that takes more than its containers may is evicted, whatever its folders' own limits say."""
    for pod in pods(found):
        folders = [volume["emptyDir"] for volume in pod.spec.get("volumes", ()) if "emptyDir" in volume]
        assert all("sizeLimit" in folder for folder in folders), pod.name
        most = sum(mebibytes(one["sizeLimit"]) for one in folders if one.get("medium") != "Memory")
        limits = [one["resources"]["limits"]["ephemeral-storage"] for one in pod.spec["containers"]]
        assert most < sum(map(mebibytes, limits)), pod.name


def test_the_gateway_keeps_nine_tenths_of_its_volume_and_then_takes_no_more():
    for size, megabytes in (("500Gi", 460800), ("2Ti", 1887436), ("900Mi", 810)):
        rendered = render(MINIMAL, gateway__storage__size=size)
        orthanc = json.loads(of_kind(rendered, "ConfigMap")["organloop-gateway"]["data"]["orthanc.json"])
        assert (orthanc["MaximumStorageSize"], orthanc["MaximumStorageMode"]) == (megabytes, "Reject")
    enlarged = render(MINIMAL, gateway__storage__limit="900Gi")  # a StatefulSet's claim keeps its size
    orthanc = json.loads(of_kind(enlarged, "ConfigMap")["organloop-gateway"]["data"]["orthanc.json"])
    assert orthanc["MaximumStorageSize"] == 900 * 1024


def test_who_may_send_may_store_and_echo_and_query_only_where_the_values_say_so():
    given = {"gateway__modalities__pacs__mayQuery": "true", "gateway__modalities__pacs__mayCommit": "true"}
    rendered = render(HOSPITAL, **given)
    orthanc = json.loads(of_kind(rendered, "ConfigMap")["organloop-gateway"]["data"]["orthanc.json"])
    rights = {
        name: {right for right, given in one.items() if right.startswith("Allow") and given}
        for name, one in orthanc["DicomModalities"].items()
    }
    sending, commit = {"AllowEcho", "AllowStore"}, {"AllowStorageCommitment"}
    assert rights == {"ct-1": sending, "pacs": sending | {"AllowFind", "AllowGet", "AllowMove"} | commit}
    every = {"Echo", "Store", "Find", "FindWorklist", "Get", "Move"}
    assert not any(orthanc[f"DicomAlwaysAllow{right}"] for right in every)


def test_a_gpu_is_asked_for_by_tuning_and_by_a_triton_with_a_gpu_target_only():
    def with_gpu(*files, **values):
        return {
            (pod.component, container["name"])
            for pod in pods(render(*files, **values))
            for container in pod.containers
            if "nvidia.com/gpu" in container["resources"]["limits"]
        }

    assert with_gpu(MINIMAL) == set()
    assert with_gpu(HOSPITAL) == {("tuning-job", "prefect-job")}
    both = {("tuning-job", "prefect-job"), ("triton", "triton"), ("triton", "build-engines")}
    assert with_gpu(ALL) == both


def test_everything_that_lasts_is_watched(found):
    for pod in pods(found):
        if pod.kind in LASTING:
            assert pod.spec["terminationGracePeriodSeconds"] >= 30
            for container in pod.spec["containers"]:
                assert "livenessProbe" in container, (pod.name, container["name"])
            ready = [c for c in pod.spec["containers"] if "readinessProbe" in c]
            assert ready or pod.component == "launcher", pod.name


def test_triton_is_ready_when_it_answers_for_the_incumbent(found):
    probes = json.dumps([pod.spec["containers"] for pod in pods(found) if pod.component == "triton"])
    assert "health/ready" not in probes
    [triton] = [pod for pod in pods(found) if pod.component == "triton"]
    [ready] = [c["readinessProbe"] for c in triton.spec["containers"] if "readinessProbe" in c]
    assert ready["httpGet"] == {"path": "/ready", "port": "ready"}
    services = of_kind(found, "Service")
    assert services["organloop-triton-pods"]["spec"]["publishNotReadyAddresses"] is True
    assert services["organloop-triton-pods"]["spec"]["clusterIP"] == "None"


def test_what_has_more_than_one_replica_is_drained_one_at_a_time(found):
    budgets = of_kind(found, "PodDisruptionBudget").values()
    guarded = {one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] for one in budgets}
    served = {pod.component for pod in pods(found) if pod.component in ("triton", "worker", "doors", "pages")}
    assert guarded == served
    assert all(one["spec"]["maxUnavailable"] == 1 for one in budgets)


def test_an_upgrade_takes_no_way_in_away_before_another_is_ready():
    found = of_kind(render(HOSPITAL), "Deployment")
    for name in ("organloop-doors", "organloop-pages"):
        assert found[name]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        [container] = found[name]["spec"]["template"]["spec"]["containers"]
        assert container["lifecycle"]["preStop"] == {"exec": {"command": ["sleep", "5"]}}


def test_an_upgrade_takes_no_worker_away_before_another_is_ready_and_runs_may_end(found):
    worker = of_kind(found, "Deployment")["organloop-worker"]["spec"]
    assert worker["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = worker["template"]["spec"]
    [container] = pod["containers"]
    [grace] = [int(a.partition("=")[2]) for a in container["args"] if a.startswith("--grace-seconds")]
    from flows.launching import RUN_SECONDS

    assert RUN_SECONDS <= grace < pod["terminationGracePeriodSeconds"]


def test_triton_answers_the_study_in_hand_before_it_ends(found):
    [pod] = [pod for pod in pods(found) if pod.component == "triton"]
    [container] = [c for c in pod.spec["containers"] if c["name"] == "triton"]
    sleeps = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    patience = int(container["args"][0].partition("=")[2])
    assert sleeps + patience < pod.spec["terminationGracePeriodSeconds"]


def test_the_schema_is_brought_up_to_date_before_anything_that_reads_it(found):
    for pod in pods(found):
        if pod.component in ("worker", "triton"):
            first = pod.spec["initContainers"][0]
            assert first["command"][:2] == ["organloop", "prepare"]


def test_engines_are_built_after_the_releases_are_there_and_before_they_are_written_for_triton():
    [triton] = [pod for pod in pods(render(ALL)) if pod.component == "triton"]
    first, build, last = triton.spec["initContainers"]
    assert first["command"] == ["organloop", "prepare", "--starter", "--no-repository"]
    assert build["command"] == ["python3", "-m", "deploy.triton.build_engines"]
    assert last["command"] == ["organloop", "prepare", "--starter"]


def test_no_hook_waits_on_what_waits_for_it(found):
    """Only `helm test` has hooks; the flows are registered by a job of its own that nothing waits for."""
    for one in found:
        hook = one["metadata"].get("annotations", {}).get("helm.sh/hook")
        assert hook is None or (hook == "test" and one["kind"] == "Pod")
    [register] = [one for name, one in of_kind(found, "Job").items() if "-register-" in name]
    assert "initContainers" not in register["spec"]["template"]["spec"]


def test_a_job_that_does_something_else_has_another_name():
    def name(**values):
        return next(iter(of_kind(render(MINIMAL, **values), "Job")))

    assert name() == name(doors__replicas=3)
    assert (
        len({name(), name(timezone="Europe/Zurich"), name(images__tag="two"), name(tuning__jobsAtOnce=2)})
        == 4
    )


def test_what_would_be_lost_outlives_an_uninstall(found):
    kept = of_kind(found, "PersistentVolumeClaim")
    assert kept.keys() == {"organloop-store", "organloop-backup"}
    assert all(one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for one in kept.values())


def test_demonstration_weights_serve_only_where_they_are_asked_for():
    def preparing(*files):
        return {
            tuple(c["command"])
            for pod in pods(render(*files))
            for c in pod.containers
            if c["name"] == "prepare"
        }

    assert preparing(HOSPITAL) == {("organloop", "prepare")}
    assert preparing(MINIMAL) == {("organloop", "prepare", "--starter")}


def test_the_job_template_is_registered_under_the_pool_the_settings_name():
    found = render(HOSPITAL)
    settings = of_kind(found, "ConfigMap")["organloop-settings"]["data"]
    [launcher] = [pod for pod in pods(found) if pod.component == "launcher"]
    assert f"--pool={settings['ORGANLOOP_TUNING_POOL']}" in launcher.spec["containers"][0]["args"]
    [job] = [pod for pod in pods(found) if pod.component == "tuning-job"]
    [container] = job.spec["containers"]
    assert container["args"] == ["python", "-m", "deploy.runs.one_run"]
    variables = {one["name"]: one for one in container["env"]}
    assert "secretKeyRef" in variables["PGPASSWORD"]["valueFrom"]
    assert variables["PREFECT__FLOW_RUN_ID"]["value"].endswith("-000000000001")
    assert {"configMapRef": {"name": "organloop-settings"}} in container["envFrom"]
    assert job.spec["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


def test_another_release_name_is_used_throughout():
    """Beside the first in one namespace nothing is shared."""
    first, second = (
        {(one["kind"], one["metadata"]["name"]) for one in render(ALL, release=name)}
        for name in ("organloop", "second")
    )
    assert not first & second
    text = template(ALL, release="second").stdout
    parts = "worker|triton|gateway|doors|pages|prefect|store|settings|tuning"
    assert not re.search(rf"organloop-({parts})\b(?![:@/])", text)
    assert NAMESPACE in text
