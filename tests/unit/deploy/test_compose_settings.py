"""What a site says to Compose: every setting can be said, is explained, and reaches who needs it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deploy import preparation
from deploy.cli.main import app
from deploy.images import compose_settings
from deploy.runs import deployments
from deploy.stack import prefect
from services.settings import Settings
from tests.conftest import ROOT
from tests.support.compose import interpolated

DEPLOY = ROOT / "deploy"
FILES = {name: yaml.safe_load((DEPLOY / name).read_text()) for name in compose_settings.FILES}
SERVICES = FILES["compose.yaml"]["services"]
EXAMPLE = (DEPLOY / compose_settings.EXAMPLE).read_text()
VERBS = {"ORGANLOOP_STARTER", "ORGANLOOP_TUNING_ENABLED", "ORGANLOOP_FORWARD_TO"}
"""Read by a verb or a program, not by the settings."""


def said(service: str) -> dict[str, str]:
    """Return what a service is given of ours."""
    environment = SERVICES[service].get("environment", {})
    return {name: str(value) for name, value in environment.items() if name.startswith("ORGANLOOP_")}


def fields(names: set[str]) -> set[str]:
    return {name.removeprefix("ORGANLOOP_").lower() for name in names}


def test_the_example_is_as_the_program_writes_it():
    written = compose_settings.example(DEPLOY)
    assert written == EXAMPLE, "run: python -m deploy.images.compose_settings"


def test_every_setting_can_be_said_or_is_a_secret_or_compose_s_own_and_each_is_one_of_these():
    variables = fields(set(compose_settings.taken(DEPLOY))) & set(Settings.model_fields)
    kinds = [variables, compose_settings.SECRET, compose_settings.MADE, set(compose_settings.FIXED)]
    assert set.union(*kinds) == set(Settings.model_fields)
    assert sum(map(len, kinds)) == len(Settings.model_fields)


def test_what_teaches_and_what_promotes_are_told_their_own_image():
    assert said("tuner")["ORGANLOOP_IMAGE_DIGEST"] == "${ORGANLOOP_TRAINER_DIGEST:-}"
    assert said("worker")["ORGANLOOP_IMAGE_DIGEST"] == "${ORGANLOOP_IMAGE_DIGEST:-}"
    others = {name: value for name, value in said("tuner").items() if name != "ORGANLOOP_IMAGE_DIGEST"}
    assert others.items() <= said("worker").items(), "nothing else is the tuner's own"


def test_every_variable_is_in_the_example_once_with_the_default_that_holds():
    lines = dict(re.findall(r"^#(\w+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert lines.keys() == compose_settings.taken(DEPLOY).keys()
    for name, default in compose_settings.taken(DEPLOY).items():
        if default:
            assert lines[name] == default
    assert (lines["ORGANLOOP_AUDIT_SHARE"], lines["ORGANLOOP_STARTER"]) == ("0.05", "false")


def test_what_compose_explains_itself_is_there():
    assert compose_settings.OWN.keys() <= compose_settings.taken(DEPLOY).keys()
    assert compose_settings.FIXED.keys() <= Settings.model_fields.keys()


def test_no_secret_can_be_said_in_it():
    secret = {f"ORGANLOOP_{name.upper()}" for name in compose_settings.SECRET | compose_settings.MADE}
    assert not secret & set(re.findall(r"\w+", EXAMPLE)) - {"ORGANLOOP_ARCHIVE_USER"}
    held = {
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation) and name not in compose_settings.FIXED
    }
    assert held <= compose_settings.SECRET | compose_settings.MADE


def test_a_variable_that_nobody_explains_stops_the_example(tmp_path: Path):
    for name in compose_settings.FILES:
        (tmp_path / name).write_text("a: ${ORGANLOOP_UNHEARD_OF:-}\n")
    with pytest.raises(ValueError, match="ORGANLOOP_UNHEARD_OF is explained nowhere"):
        compose_settings.example(tmp_path)


def test_every_setting_that_is_given_exists():
    for service in SERVICES:
        assert fields(set(said(service)) - VERBS) <= set(Settings.model_fields), service


def test_who_works_on_studies_is_given_every_setting_about_them():
    about_people = {name for name in fields(set(said("pages"))) if name not in fields(set(said("worker")))}
    assert about_people == {
        "pages_address", "viewer_address", "dashboard_address", "oidc_issuer", "oidc_client", "oidc_scopes",
        "oidc_groups_claim", "trusted_proxies", "reader_groups", "approver_groups", "operator_groups",
        "auditor_groups", "archive_reader_user",
    }  # fmt: skip
    can_be_said = fields(set(compose_settings.taken(DEPLOY))) & set(Settings.model_fields)
    at_doors_only = {"pages_port", "viewer_port", "dashboard_port", "archive_dicom_port"}
    assert can_be_said - about_people - at_doors_only <= fields(set(said("worker")))
    for service in ("prepare", "register", "tuner"):
        assert set(said(service)) - VERBS == set(said("worker")), service


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_is_given_where_nobody_says_anything_are_settings_it_starts_with(
    service: str, monkeypatch: pytest.MonkeyPatch
):
    """An empty variable is none: the program's default holds, and is said in one place."""
    for name in [name for name in os.environ if name.startswith("ORGANLOOP_")]:
        monkeypatch.delenv(name)
    for name, value in said(service).items():
        monkeypatch.setenv(name, interpolated(value))
    settings = Settings(_secrets_dir=None)
    assert settings.audit_share == Settings.model_fields["audit_share"].default
    assert settings.approval_required is None
    assert settings.series_rules is settings.witness_file is settings.dicomweb_url is None


