"""The chart renders for every example and for three Kubernetes; what cannot be is refused by name."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from deploy.stack.orthanc.container import common
from services.settings import Settings
from tests.conftest import ROOT
from tests.support.chart import (
    AIRGAP,
    ALL,
    CHART,
    EXAMPLES,
    HOSPITAL,
    MINIMAL,
    failure,
    helm,
    of_kind,
    pods,
    render,
    template,
    tuning_job,
    validate,
)

MINORS = ("1.29", "1.33", "1.37")


@pytest.mark.parametrize("example", EXAMPLES)
def test_helm_lints_it_strictly(example):
    files = [option for file in EXAMPLES[example] for option in ("-f", file)]
    said = helm("lint", "--strict", CHART, *files)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_kubernetes_takes_every_manifest(example, minor):
    found = render(*EXAMPLES[example])
    jobs = [tuning_job(one) for name, one in of_kind(found, "ConfigMap").items() if name.endswith("-tuning")]
    assert len(jobs) == 1
    for job in jobs:  # Prefect's worker wants them in this wrong place, and Kubernetes drops them there
        pod = job["spec"]["template"]["spec"]
        job["spec"]["template"]["spec"] = {k: pod[k] for k in pod.keys() - {"completions", "parallelism"}}
    for one in (*found, *jobs):
        validate(json.dumps(one), minor)


def test_kubernetes_validate_refuses_what_it_does_not_know():
    """Its command passes an unknown kind; here it is an error, and so is an unknown field."""
    unknown = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "x"}}
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        validate(json.dumps(unknown), MINORS[0])
    service = of_kind(render(MINIMAL), "Service")["organloop-prefect"]
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(json.dumps(service | {"spcc": {}}), MINORS[0])


def test_it_is_packaged(tmp_path):
    assert helm("package", CHART, "--destination", tmp_path).returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["organloop-0.1.0.tgz"]


def test_an_older_kubernetes_is_refused():
    said = helm("template", "organloop", CHART, "-f", MINIMAL, "--kube-version", "1.28.0")
    assert said.returncode != 0
    assert "1.29" in said.stderr


def test_a_trial_takes_few_lines_and_no_gpu():
    lines = MINIMAL.read_text().splitlines()
    assert len(lines) < 25
    assert "nvidia" not in template(MINIMAL).stdout


def test_one_registry_is_the_prefix_of_every_image_without_a_way_out():
    images = {c["image"] for pod in pods(render(HOSPITAL, AIRGAP)) for c in pod.containers}
    assert len(images) == 6  # worker, trainer and trainer-gpu, segmenter, gateway, postgres
    assert {image.rpartition("/")[0] for image in images} == {"registry.inside.example/organloop"}


IMPOSSIBLE = {
    "images.registry": (MINIMAL, {"images__registry": ""}),
    "existingSecret": (MINIMAL, {"existingSecret": ""}),
    "database.host is set": (MINIMAL, {"database__host": "db"}),
    "database.host is empty": (MINIMAL, {"database__bundled": "false"}),
    "database.caSecret is set": (MINIMAL, {"database__caSecret": "ca"}),
    "database.caSecret is empty": (HOSPITAL, {"database__caSecret": ""}),
    "gateway.tlsSecret": (MINIMAL, {"gateway__tlsSecret": ""}),
    "archive.orthancUrl or archive.dicomwebUrl is set": (MINIMAL, {"archive__orthancUrl": "https://a"}),
    "archive.orthancUrl and archive.dicomwebUrl are empty": (MINIMAL, {"gateway__enabled": "false"}),
    "gateway.queryFrom is pacs, which": (MINIMAL, {"gateway__queryFrom": "pacs"}),
    "gateway.forwardTo is nobody, which gateway.modalities does not know; known: ct-1, pacs": (
        HOSPITAL,
        {"gateway__forwardTo": "nobody"},
    ),
    "gateway.queryFrom is set and gateway.enabled is false": (
        HOSPITAL,
        {"gateway__enabled": "false", "archive__orthancUrl": "https://a"},
    ),
    "doors.host": (HOSPITAL, {"doors__host": ""}),
    "doors.tlsSecret": (HOSPITAL, {"doors__tlsSecret": ""}),
    "doors.networks": (HOSPITAL, {"doors__networks": "null"}),
    "doors.ports names one port twice": (HOSPITAL, {"doors__ports__viewer": "443"}),
    "people.client is empty": (HOSPITAL, {"people__client": ""}),
    "people.issuer is empty and people.client is set": (HOSPITAL, {"people__issuer": ""}),
    "people.issuer is empty and people.caSecret is set": (
        HOSPITAL,
        {"people__issuer": "", "people__client": ""},
    ),
    "people.issuer and people.trustedProxies": (HOSPITAL, {"people__trustedProxies": "{10.20.0.5}"}),
    "people.groups.reader": (HOSPITAL, {"people__groups__reader": "null"}),
    "people.networks": (HOSPITAL, {"people__networks": "null"}),
    "archive.caSecret is empty and people.caSecret is set": (
        HOSPITAL,
        {
            "gateway__enabled": "false",
            "gateway__queryFrom": "",
            "gateway__forwardTo": "",
            "archive__orthancUrl": "https://a",
            "archive__networks": "{10.1.2.3/32}",
        },
    ),
    "people.unprovenActs is refused": (MINIMAL, {"people__unprovenActs": "refused"}),
    "database.networks": (HOSPITAL, {"database__networks": "null"}),
    "witness.networks": (HOSPITAL, {"witness__networks": "null"}),
    "archive.networks": (
        MINIMAL,
        {"gateway__enabled": "false", "archive__orthancUrl": "https://a"},
    ),
    "triton.device is set": (MINIMAL, {"triton__device": "NVIDIA L4"}),
    "triton.device is empty": (MINIMAL, {"triton__target": "tensorrt"}),
    "store.accessModes": (MINIMAL, {"triton__replicas": "2"}),
    "worker.runsAtOnce times": (MINIMAL, {"worker__runsAtOnce": "1"}),
    "worker.resources.limits.memory is 6Gi and worker.runsAtOnce is 4": (
        MINIMAL,
        {"worker__runsAtOnce": "4"},
    ),
    "worker.resources.limits.ephemeral-storage is 25Gi and work.size is 25Gi": (
        MINIMAL,
        {"work__size": "25Gi"},
    ),
    "fullnameOverride": (MINIMAL, {"fullnameOverride": "a" * 44}),
    "backup.existingClaim": (MINIMAL, {"backup__existingClaim": "organloop-store"}),
}


@pytest.mark.parametrize("named", IMPOSSIBLE)
def test_what_cannot_be_is_refused_and_names_the_value_to_change(named):
    file, values = IMPOSSIBLE[named]
    assert named in failure(file, **values)


def test_every_check_has_its_case_here():
    checks = (CHART / "templates" / "checks.yaml").read_text()
    messages = re.findall(r'fail \(?(?:printf )?"([^"]+)"', checks)
    # Two are written once for gateway.queryFrom and gateway.forwardTo.
    patterns = [re.escape(message).replace("%s", ".*").replace("%d", ".*") for message in messages]
    said = [failure(file, **values) for file, values in IMPOSSIBLE.values()]
    assert [p for p in patterns if not any(re.search(p, one) for one in said)] == []


def schemas(one, path=""):
    """Yield every object of the schema."""
    if isinstance(one, dict):
        if one.get("type") == "object":
            yield path, one
        for name, inner in one.items():
            yield from schemas(inner, f"{path}/{name}")


def test_the_schema_is_closed_and_says_what_everything_is():
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path, one in schemas(schema):
        if "$ref" in one:
            continue  # closed where it is defined
        others = one.get("additionalProperties")
        assert others is False or (isinstance(others, dict) and ("$ref" in others or "type" in others)), path
        for name, inner in one.get("properties", {}).items():
            assert inner.get("description") or "$ref" in inner, f"{path}/{name}"


@pytest.mark.parametrize("value", ["repilcas", "triton.repilcas", "gateway.modalities.ct.ae"])
def test_a_value_that_is_not_there_is_refused(value):
    assert "Additional property" in failure(MINIMAL, **{value.replace(".", "__"): 1})


@pytest.mark.parametrize(
    ("value", "bad"),
    [
        ("triton__replicas", 0),
        ("triton__target", "gpu"),
        ("store__size", "20"),
        ("gateway__aet", "A_TITLE_OF_SEVENTEEN"),
        ("timezone", "a b"),
        ("gateway__modalities__ct__host", "ct.example"),
        ("people__issuer", "http://login.example"),  # names would travel in the clear
        ("people__scopes", "profile email"),
        ("people__trustedProxies", "{0.0.0.0/0}"),  # everybody
        ("people__groups__reader", "{cn=readers\\,ou=ct}"),  # a comma parts two groups
        ("doors__host", "https://organloop.example"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(value, bad):
    assert "values.schema.json" in failure(MINIMAL, **{value: bad}) or "schema" in failure(
        MINIMAL, **{value: bad}
    )


def test_every_variable_of_ours_is_a_setting():
    known = {f"ORGANLOOP_{name.upper()}" for name in Settings.model_fields}
    for files in EXAMPLES.values():
        assert (
            set(re.findall(r"\bORGANLOOP_[A-Z_]+\b", template(*files).stdout)) - {"ORGANLOOP_PREFECT_PORT"}
            <= known
        )


def test_the_settings_are_ones_the_program_takes(monkeypatch, tmp_path):
    for files in EXAMPLES.values():
        data = of_kind(render(*files), "ConfigMap")["organloop-settings"]["data"]
        with monkeypatch.context() as patch:
            for name, value in data.items():
                patch.setenv(name, value)
            settings = Settings()
        replicas = of_kind(render(*files), "StatefulSet")["organloop-triton"]["spec"]["replicas"]
        assert len(settings.triton_endpoints.split(",")) == replicas
        assert str(settings.home) == "/var/lib/organloop"
        assert re.match(r"postgresql\+psycopg://organloop(_writer)?@", settings.database_url)


def test_every_command_is_one_the_program_knows():
    """Verbs of organloop and modules of ours, as the containers call them."""
    from deploy.cli.main import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    verbs |= {group.name for group in app.registered_groups}
    commands = [c["command"] for pod in pods(render(ALL)) for c in pod.containers if "command" in c]
    called = {command[1] for command in commands if command[0] == "organloop"}
    assert called == {"prepare", "register", "backup", "metrics", "releases"}
    assert called <= verbs
    modules = {command[2] for command in commands if command[:2] in (["python", "-m"], ["python3", "-m"])}
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


@pytest.mark.parametrize("name", ["alerts.yaml", "backup-alerts.yaml", "room-alerts.yaml"])
def test_the_alert_rules_are_the_ones_of_the_project(name):
    rules = (ROOT / "deploy" / "prometheus" / name).read_text()
    assert (CHART / "files" / name).read_text() == rules
    shown = of_kind(render(HOSPITAL), "ConfigMap")["organloop-alerts"]["data"][name]
    assert yaml.safe_load(shown) == yaml.safe_load(rules)


def test_alerts_on_room_are_about_the_volumes_of_the_release():
    for release in ("organloop", "second"):
        found = render(HOSPITAL, release=release)
        shown = of_kind(found, "ConfigMap")[f"{release}-alerts"]["data"]["room-alerts.yaml"]
        assert f'persistentvolumeclaim=~"(.+-)?{release}-.+"' in shown
        claims = set(of_kind(found, "PersistentVolumeClaim"))
        for name, one in of_kind(found, "StatefulSet").items():
            claims |= {
                f"{c['metadata']['name']}-{name}-0" for c in one["spec"].get("volumeClaimTemplates", ())
            }
        assert len(claims) >= 4
        assert all(re.fullmatch(f"(.+-)?{release}-.+", claim) for claim in claims), claims


@pytest.mark.parametrize(
    "source",
    [
        "deploy/stack/orthanc/doors.lua",
        "deploy/stack/orthanc/room.lua",
        "deploy/doors/requests.conf",
        "deploy/doors/archive.conf",
    ],
)
def test_what_orthanc_and_nginx_open_is_the_same_everywhere(source):
    path = ROOT / source
    assert (CHART / "files" / path.name).read_text() == path.read_text()


def test_its_orthanc_is_told_what_every_archive_of_ours_is():
    rendered = of_kind(render(HOSPITAL), "ConfigMap")["organloop-gateway"]["data"]["orthanc.json"]
    assert json.loads(rendered).items() >= common().items()


def test_alerts_on_backups_are_where_backups_are_taken_and_wait_as_long_as_the_values_say():
    def shown(**values):
        return of_kind(render(HOSPITAL, **values), "ConfigMap")["organloop-alerts"]["data"]

    assert shown(backup__enabled="false").keys() == {"alerts.yaml", "room-alerts.yaml"}
    weekly = yaml.safe_load(shown(backup__overdueSeconds=1209600)["backup-alerts.yaml"])
    overdue, missing, _ = weekly["groups"][0]["rules"]
    assert (overdue["expr"], missing["for"]) == ("organloop_last_backup_seconds > 1209600", "1209600s")


def test_the_table_of_values_is_current():
    made = subprocess.run(
        [sys.executable, ROOT / "helm" / "values_table.py", "--check"], capture_output=True, text=True
    )
    assert made.returncode == 0, "run: make chart"


def test_what_values_yaml_says_of_a_value_is_what_the_schema_says():
    schema = json.loads((CHART / "values.schema.json").read_text())
    said = set()
    for _, one in schemas(schema):
        said |= {inner.get("description") for inner in one.get("properties", {}).values()}
    comments = re.findall(
        r"^\s*# (.+)$", (CHART / "values.yaml").read_text().partition("\n")[2], re.MULTILINE
    )
    assert [comment for comment in comments if comment not in said] == []
