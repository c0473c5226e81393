"""What the chart gives doors and pages is what their programs read, and no more than each may hold."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy.doors import open as program
from deploy.doors.open import LISTENS, configured
from models.people import Role
from services.settings import Settings
from tests.support.chart import (
    ALL,
    CHART,
    HOSPITAL,
    KUBERNETES,
    Manifest,
    Pod,
    environment,
    failure,
    helm,
    manifests,
    of_kind,
    pods,
    render,
    template,
)
from tests.support.nginx import certificate

SECRET = {
    "database-password": "owner",
    "database-writer-password": "writer",
    "archive-user": "organloop",
    "archive-password": "the-worker-s",
    "reader-user": "reader",
    "reader-password": "the-readers",
    "prefect-auth": "admin:dashboard",
    "session-key": "k" * 48,
    "oidc-client-secret": "client-word",
}
LOCAL = {"people__issuer": "", "people__client": "", "people__caSecret": "", "people__groups__reader": "null"}
"""Nobody signs people in but the local account."""


def pod_of(found: tuple[Manifest, ...], component: str) -> Pod:
    [pod] = [pod for pod in pods(found) if pod.component == component]
    return pod


def given(component: str, *files: Path, secret: dict[str, str] = SECRET, **values: Any) -> dict[str, str]:
    """Return the variables of the one container that serves in a component's pod."""
    found = render(*files, **values)
    [container] = pod_of(found, component).spec["containers"]
    return environment(container, found, secret)


