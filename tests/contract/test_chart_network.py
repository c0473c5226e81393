"""Who may talk to whom, on the manifests as Helm renders them: default-deny, and the few paths."""

from __future__ import annotations

import pytest

from tests.support.chart import EXAMPLES, HOSPITAL, MINIMAL, of_kind, pods, render


@pytest.fixture(params=EXAMPLES)
def found(request):
    return render(*EXAMPLES[request.param])


def policies(found):
    return of_kind(found, "NetworkPolicy")


def selected(policy):
    return policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")


def test_everything_is_denied_to_every_pod(found):
    deny = policies(found)["organloop-default-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & deny.keys()
    for pod in pods(found):
        assert deny["podSelector"]["matchLabels"].items() <= pod.labels.items(), pod.name


def paths(found, direction, side):
    """Return (who, other, port) of every path between components."""
    return {
        (selected(one), peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"], port["port"])
        for one in policies(found).values()
        for rule in one["spec"].get(direction, ())
        for peer in rule[side]
        if "podSelector" in peer
        for port in rule["ports"]
    }


def test_the_paths_inside_are_these_and_open_at_both_ends(found):
    out = paths(found, "egress", "to")
    assert {(a, b, port) for b, a, port in paths(found, "ingress", "from")} == out
    components = {pod.component for pod in pods(found)}
    wanted = {
        *((one, "prefect", 4200) for one in ("worker", "register", "launcher", "tuning-job", "test")),
        ("worker", "triton", 8001),
        ("first-release", "triton", 8001),
        ("test", "triton", 8080),
        *((one, "gateway", 8443) for one in ("worker", "test")),
    }
    if "doors" in components:
        wanted |= {("doors", "pages", 8500), ("doors", "prefect", 4200), ("pages", "prefect", 4200)}
        wanted |= {("doors", "gateway", 8443), ("pages", "gateway", 8443), ("pages", "triton", 8001)}
        wanted |= {("test", "doors", port) for port in (8500, 3000, 4200)}
    if "metrics" in components:
        wanted |= {("metrics", "triton", 8001)}
    if "database" in components:
        users = {"worker", "triton", "prefect", "tuning-job", "backup", "metrics", "pages"}
        users = (users | {"first-release"}) & components
        wanted |= {(one, "database", 5432) for one in users}
    assert out == wanted


def test_every_path_leads_to_a_port_that_is_listened_on(found):
    listened = {
        (pod.component, port["containerPort"])
        for pod in pods(found)
        for container in pod.containers
        for port in container.get("ports", ())
    }
    assert {(to, port) for _, to, port in paths(found, "egress", "to")} <= listened


def test_every_service_leads_to_pods_that_listen(found):
    named = {
        (pod.component, port["name"])
        for pod in pods(found)
        for container in pod.containers
        for port in container.get("ports", ())
    }
    for name, service in of_kind(found, "Service").items():
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        for port in service["spec"]["ports"]:
            assert (component, port["targetPort"]) in named, name


def outside(found):
    return {
        (selected(one), direction, peer["ipBlock"]["cidr"], port["port"])
        for one in policies(found).values()
        for direction, side in (("ingress", "from"), ("egress", "to"))
        for rule in one["spec"].get(direction, ())
        for peer in rule[side]
        if "ipBlock" in peer
        for port in rule["ports"]
    }


def test_the_ways_out_and_in_are_the_ones_the_values_name():
    assert outside(render(HOSPITAL)) == {
        ("gateway", "ingress", "10.0.5.20/32", 4242),
        ("gateway", "ingress", "10.0.6.11/32", 4242),
        ("gateway", "egress", "10.0.5.20/32", 11112),
        ("gateway", "egress", "10.0.6.11/32", 104),
        *(("doors", "ingress", "10.20.0.0/16", port) for port in (8500, 3000, 4200)),
        ("pages", "egress", "10.0.8.4/32", 443),
        ("worker", "egress", "10.0.7.9/32", 6514),
        ("launcher", "egress", "10.0.1.0/29", 443),
        ("launcher", "egress", "10.0.1.0/29", 6443),
        *(
            (one, "egress", "10.0.5.7/32", 5432)
            for one in (
                *("worker", "triton", "prefect", "tuning-job", "backup", "metrics", "pages"),
                "first-release",
            )
        ),
    }
    namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    for part, port in (("triton", 8002), ("metrics", 9090)):
        gate = policies(render(HOSPITAL))[f"organloop-prometheus-to-{part}"]["spec"]["ingress"]
        assert gate == [{"from": [namespace], "ports": [{"protocol": "TCP", "port": port}]}]


def test_names_are_asked_for_where_the_cluster_answers_them():
    """OpenShift's pods listen at 5353 in a namespace of their own; a cache on the node is no pod at all."""

    def asked(**values):
        [rule] = policies(render(MINIMAL, **values))["organloop-names"]["spec"]["egress"]
        return rule["to"], {(port["protocol"], port["port"]) for port in rule["ports"]}

    def inside(name):
        return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}

    assert asked() == ([inside("kube-system")], {("UDP", 53), ("TCP", 53)})
    values = {
        "networkPolicy__dnsNamespace": "openshift-dns",
        "networkPolicy__dnsPorts": "{5353}",
        "networkPolicy__dnsNetworks": "{169.254.20.10/32}",
    }
    peers = [inside("openshift-dns"), {"ipBlock": {"cidr": "169.254.20.10/32"}}]
    assert asked(**values) == (peers, {("UDP", 5353), ("TCP", 5353)})


def test_nobody_may_send_or_scrape_until_named():
    found = render(MINIMAL)
    assert {who for who, *_ in outside(found)} == {"launcher"}
    assert not [name for name in policies(found) if "prometheus" in name]
    assert "metrics" not in {pod.component for pod in pods(found)}


def test_an_archive_of_the_hospital_takes_the_gateways_place():
    values = {"gateway__enabled": "false", "archive__orthancUrl": "https://pacs:8043"}
    found = render(MINIMAL, **values, archive__networks="{10.1.2.3/32}", archive__port=8043)
    assert "gateway" not in {pod.component for pod in pods(found)}
    assert ("worker", "egress", "10.1.2.3/32", 8043) in outside(found)
    settings = of_kind(found, "ConfigMap")["organloop-settings"]["data"]
    assert settings["ORGANLOOP_ORTHANC_URL"] == "https://pacs:8043"
    assert "ORGANLOOP_ARCHIVE_CA_FILE" not in settings


def test_archive_and_database_are_reached_by_tls():
    settings = of_kind(render(HOSPITAL), "ConfigMap")["organloop-settings"]["data"]
    assert settings["ORGANLOOP_ORTHANC_URL"] == "https://organloop-gateway:8443"
    assert settings["ORGANLOOP_ARCHIVE_CA_FILE"] == "/etc/organloop/trust/archive.crt"
    assert settings["PGSSLMODE"] == "verify-full"
    assert settings["PGSSLROOTCERT"] == "/etc/organloop/trust/database.crt"


def test_the_witness_is_told_by_the_worker_over_tls_with_its_own_certificate():
    found = render(HOSPITAL)
    settings = of_kind(found, "ConfigMap")["organloop-settings"]["data"]
    assert settings["ORGANLOOP_WITNESS_SYSLOG"] == "syslog.hospital.example:6514"
    assert settings["ORGANLOOP_WITNESS_CA_FILE"] == "/etc/organloop/trust/witness.crt"
    [trust] = [
        v
        for v in of_kind(found, "Deployment")["organloop-worker"]["spec"]["template"]["spec"]["volumes"]
        if v["name"] == "trust"
    ]
    trusted = [one["secret"]["items"][0]["path"] for one in trust["projected"]["sources"]]
    assert trusted == ["archive.crt", "database.crt", "witness.crt", "provider.crt"]
