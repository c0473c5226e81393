"""The Compose file: valid, closed, without secrets, and of the images and settings there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from itertools import combinations

import pytest
import yaml

from deploy.containers import with_prefect_password
from deploy.images import compose_settings
from services.settings import Settings
from tests.conftest import ROOT
from tests.support.compose import interpolated

FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES = COMPOSE["services"]
ONCE = {"prepare", "register", "backup", "restore"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", compose_settings.FILES)
def test_it_follows_the_specification(name, tmp_path):
    file = tmp_path / name
    file.write_text(json.dumps(interpolated(yaml.safe_load((ROOT / "deploy" / name).read_text()))))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    judged = subprocess.run(command, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout


def test_its_secrets_are_settings_or_another_programs_and_files_git_leaves_alone():
    files = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}
    targets = {target for service in SERVICES for target in secrets_of(service)}
    settings = {name.removeprefix("organloop_") for name in targets if name.startswith("organloop_")}
    assert settings == compose_settings.SECRET <= set(Settings.model_fields)
    default = "${ORGANLOOP_SECRETS_FOLDER:-./compose/secrets}/"
    assert all(file.startswith(default) for file in files.values())
    assert "deploy/compose/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_no_secret_is_in_it():
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            public = variable == "ORGANLOOP_RELEASE_KEYS"  # a file of public keys
            if re.search("PASSWORD|SECRET|TOKEN|KEY|DATABASE_URL|AUTH", variable) and not public:
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
    for volume in service.get("volumes", ()):
        source = re.sub(r"^\$\{\w+:-([^}]*)\}", r"\1", volume)
        options = source.split(":")[2].split(",") if source.count(":") == 2 else []
        assert not source.startswith(".") or "ro" in options
        assert not volume.startswith(("$", ".")) or "z" in options, "under SELinux a folder wants its label"


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONCE))
def test_a_service_that_stays_says_whether_it_is_well(name):
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_a_service_is_given_the_secrets_it_asks_with_and_no_others():
    keys = {"organloop_triton_serving_key", "organloop_triton_release_key"}
    owner, writer = "organloop_database_url", "database_writer_url"
    wanted = {
        "database": {"database_password"},
        "archive": {"archive_users", "dimse_certificate", "dimse_key", "dimse_authority"},
        "forwarder": {"organloop_archive_password"},
        "metrics": {"database_reader_url", "organloop_triton_serving_key"},
        "pages": {
            writer,
            "archive_reader_password",
            "organloop_oidc_client_secret",
            "organloop_tell",
            "organloop_triton_serving_key",
            "prefect_auth",
        },
        "doors": {"archive_reader_password", "prefect_auth", "doors_certificate", "doors_key"},
        "prefect": {"prefect_auth"},
        "register": {"prefect_auth"},
        "prepare": {owner, writer, "database_reader_url", "database_backup_url"},
        "segmenter": keys,
        "worker": {writer, "organloop_archive_password", "prefect_auth"} | keys,
        "tuner": {writer, "prefect_auth"},
        "backup": {"database_backup_url"},
        "restore": {owner, writer},
    }
    given = {
        name: {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}
        for name, service in SERVICES.items()
    }
    assert {name: secrets for name, secrets in given.items() if secrets} == wanted


def test_who_asks_prefect_or_is_it_has_its_password_from_the_file():
    asking = {name for name, one in SERVICES.items() if "prefect_auth" in one.get("secrets", ())}
    for name in asking - {"doors"}:
        assert SERVICES[name]["command"][:3] == ["python", "-m", "deploy.containers.with_prefect_password"]


@pytest.mark.parametrize(("content", "reason"), [(None, "make-secrets makes it"), ("\n", "is empty")])
def test_no_prefect_server_starts_without_a_password(tmp_path, monkeypatch, content, reason):
    monkeypatch.setattr(with_prefect_password, "SECRET", tmp_path / "prefect_auth")
    if content is not None:
        (tmp_path / "prefect_auth").write_text(content)
    with pytest.raises(SystemExit, match=reason):
        with_prefect_password.main()


def test_the_password_is_in_the_environment_of_the_command_it_becomes(tmp_path):
    (tmp_path / "prefect_auth").write_text("organloop:word\n")
    code = (
        "import pathlib, sys; from deploy.containers import with_prefect_password as it; "
        f"it.SECRET = pathlib.Path({str(tmp_path / 'prefect_auth')!r}); it.main()"
    )
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
    ask = f"import os; print(*(os.environ[name] for name in {names}))"
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-c", ask], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "organloop:word organloop:word\n", done.stderr


def test_the_backup_reads_what_the_workers_write_and_may_change_none_of_it():
    backup = SERVICES["backup"]
    assert backup["profiles"] == ["backup"]
    home, kept = backup["volumes"]
    assert home == "home:/var/lib/organloop:ro"
    assert home.removesuffix(":ro") in SERVICES["worker"]["volumes"]
    folder = backup["command"][backup["command"].index("--out") + 1]
    assert kept.endswith(f":{folder}:z")
    assert secrets_of("backup") == {"organloop_database_url": "database_backup_url"}
    made = (ROOT / "deploy" / "images" / "worker.Dockerfile").read_text()
    assert f"install --directory --owner 10001 --group 10001 {'/var/lib/organloop'} " in made
    assert folder in made, "or the volume would be root's"
    assert SERVICES["restore"]["volumes"] == [home.removesuffix(":ro"), f"{kept.removesuffix('z')}ro,z"]


def test_the_forwarder_s_own_volume_is_not_the_root_s():
    [volume] = SERVICES["forwarder"]["volumes"]
    folder = volume.partition(":")[2]
    assert f"--cursor={folder}/cursor.json" in SERVICES["forwarder"]["command"]
    assert folder in (ROOT / "deploy" / "images" / "worker.Dockerfile").read_text().split()


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
        if name in ("pages", "worker", "tuner", "prepare", "restore"):
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
    assert len(published) == 5
    for port in published:
        assert re.match(r"\$\{ORGANLOOP_(ADDRESS|DOORS_LISTEN|METRICS_LISTEN):-127\.0\.0\.1\}:", port), port
    doors = SERVICES["doors"]
    listen = {port.partition("}")[0] + "}" for port in doors["ports"]}
    assert listen == {doors["environment"]["DOORS_PUBLISHED"]}, "they refuse to be open without TLS"


ASKS = {
    "doors": {"archive", "pages", "prefect"},
    "forwarder": {"archive"},
    "metrics": {"database", "segmenter"},
    "pages": {"archive", "database", "prefect", "segmenter"},
    "worker": {"archive", "database", "prefect", "segmenter"},
    "tuner": {"database", "prefect"},
    "register": {"prefect"},
    "prepare": {"database"},
    "backup": {"database"},
    "restore": {"database"},
}
"""Who asks whom; nobody else hears them."""


def test_only_those_who_ask_each_other_reach_each_other():
    """Two containers reach each other where they share a network: Docker's bridges lead to no other."""
    members = {network: set() for network in COMPOSE["networks"]}
    for name, service in SERVICES.items():
        for network in service["networks"]:
            members[network].add(name)
    reached = {frozenset(pair) for names in members.values() for pair in combinations(sorted(names), 2)}
    assert reached == {frozenset((one, other)) for one, others in ASKS.items() for other in others}