def settings(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return Settings()


def test_the_pages_settings_are_ones_that_the_program_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(monkeypatch, given("pages", HOSPITAL))
    host = "https://organloop.hospital.example"
    assert (read.pages_address, read.viewer_address, read.dashboard_address) == (
        host, f"{host}:8443", f"{host}:9443",
    )  # fmt: skip
    assert read.oidc_issuer == "https://login.hospital.example/realms/hospital"
    assert read.oidc_client == "organloop"
    assert read.oidc_client_secret is not None
    assert read.oidc_client_secret.get_secret_value() == SECRET["oidc-client-secret"]
    assert (read.oidc_scopes, read.oidc_groups_claim) == ("openid profile email", "groups")
    assert read.groups == {
        Role.READER: ("radiology",),
        Role.APPROVER: ("radiology-heads",),
        Role.OPERATOR: ("imaging-it",),
        Role.AUDITOR: ("quality",),
    }
    assert (read.own_corrections, read.unproven_acts) == ("refused", "refused")
    assert (read.archive_reader_user, read.archive_user) == ("reader", None)


def test_a_proxy_or_a_local_account_signs_people_in_where_the_values_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = LOCAL | {
        "people__groups__reader": "{radiology}",
        "people__trustedProxies": "{10.20.0.5,10.20.1.0/28}",
    }
    behind = settings(monkeypatch, given("pages", HOSPITAL, **closed))
    assert (behind.trusted_proxies, behind.oidc_issuer) == ("10.20.0.5,10.20.1.0/28", None)
    local = given("pages", HOSPITAL, secret=SECRET, **LOCAL)
    assert not {"ORGANLOOP_OIDC_CLIENT_SECRET", "SSL_CERT_FILE"} & set(local)
    alone = settings(monkeypatch, local)
    assert (alone.trusted_proxies, alone.oidc_issuer) == (None, None)


def test_who_installs_it_is_told_where_people_open_it_and_how_they_first_sign_in(tmp_path: Path) -> None:
    """The notes, rendered as a manifest: Helm shows them only where it has a cluster to ask."""
    shutil.copytree(CHART, tmp_path / "chart")
    said = (CHART / "templates" / "NOTES.txt").read_text()
    manifest = 'kind: Notes\nmetadata: {name: notes}\nsaid: {{ include "notes" . | quote }}\n'
    wrapped = f'{{{{- define "notes" }}}}{said}{{{{- end }}}}\n{manifest}'
    (tmp_path / "chart" / "templates" / "notes.yaml").write_text(wrapped)

    def notes(**values: str) -> str:
        options = [option for name, one in values.items() for option in ("--set", f"{name}={one}")]
        where = ("-f", HOSPITAL, "--kube-version", KUBERNETES, "-s", "templates/notes.yaml")
        rendered = helm("template", "organloop", tmp_path / "chart", *where, *options)
        assert rendered.returncode == 0, rendered.stderr
        [one] = manifests(rendered.stdout)
        return str(one["said"])

    by_provider = notes()
    for port in ("", ":8443", ":9443"):
        assert f"https://organloop.hospital.example{port}" in by_provider
    assert "account --reset" not in by_provider
    alone = {name.replace("__", "."): value for name, value in LOCAL.items()}
    assert "deploy/organloop-pages -c pages -- organloop account --reset" in notes(**alone)
    closed = notes(**{"doors.enabled": "false", "people.unprovenActs": "allowed"})
    assert "port-forward svc/organloop-prefect" in closed
    assert "https://" not in closed


def test_the_doors_program_reads_every_variable_that_it_is_given_and_is_given_what_it_needs(
    tmp_path: Path,
) -> None:
    variables = given("doors", ALL)
    told = set(re.findall(r"``([A-Z_]+)``", program.__doc__ or ""))
    compose_alone = {"DOORS_PUBLISHED", "ORGANLOOP_ORTHANC_URL", "ORGANLOOP_DICOMWEB_URL"}
    assert set(variables) == told - compose_alone
    assert variables["DOORS_TLS"] == "/etc/organloop/tls"
    made = certificate(tmp_path / "tls")
    head = configured(variables | {"DOORS_TLS": str(made)}, tmp_path / "doors", secrets=tmp_path / "none")
    assert f"{made}/tls.crt" in head.read_text()
    written = {name: (head.parent / f"{name}.conf").read_text() for name in LISTENS}
    for name, text in written.items():
        assert f"listen {LISTENS[name]} ssl;" in text
        assert "organloop.test.example" in text
    assert "https://organloop-gateway:8443/dicom-web/;" in written["viewer"]
    assert "http://organloop-prefect:4200;" in written["dashboard"]
    assert "server organloop-pages:8500;" in head.read_text()


def test_the_ports_that_the_program_opens_are_those_of_the_pod() -> None:
    [container] = pod_of(render(ALL), "doors").spec["containers"]
    opened = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    assert opened == LISTENS


def test_an_archive_of_the_hospital_s_own_is_shown_by_its_address() -> None:
    own = {
        "gateway__enabled": "false",
        "gateway__queryFrom": "",
        "gateway__forwardTo": "",
        "archive__networks": "{10.1.2.3/32}",
        "people__caSecret": "",
    }
    orthanc = given("doors", HOSPITAL, **own, archive__orthancUrl="https://pacs:8043/")
    assert orthanc["DOORS_ARCHIVE"] == "https://pacs:8043/dicom-web"
    assert "DOORS_ARCHIVE_CA" not in orthanc
    web = given("doors", HOSPITAL, **own, archive__dicomwebUrl="https://pacs/rs", archive__caSecret="ca")
    assert (web["DOORS_ARCHIVE"], web["DOORS_ARCHIVE_CA"]) == (
        "https://pacs/rs", "/etc/organloop/trust/archive.crt",
    )  # fmt: skip


def keys(pod: Pod) -> set[str]:
    return {
        one["valueFrom"]["secretKeyRef"]["key"]
        for container in pod.containers
        for one in container.get("env", ())
        if "secretKeyRef" in one.get("valueFrom", {})
    }


def test_what_browsers_reach_holds_no_password_of_the_worker_or_the_database() -> None:
    found = render(HOSPITAL)
    reached = {
        one["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for one in of_kind(found, "NetworkPolicy").values()
        for rule in one["spec"].get("ingress", ())
        if {"ipBlock": {"cidr": "10.20.0.0/16"}} in rule["from"]
    }
    assert reached == {"doors"}
    doors, pages = (pod_of(found, name) for name in ("doors", "pages"))
    assert keys(doors) == {"reader-user", "reader-password", "prefect-auth"}
    assert not {volume.get("persistentVolumeClaim") is None for volume in doors.spec["volumes"]} - {True}
    assert not keys(pages) & {"archive-password", "triton-release-key", "database-password"}


def test_doors_do_not_start_without_the_readers_account_and_pages_do_without_a_key() -> None:
    """A key of its own kind is made in the store, which all replicas see."""
    with pytest.raises(KeyError, match="reader-user"):
        given("doors", HOSPITAL, secret={"prefect-auth": "a:b"})
    older = {name: word for name, word in SECRET.items() if name not in ("session-key", "oidc-client-secret")}
    assert not {"ORGANLOOP_SESSION_KEY", "ORGANLOOP_OIDC_CLIENT_SECRET"} & set(
        given("pages", HOSPITAL, secret=older)
    )


def test_tokens_that_pages_make_are_checked_by_the_worker_with_the_same_key() -> None:
    for component in ("pages", "worker"):
        [container] = pod_of(render(HOSPITAL), component).spec["containers"]
        [key] = [one for one in container["env"] if one["name"] == "ORGANLOOP_SESSION_KEY"]
        wanted = {"name": "organloop", "key": "session-key", "optional": True}
        assert key["valueFrom"]["secretKeyRef"] == wanted
        places = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "store"}
        assert "/var/lib/organloop" in places


def test_of_the_store_the_pages_write_one_folder_which_is_made_before() -> None:
    pod = pod_of(render(HOSPITAL), "pages")
    [container], [folder] = pod.spec["containers"], pod.spec["initContainers"]
    home, people = (mount for mount in container["volumeMounts"] if mount["name"] == "store")
    assert home == {"name": "store", "mountPath": "/var/lib/organloop", "readOnly": True}
    assert people == {"name": "store", "mountPath": str(Settings(home=home["mountPath"]).people_folder),
                      "subPath": "people"}  # fmt: skip
    assert folder["command"] == ["mkdir", "-p", people["mountPath"]]


def test_ports_of_nodes_are_those_that_people_open() -> None:
    ports = {f"doors__ports__{door}": port for door, port in zip(LISTENS, (30443, 30843, 30943), strict=True)}
    found = render(HOSPITAL, doors__serviceType="NodePort", **ports)
    service = of_kind(found, "Service")["organloop-doors"]["spec"]
    assert [(one["port"], one["nodePort"]) for one in service["ports"]] == [(p, p) for p in ports.values()]
    read = of_kind(found, "ConfigMap")["organloop-settings"]["data"]
    assert read["ORGANLOOP_PAGES_ADDRESS"] == "https://organloop.hospital.example:30443"
    for service_type in ("ClusterIP", "LoadBalancer"):
        one = of_kind(render(HOSPITAL, doors__serviceType=service_type), "Service")["organloop-doors"]["spec"]
        assert not any("nodePort" in port for port in one["ports"])
        assert ("externalTrafficPolicy" in one) == (service_type == "LoadBalancer")


def test_helm_test_asks_every_door_by_the_address_that_people_open() -> None:
    found = render(HOSPITAL)
    read = of_kind(found, "ConfigMap")["organloop-settings"]["data"]
    [asking] = [pod for pod in pods(found) if pod.name == "organloop-test-doors"]
    asked = [word for word in asking.spec["containers"][0]["args"] if word.startswith("https://")]
    assert asked == [
        f"{read['ORGANLOOP_PAGES_ADDRESS']}/healthz",
        f"{read['ORGANLOOP_VIEWER_ADDRESS']}/door",
        f"{read['ORGANLOOP_DASHBOARD_ADDRESS']}/door",
    ]


def test_without_doors_there_are_no_pages_and_nothing_of_them() -> None:
    found = render(HOSPITAL, doors__enabled="false", people__unprovenActs="allowed")
    assert not {"doors", "pages"} & {pod.component for pod in pods(found)}
    assert not [name for _, name in names(found) if name.endswith(("-doors", "-pages", "-people"))]
    assert "_ADDRESS:" not in template(HOSPITAL, values=CLOSED).stdout


CLOSED = '{"doors.enabled": "false", "people.unprovenActs": "allowed"}'


def names(found: tuple[Manifest, ...]) -> set[tuple[str, str]]:
    return {(one["kind"], one["metadata"]["name"]) for one in found}


def test_pages_on_a_volume_of_one_node_are_one() -> None:
    one_node = {"store__accessModes": "{ReadWriteOnce}", "triton__replicas": 1, "worker__replicas": 1}
    assert "store.accessModes" in failure(HOSPITAL, **one_node)
    render(HOSPITAL, **one_node, pages__replicas=1)