def test_a_site_with_dicomweb_alone_has_no_orthanc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ORGANLOOP_ORTHANC_URL", "")
    monkeypatch.setenv("ORGANLOOP_DICOMWEB_URL", "https://pacs.example/dicom-web")
    assert said("worker")["ORGANLOOP_ORTHANC_URL"] == "${ORGANLOOP_ORTHANC_URL-http://archive:8042}"
    assert Settings(_secrets_dir=None).orthanc_url is None


def test_an_empty_variable_does_not_hide_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "organloop_archive_user").write_text("filed\n")
    monkeypatch.setenv("ORGANLOOP_ARCHIVE_USER", "")
    assert Settings(_secrets_dir=tmp_path).archive_user == "filed"


@pytest.mark.parametrize(("value", "wanted"), [(None, False), ("", False), ("false", False), ("true", True)])
def test_the_demonstration_release_is_taken_in_only_where_a_variable_says_so(
    value: str | None, wanted: bool, monkeypatch: pytest.MonkeyPatch
):
    assert SERVICES["prepare"]["command"] == ["organloop", "prepare"]
    assert said("prepare")["ORGANLOOP_STARTER"] == "${ORGANLOOP_STARTER:-false}"
    asked: list[bool] = []
    monkeypatch.setattr(preparation, "prepare", lambda *_, starter, **__: asked.append(starter))
    if value is not None:
        monkeypatch.setenv("ORGANLOOP_STARTER", value)
    done = CliRunner().invoke(app, ["prepare"])
    assert done.exit_code == 0, done.output
    assert asked == [wanted]


def test_a_word_that_is_no_yes_or_no_takes_in_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ORGANLOOP_STARTER", "perhaps")
    assert CliRunner().invoke(app, ["prepare"]).exit_code == 2


@pytest.mark.parametrize(("value", "wanted"), [(None, True), ("", True), ("true", True), ("false", False)])
def test_nights_learn_unless_a_variable_says_no(
    value: str | None, wanted: bool, monkeypatch: pytest.MonkeyPatch
):
    assert said("register")["ORGANLOOP_TUNING_ENABLED"] == "${ORGANLOOP_TUNING_ENABLED:-true}"
    asked: list[bool] = []
    monkeypatch.setattr(deployments, "register", lambda *_, learns, **__: asked.append(learns) or ())
    monkeypatch.setattr(prefect, "wait_for_api", lambda *_: None)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    if value is not None:
        monkeypatch.setenv("ORGANLOOP_TUNING_ENABLED", value)
    done = CliRunner().invoke(app, ["register"])
    assert done.exit_code == 0, done.output
    assert asked == [wanted]