ASKS_OUTSIDE = {"pages"}
"""An OpenID Connect provider, where one signs people in."""


def test_only_what_is_published_or_asks_outside_has_a_way_out_and_each_one_of_its_own():
    ways_out = {name for name, network in COMPOSE["networks"].items() if not network.get("internal")}
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert ways_out == {f"{name}-outside" for name in published | ASKS_OUTSIDE}
    for name, service in SERVICES.items():
        assert ways_out & set(service["networks"]) <= {f"{name}-outside"}, name


def test_its_images_are_those_of_the_list():
    table = tomllib.loads((ROOT / "deploy" / "images" / "images.toml").read_text())
    listed = {entry.get("reference", f"{name}:{PROJECT['version']}") for name, entry in table.items()}
    for name, service in SERVICES.items():
        variable, default = re.fullmatch(r"\$\{(ORGANLOOP_[A-Z]+_IMAGE):-(.*)\}", service["image"]).groups()
        assert default in listed, f"{name}: {variable}"


def test_no_registry_is_asked_for_an_image_of_ours_unless_a_person_names_one():
    for name, service in SERVICES.items():
        ours = service["image"].partition(":-")[2].startswith("organloop-")
        assert service["pull_policy"] == ("${ORGANLOOP_PULL_POLICY:-never}" if ours else "missing"), name


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
            "prefect_auth",
            "organloop_triton_serving_key",
            "organloop_triton_release_key",
            "archive_reader_password",
            "organloop_oidc_client_secret",
            "organloop_tell",
            "doors_certificate",
            "doors_key",
            "dimse_certificate",
            "dimse_key",
            "dimse_authority",
            "archive_users.json",
        )
    ]
    used = {secret["file"].rsplit("/", 1)[1] for secret in COMPOSE["secrets"].values()}
    assert used == set(first)
    users = json.loads(first["archive_users.json"])["RegisteredUsers"]
    assert users == {
        "organloop": first["organloop_archive_password"],
        "reader": first["archive_reader_password"],
    }
    assert len(first["database_password"]) == 48
    assert f":{first['database_password']}@database:5432/" in first["organloop_database_url"]
    roles = {first[f"database_{role}_url"] for role in ("writer", "reader", "backup")}
    assert len(roles) == 3
    assert not any(first["database_password"] in one for one in roles)
    assert folder.stat().st_mode & 0o777 == 0o700  # others on the host do not get at the files in it


