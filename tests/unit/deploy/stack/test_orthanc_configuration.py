"""What Compose's archive is told, in the chart's words; what cannot work stops it with a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deploy.stack.archive import TEMPLATE
from deploy.stack.orthanc.container import CERTIFICATES, common, configured
from deploy.stack.orthanc.modalities import WORDS, Modality, Unfit, read
from tests.conftest import ROOT
from tests.support.compose import variables_of

PACS = '[pacs]\naet = "PACS"\nhost = "10.0.5.20"\nport = 11112\n'


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "modalities.toml").write_text(PACS)
    (tmp_path / "users.json").write_text('{"RegisteredUsers": {"organloop": "word"}}')
    for name in CERTIFICATES:
        (tmp_path / name).touch()
    places = {"MODALITIES": "modalities.toml", "USERS": "users.json", "TLS": ""}
    return variables_of("archive") | {f"GATEWAY_{k}": str(tmp_path / v) for k, v in places.items()}


def test_a_modality_may_store_and_echo_and_more_only_where_the_file_says_so():
    known = read(
        PACS + '[ws]\naet = "WS 1"\nhost = "10.0.5.9"\nport = 104\nmayQuery = true\nmayCommit = true\n'
    )
    assert known == {
        "pacs": Modality("PACS", "10.0.5.20", 11112),
        "ws": Modality("WS 1", "10.0.5.9", 104, may_query=True, may_commit=True),
    }
    rights = {name: value for name, value in known["pacs"].entry().items() if name.startswith("Allow")}
    assert {name for name, given in rights.items() if given} == {"AllowEcho", "AllowStore"}
    assert {name for name, given in known["ws"].entry().items() if given is False} == {
        "AllowFindWorklist",
        "UseDicomTls",
    }


def test_its_words_are_those_of_the_chart():
    schema = json.loads((ROOT / "helm" / "organloop" / "values.schema.json").read_text())
    assert schema["definitions"]["modality"]["properties"].keys() == WORDS.keys()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[pacs", "no TOML"),
        ("pacs = 1", "one modality is a table"),
        ('["p q"]\naet = "P"', "one modality is a table"),
        ('[pacs]\naet = "PACS"\nhost = "10.0.5.20"', r"\[pacs\] says no port"),
        (PACS + "mayquery = true", "mayquery is not known"),
        (PACS + 'mayQuery = "no"', "mayQuery is to be true or false"),
        (PACS.replace("11112", '"11112"'), "port is to be a number"),
        (PACS.replace("11112", "true"), "port is to be a number"),
        (PACS.replace("11112", "70000"), "from 1 to 65535"),
        (PACS.replace('"PACS"', '"A TITLE OF SEVENTEEN"'), "1 to 16 characters"),
        (PACS.replace('"PACS"', "'A\\B'"), "none of them a backslash"),
        (PACS.replace("10.0.5.20", "pacs.hospital"), "IPv4 address it really comes from"),
    ],
)
def test_an_entry_that_says_too_little_or_something_else_is_not_guessed(text: str, reason: str):
    with pytest.raises(Unfit, match=reason):
        read(text)


def test_without_certificates_dimse_is_plain_and_with_all_three_both_sides_show_theirs(
    variables: dict[str, str], tmp_path: Path
):
    plain = configured(variables)
    assert plain["DicomTlsEnabled"] is False
    assert plain["DicomModalities"]["pacs"]["UseDicomTls"] is False
    for name in CERTIFICATES:
        (tmp_path / name).write_text("PEM")
    secured = configured(variables)
    assert secured["DicomTlsEnabled"] is secured["DicomTlsRemoteCertificateRequired"] is True
    assert secured["DicomModalities"]["pacs"]["UseDicomTls"] is True
    (tmp_path / "ca.crt").write_text("\n")
    with pytest.raises(Unfit, match=r"no ca\.crt: give all three for TLS, none for plain"):
        configured(variables)


@pytest.mark.parametrize("name", ["ORGANLOOP_FORWARD_TO", "ORGANLOOP_QUERY_MODALITY"])
def test_results_go_to_nobody_and_studies_come_from_nobody_who_is_not_known(
    variables: dict[str, str], name: str
):
    assert configured(variables | {name: "pacs"})
    with pytest.raises(Unfit, match=f"{name} is 'packs', and the modalities' file knows pacs"):
        configured(variables | {name: "packs"})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("GATEWAY_AET", "", "GATEWAY_AET is not set"),
        ("GATEWAY_AET", "ORGANLOOP_OF_THE_HOSPITAL", "no application entity title"),
        ("GATEWAY_MEGABYTES", "200 GB", "a whole number above 0"),
        ("GATEWAY_MEGABYTES", "0", "a whole number above 0"),
        ("GATEWAY_STABLE_SECONDS", "-1", "a whole number above 0"),
        ("GATEWAY_CHECK_HOSTS", "no", "say true or false"),
        ("GATEWAY_MODALITIES", "/nowhere/modalities.toml", "cannot be read"),
        ("GATEWAY_USERS", "/nowhere/users.json", "make-secrets makes them"),
    ],
)
def test_what_cannot_work_is_said(variables: dict[str, str], name: str, value: str, reason: str):
    with pytest.raises(Unfit, match=reason):
        configured(variables | {name: value})


def test_who_checks_no_addresses_has_said_so(variables: dict[str, str]):
    assert configured(variables)["DicomCheckModalityHost"] is True
    assert configured(variables | {"GATEWAY_CHECK_HOSTS": "false"})["DicomCheckModalityHost"] is False


def test_nobody_is_known_in_the_file_that_is_shipped_and_its_example_can_be_taken_as_it_is():
    shipped = (ROOT / "deploy" / "compose" / "site" / "modalities.toml").read_text()
    assert read(shipped) == {}
    lines = [line.removeprefix("# ") for line in shipped.splitlines() if line.startswith(("# [", "# "))]
    example = [line for line in lines if line.startswith("[") or " = " in line]
    assert read("\n".join(example)) == {
        "pacs": Modality("PACS", "10.0.5.20", 11112),
        "ct-1": Modality("CT1", "10.0.6.11", 104),
    }


def test_the_local_stack_s_and_compose_s_archive_have_one_source(variables: dict[str, str]):
    assert configured(variables).items() >= common().items()
    assert json.loads(re.sub(r"(?m)^\s*//.*$", "", TEMPLATE.read_text())) == common()
    assert common()["DicomAlwaysAllowStore"] is False
