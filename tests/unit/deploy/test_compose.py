"""The Compose file: valid, closed, without secrets, and of the images and settings there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from services.settings import Settings
from tests.conftest import ROOT

FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES = COMPOSE["services"]
ONCE = {"prepare", "register", "backup", "restore"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_it_follows_the_specification():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    judged = subprocess.run(command, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout


def test_every_setting_it_sets_exists():
    variables = {name for service in SERVICES.values() for name in service.get("environment", {})}
    ours = {name for name in variables if name.startswith("ORGANLOOP_")}
    assert {name.removeprefix("ORGANLOOP_").lower() for name in ours} <= set(Settings.model_fields)
    assert len(ours) >= 5


def test_its_secrets_are_settings_or_another_programs_and_files_git_leaves_alone():
    files = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}
    settings = {name.removeprefix("organloop_") for name in files if name.startswith("organloop_")}
    assert settings == {"database_url", "archive_password"} <= set(Settings.model_fields)
    assert all(file.startswith("./compose/secrets/") for file in files.values())
    assert "deploy/compose/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_no_secret_is_in_it():
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY|DATABASE_URL|AUTH", variable):
                assert str(value).startswith("/run/secrets/"), f"{name}: {variable}"
    assert not re.search(r"//[^/\s]*:[^/\s]*@", FILE.read_text()), "a password in an address"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_no_more_than_it_must(name):
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not [v for v in service.get("volumes", ()) if v.startswith(".") and not v.endswith(":ro")]


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONCE))
def test_a_service_that_stays_says_whether_it_is_well(name):
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_backup_reads_what_the_workers_write_and_may_change_none_of_it():
    backup = SERVICES["backup"]
    assert backup["profiles"] == ["backup"]
    home, kept = backup["volumes"]
    assert home == "home:/var/lib/organloop:ro"
    assert home.removesuffix(":ro") in SERVICES["worker"]["volumes"]
    assert kept.rpartition(":")[2] == backup["command"][backup["command"].index("--out") + 1]
    assert secrets_of("backup") == {"organloop_database_url": "database_backup_url"}
    made = (ROOT / "deploy" / "images" / "worker.Dockerfile").read_text()
    assert f"install --directory --owner 10001 --group 10001 {'/var/lib/organloop'} " in made
    assert kept.rpartition(":")[2] in made, "or the volume would be root's"
    assert SERVICES["restore"]["volumes"] == [home.removesuffix(":ro"), f"{kept}:ro"]


def secrets_of(service: str) -> dict[str, str]:
    """Return which secret lies under which name in a container."""
    named = [
        one if isinstance(one, dict) else {"source": one} for one in SERVICES[service].get("secrets", ())
    ]
    return {one.get("target", one["source"]): one["source"] for one in named}


def test_nobody_but_who_prepares_and_restores_has_the_owner_s_password():
    for name in SERVICES.keys() - {"database"}:
        held = secrets_of(name)
        owner = [target for target, source in held.items() if source == "organloop_database_url"]
        assert owner == (["organloop_database_owner_url"] if name in ("prepare", "restore") else []), name
        if name in ("worker", "tuner", "register", "prepare", "restore"):
            assert held["organloop_database_url"] == "database_writer_url", name
    assert {f"organloop_database_{kind}_url" for kind in ("owner", "reader", "backup")} <= secrets_of(
        "prepare"
    ).keys()


def test_studies_are_worked_on_on_a_volume_of_their_own_that_is_not_the_root_s():
    work = SERVICES["worker"]["environment"]["ORGANLOOP_WORK"]
    for name in ("worker", "tuner"):
        assert f"work:{work}" in SERVICES[name]["volumes"]
    assert not work.startswith("/var/lib/organloop/"), "the home may lie elsewhere"
    for image in ("worker", "trainer"):
        made = (ROOT / "deploy" / "images" / f"{image}.Dockerfile").read_text()
        [line] = re.findall(r"install --directory --owner 10001 (?:.*\\\n)*.*", made)
        assert work in line.split(), image


def test_what_is_waited_for_can_come():
    for name, service in SERVICES.items():
        for other, awaited in service.get("depends_on", {}).items():
            once = awaited["condition"] == "service_completed_successfully"
            assert once == (other in ONCE), f"{name} waits for {other}"


def test_nothing_is_published_beyond_this_machine_unless_a_person_says_so():
    published = {port for service in SERVICES.values() for port in service.get("ports", ())}
    assert len(published) == 3
    for port in published:
        assert port.startswith(("127.0.0.1:", "${ORGANLOOP_ADDRESS:-127.0.0.1}:")), port


def test_only_what_is_published_has_a_way_out():
    for name, service in SERVICES.items():
        assert ("outside" in service["networks"]) == ("ports" in service), name
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_its_images_are_those_of_the_list():
    table = tomllib.loads((ROOT / "deploy" / "images" / "images.toml").read_text())
    listed = {
        entry.get("reference", f"localhost/{name}:{PROJECT['version']}") for name, entry in table.items()
    }
    for name, service in SERVICES.items():
        variable, default = re.fullmatch(r"\$\{(ORGANLOOP_[A-Z]+_IMAGE):-(.*)\}", service["image"]).groups()
        assert default in listed, f"{name}: {variable}"


def test_secrets_are_made_once_and_fit_each_other(tmp_path):
    folder = tmp_path / "secrets"
    command = [str(ROOT / "deploy" / "compose" / "make-secrets"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    first = {path.name: path.read_text() for path in folder.iterdir()}
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert first == {path.name: path.read_text() for path in folder.iterdir()}
    assert told.splitlines() == [
        f"kept {name}"
        for name in (
            "database_password",
            "organloop_database_url",
            "database_writer_url",
            "database_reader_url",
            "database_backup_url",
            "organloop_archive_password",
            "archive_users.json",
        )
    ]
    assert {secret["file"].rsplit("/", 1)[1] for secret in COMPOSE["secrets"].values()} == set(first)
    users = json.loads(first["archive_users.json"])["RegisteredUsers"]
    assert users == {"organloop": first["organloop_archive_password"]}
    assert len(first["database_password"]) == 48
    assert f":{first['database_password']}@database:5432/" in first["organloop_database_url"]
    roles = {first[f"database_{role}_url"] for role in ("writer", "reader", "backup")}
    assert len(roles) == 3
    assert not any(first["database_password"] in one for one in roles)
    assert folder.stat().st_mode & 0o777 == 0o700  # others on the host do not get at the files in it


def test_a_setting_comes_from_a_secret_file_unless_a_variable_says_otherwise(tmp_path, monkeypatch):
    (tmp_path / "organloop_archive_password").write_text("from the file\n")
    (tmp_path / "organloop_archive_user").write_text("filed\n")
    monkeypatch.setenv("ORGANLOOP_ARCHIVE_USER", "named")
    settings = Settings(_secrets_dir=tmp_path)
    assert settings.archive_password.get_secret_value() == "from the file"
    assert settings.archive_user == "named"


def test_every_variable_it_takes_is_in_the_page_for_it():
    page = (ROOT / "deploy" / "images" / "README.md").read_text()
    for name, default in set(re.findall(r"\$\{(\w+):-([^}]*)\}", FILE.read_text())):
        assert f"`{name}`" in page, name
        assert f"`{default}`" in page or default.startswith("localhost/organloop-"), name