def test_times_are_the_site_s_in_every_service_and_nights_too():
    for name, service in SERVICES.items():
        if "POSTGRES_USER" not in service.get("environment", {}) and name not in ("segmenter", "prefect"):
            assert service["environment"]["TZ"] == "${ORGANLOOP_TIMEZONE:-UTC}", name
    assert SERVICES["register"]["command"][-2:] == ["--timezone", "${ORGANLOOP_TIMEZONE:-UTC}"]


def mebibytes(limit: str) -> int:
    number, unit = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)([mg])\}?", limit).groups()
    return int(number) * (1024 if unit == "g" else 1)


def test_each_run_has_its_part_of_the_worker_s_memory_and_a_study_half_of_the_segmenter_s():
    worker = SERVICES["worker"]
    at_once = int(worker["command"][worker["command"].index("--at-once") + 1])
    default = compose_settings.taken(DEPLOY)
    assert int(default["ORGANLOOP_STUDY_MEMORY_MIB"]) == (mebibytes(worker["mem_limit"]) - 640) // at_once
    assert int(default["ORGANLOOP_SERVING_MEMORY_MIB"]) == mebibytes(SERVICES["segmenter"]["mem_limit"]) // 2


def test_the_page_s_table_of_memory_is_that_of_the_file_and_its_sums_are_right():
    page = (DEPLOY / "compose" / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) GiB \|", page, re.MULTILINE))
    assert {name: float(limit) * 1024 for name, limit in rows.items()} == {
        name: mebibytes(service["mem_limit"]) for name, service in SERVICES.items()
    }
    stays = {name for name, service in SERVICES.items() if "healthcheck" in service}
    together = sum(mebibytes(SERVICES[name]["mem_limit"]) for name in stays) / 1024
    assert f"| **all that stays** | **{together:g} GiB** |" in page


def test_how_many_networks_there_are_is_what_the_page_says():
    page = (DEPLOY / "compose" / "README.md").read_text()
    assert f"{len(FILES['compose.yaml']['networks'])} networks" in page


def test_with_an_archive_of_the_site_s_own_ours_is_not_started_nor_waited_for():
    file = FILES["compose.own-archive.yaml"]["services"]
    assert {name for name, service in file.items() if service.get("profiles")} == {"archive", "forwarder"}
    waiting = {
        name
        for name, service in SERVICES.items()
        if "archive" in service.get("depends_on", {}) and name != "forwarder"
    }
    assert {name for name, service in file.items() if "depends_on" in service} == waiting
    for name in waiting:
        assert file[name]["depends_on"] == {"archive": {"condition": "service_healthy", "required": False}}
    outside = {name for name, network in FILES["compose.yaml"]["networks"].items() if not network}
    for name in ("worker", "pages", "doors"):
        reached = set(SERVICES[name]["networks"]) | set(file[name].get("networks", ()))
        assert reached & (outside | set(FILES["compose.own-archive.yaml"]["networks"])), name


def test_who_asks_an_archive_is_told_where_the_site_s_own_is():
    for name in ("worker", "pages", "doors"):
        environment = said(name)
        for variable in ("ORTHANC_URL", "DICOMWEB_URL", "ARCHIVE_CA_FILE"):
            assert f"ORGANLOOP_{variable}" in environment, name
        assert any(volume.endswith(":/etc/organloop/site:ro,z") for volume in SERVICES[name]["volumes"])


def test_a_gpu_is_the_segmenter_s_and_the_target_everybody_s_who_asks_it():
    file = FILES["compose.gpu.yaml"]["services"]
    [device] = file["segmenter"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    asking = {name for name in SERVICES if "ORGANLOOP_TRITON_TARGET" in said(name)}
    told = {
        name
        for name, one in file.items()
        if one.get("environment", {}).get("ORGANLOOP_TRITON_TARGET") == "onnxruntime"
    }
    assert told == asking