def test_readers_get_an_account_of_their_own_beside_those_of_an_earlier_version(tmp_path):
    users = tmp_path / "archive_users.json"
    users.write_text('{"RegisteredUsers": {"organloop": "as it was", "dr-a": "hers"}}')
    command = [str(ROOT / "deploy" / "compose" / "make-secrets"), str(tmp_path)]
    for _ in range(2):
        subprocess.run(command, check=True, capture_output=True)
        assert json.loads(users.read_text())["RegisteredUsers"] == {
            "organloop": "as it was",
            "dr-a": "hers",
            "reader": (tmp_path / "archive_reader_password").read_text(),
        }


def test_a_setting_comes_from_a_secret_file_unless_a_variable_says_otherwise(tmp_path, monkeypatch):
    (tmp_path / "organloop_archive_password").write_text("from the file\n")
    (tmp_path / "organloop_archive_user").write_text("filed\n")
    monkeypatch.setenv("ORGANLOOP_ARCHIVE_USER", "named")
    settings = Settings(_secrets_dir=tmp_path)
    assert settings.archive_password.get_secret_value() == "from the file"
    assert settings.archive_user == "named"


@pytest.mark.parametrize("enabled", [True, False])
def test_under_selinux_secrets_bear_the_label_that_containers_read(tmp_path, enabled):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "selinuxenabled").write_text(f"#!/bin/sh\nexit {0 if enabled else 1}\n")
    (programs / "chcon").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/labelled\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    command = [str(ROOT / "deploy" / "compose" / "make-secrets"), str(tmp_path / "secrets")]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": f"{programs}:/usr/bin:/bin"})
    labelled = tmp_path / "labelled"
    assert labelled.exists() == enabled
    if enabled:
        assert labelled.read_text() == f"--recursive --type container_file_t {tmp_path}/secrets\n"
