"""Pages and doors as containers have them: one sign-in for three doors, with a real archive, and TLS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from deploy.doors import alive
from deploy.doors.open import CERTIFICATE, KEY, Unfit, configured
from deploy.stack.local_process import free_port
from deploy.stack.local_server import answer_of
from flows.arrivals.savers import saver_of
from models.people import LOOKING, Role
from services.pacs import multipart
from services.people.local_account import LocalAccount
from services.records.store import open_records
from tests.conftest import ROOT
from tests.support.compose import archive_at, secrets_of, variables_of
from tests.support.instances import ct_study
from tests.support.nginx import certificate, doors_at, installed
from tests.support.pages import by_proxy
from tests.support.waiting import GUARD_SECONDS, until

PAGE = {"Accept": "text/html"}
DOORS = ("pages", "viewer", "dashboard")


@dataclass(frozen=True)
class Containers:
    """Archive, pages and doors with what Compose gives them, on this machine.

    Parameters
    ----------
    home
        Of the pages.
    addresses
        Where people open each door.
    certificate
        What their TLS is checked against; None without TLS.
    """

    home: Path
    addresses: dict[str, str]
    certificate: Path | None

    def browser(self, door: str, **heads: str) -> httpx2.Client:
        """Return a browser at a door."""
        return httpx2.Client(
            base_url=self.addresses[door],
            headers=heads,
            verify=str(self.certificate) if self.certificate else True,
            timeout=GUARD_SECONDS,
            trust_env=False,
        )

    def signed_in(self) -> dict[str, str]:
        """Sign in by the pages' door with the local account's first password; return the session's cookie."""
        first = LocalAccount(self.home / "people" / "account.json").reset()
        origin = self.addresses["pages"]
        with self.browser("pages", origin=origin) as browser:
            browser.post("/sign-in", data={"password": first})
            browser.post("/sign-in/choose", data={"name": "Dr. Weber", "password": "a long enough one"})
            [cookie] = browser.cookies.jar
            return {"Cookie": f"{cookie.name}={cookie.value}"}


def no_certificate(folder: Path) -> Path:
    """Return a folder of certificate and key as Compose has it where the site gave none."""
    (folder / "no-tls").mkdir(parents=True)
    for name in (CERTIFICATE, KEY):
        (folder / "no-tls" / name).touch()
    return folder / "no-tls"


@contextmanager
def containers_at(folder: Path, *, tls: bool, **said: str) -> Iterator[Containers]:
    """Run them; settings of the pages as variables."""
    installed()
    made = certificate(folder / "tls") if tls else None
    ports = {name: free_port(0) for name in DOORS}
    addresses = {name: f"{'https' if tls else 'http'}://127.0.0.1:{port}" for name, port in ports.items()}
    told = {f"ORGANLOOP_{name.upper()}_ADDRESS": address for name, address in addresses.items()}
    with archive_at(folder / "compose") as archive:
        asked = free_port(0)
        orthanc = f"http://127.0.0.1:{archive.http}"
        pages = variables_of("pages") | told | said
        pages |= {"ORGANLOOP_HOME": str(folder / "home"), "ORGANLOOP_ORTHANC_URL": orthanc}
        secrets = secrets_of("pages", archive.secrets, folder / "pages-secrets")
        for file in secrets.iterdir():
            if file.name != "organloop_database_url":  # the home's own records stand for PostgreSQL
                pages[file.name.upper()] = file.read_text()
        doors = variables_of("doors") | told
        doors |= {"DOORS_PAGES": f"127.0.0.1:{asked}", "DOORS_ARCHIVE": f"{orthanc}/dicom-web"}
        doors |= {"DOORS_PREFECT": "http://127.0.0.1:1", "DOORS_TLS": str(made or no_certificate(folder))}
        own = {name: value for name, value in os.environ.items() if not name.startswith("ORGANLOOP_")}
        command = [sys.executable, "-m", "deploy.pages.server", "127.0.0.1", str(asked), "--behind-doors"]
        with (folder / "pages.log").open("w") as log:
            server = subprocess.Popen(command, env=own | pages, cwd=ROOT, stdout=log, stderr=log)
        try:
            until(
                lambda: answer_of(f"http://127.0.0.1:{asked}/healthz") is not None,
                lambda: (folder / "pages.log").read_text()[-2000:],
            )
            held = secrets_of("doors", archive.secrets, folder / "doors-secrets")
            with doors_at(folder / "nginx", doors, held, ports):
                yield Containers(folder / "home", addresses, made / "tls.crt" if made else None)
        finally:
            server.terminate()
            server.wait(GUARD_SECONDS)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "TLS"])
def containers(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    with containers_at(tmp_path_factory.mktemp("containers"), tls=request.param) as made:
        yield made


@pytest.fixture(scope="module")
def session(containers: Containers) -> dict[str, str]:
    return containers.signed_in()


def test_nobody_gets_past_a_door_but_to_the_sign_in(containers: Containers) -> None:
    for door, path in (("viewer", "/dicom-web/studies"), ("dashboard", "/api/flows/filter")):
        with containers.browser(door) as browser:
            assert browser.get(path).status_code == 401
            sent = browser.get("/", headers=PAGE)
            assert (sent.status_code, sent.headers["location"]) == (
                302,
                f"{containers.addresses['pages']}/{door}/",
            )
    with containers.browser("pages") as browser:
        assert browser.get("/", headers=PAGE).headers["location"].startswith("/sign-in")
        assert browser.post("/archive/studies", content=b"").status_code == 404, "saves come by the viewer"


def test_one_sign_in_opens_every_door(containers: Containers, session: dict[str, str]) -> None:
    with containers.browser("pages", **session) as browser:
        assert "worklist" in browser.get("/", headers=PAGE).text.lower()
        sent = browser.get("/viewer/segmentation?StudyInstanceUIDs=1.2")
        assert sent.headers["location"].startswith(f"{containers.addresses['viewer']}/segmentation")
    with containers.browser("viewer", **session) as browser:
        assert browser.get("/", headers=PAGE).text == "OHIF"
        assert browser.get("/dicom-web/studies").json() == []
    with containers.browser("dashboard", **session) as browser:
        assert browser.get("/").status_code == 502, "past the door, where no Prefect is"
        assert browser.get("/ui-settings").status_code == 200


def test_over_tls_the_session_is_never_sent_in_the_clear(
    containers: Containers, session: dict[str, str]
) -> None:
    assert session["Cookie"].startswith("__Host-") == (containers.certificate is not None)
    for door in DOORS:
        with containers.browser(door, **session) as browser:
            told = browser.get("/", headers=PAGE).headers.get_list("strict-transport-security")
            assert len(told) == (containers.certificate is not None), door


def test_a_save_by_the_viewer_s_door_is_in_the_archive_and_bears_the_reader_s_name(
    containers: Containers, session: dict[str, str]
) -> None:
    [one] = ct_study(1)
    heads = {"Content-Type": multipart.CONTENT_TYPE, "Accept": "application/dicom+json"}
    origin = {"Origin": containers.addresses["viewer"], "Sec-Fetch-Site": "same-origin"}
    with containers.browser("viewer", **session) as browser:
        body = multipart.encode((one.content,))
        elsewhere = browser.post(
            "/dicom-web/studies", content=body, headers=heads | {"Origin": "https://e.x"}
        )
        assert elsewhere.status_code == 403
        told = browser.post("/dicom-web/studies", content=body, headers=heads | origin)
        assert told.status_code == 200, told.text
        assert f"{containers.addresses['viewer']}/dicom-web/studies/" in told.text
        [study] = browser.get(f"/dicom-web/studies?StudyInstanceUID={one.study_uid}").json()
        assert study["0020000D"]["Value"] == [one.study_uid]
    records = open_records(f"sqlite:///{containers.home / 'records.sqlite'}")
    who = saver_of(one.sop_instance_uid, records)
    assert who is not None
    assert who.name == "Dr. Weber"


def test_what_happens_is_told_through_the_door_at_once(
    containers: Containers, session: dict[str, str]
) -> None:
    with (
        containers.browser("pages", **session) as browser,
        browser.stream("GET", "/changes") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert next(answer.iter_lines()).startswith("id: ")


def test_probes_are_answered_at_each_door_and_a_foreign_name_is_not(containers: Containers) -> None:
    for door in DOORS:
        with containers.browser(door) as browser:
            assert browser.get("/door").text.startswith("organloop")
            assert browser.get("/door", headers={"Host": "evil.example"}).status_code == 421


GROUPS = {f"ORGANLOOP_{role.upper()}_GROUPS": f"{role}s" for role in Role}
READER, OPERATOR = by_proxy("weber", Role.READER), by_proxy("ops", Role.OPERATOR)


def test_a_trusted_proxy_s_word_opens_the_doors_by_role(tmp_path: Path) -> None:
    with containers_at(tmp_path, tls=False, ORGANLOOP_TRUSTED_PROXIES="127.0.0.0/30", **GROUPS) as made:
        for door, path, opens in (
            ("pages", "/session", {"weber": 200, "ops": 200}),
            ("viewer", "/dicom-web/studies", {"weber": 200, "ops": 403}),
            ("dashboard", "/ui-settings", {"weber": 403, "ops": 200}),
        ):
            with made.browser(door) as browser:
                told = {who["Remote-User"]: browser.get(path, headers=who) for who in (READER, OPERATOR)}
                assert {name: answer.status_code for name, answer in told.items()} == opens, door
                twice = [*READER.items(), ("Remote-User", "root")]
                assert browser.get(path, headers=twice).status_code == 403, "a browser's own word beside it"


def test_who_is_no_trusted_proxy_is_believed_at_no_door_whoever_he_says_to_come_from(tmp_path: Path) -> None:
    said = {"X-Forwarded-For": "10.9.9.9", "X-Real-IP": "10.9.9.9", "Forwarded": "for=10.9.9.9"}
    with containers_at(tmp_path, tls=False, ORGANLOOP_TRUSTED_PROXIES="10.9.9.9", **GROUPS) as made:
        for door, path in (
            ("pages", "/session"),
            ("viewer", "/dicom-web/studies"),
            ("dashboard", "/ui-settings"),
        ):
            with made.browser(door) as browser:
                assert browser.get(path, headers=READER | OPERATOR | said).status_code == 403, door


def test_the_viewer_s_door_opens_to_those_who_may_look() -> None:
    assert f'set $roles "{",".join(LOOKING)}";' in (ROOT / "deploy" / "doors" / "viewer.conf").read_text()


def test_what_is_not_said_is_named_and_nothing_starts(tmp_path: Path) -> None:
    told = {f"ORGANLOOP_{name.upper()}_ADDRESS": f"https://{name}.example" for name in DOORS}
    everything = variables_of("doors") | told
    everything |= {"ORGANLOOP_ARCHIVE_READER_PASSWORD": "word", "PREFECT_API_AUTH_STRING": "organloop:word"}
    everything |= {
        "DOORS_TLS": str(no_certificate(tmp_path)),
        "DOORS_ARCHIVE": everything["ORGANLOOP_ORTHANC_URL"],
    }
    configured(everything, tmp_path / "whole")
    may_be_unset = {"TZ", "DOORS_TLS", "DOORS_ARCHIVE_CA", "DOORS_PUBLISHED", "DOORS_ARCHIVE"}
    may_be_unset |= {f"ORGANLOOP_{name}" for name in ("ORTHANC_URL", "DICOMWEB_URL", "ARCHIVE_CA_FILE")}
    for name in everything.keys() - may_be_unset - {"ORGANLOOP_ARCHIVE_DEADLINE_SECONDS"}:
        lacking = {one: value for one, value in everything.items() if one != name}
        with pytest.raises(KeyError, match=name):
            configured(lacking, tmp_path / "half")
    command = [sys.executable, "-m", "deploy.doors.open"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "is not set" in done.stderr


def test_passwords_are_in_files_that_their_owner_alone_reads(tmp_path: Path) -> None:
    told = {f"ORGANLOOP_{name.upper()}_ADDRESS": f"https://{name}.example" for name in DOORS}
    said = {"ORGANLOOP_ARCHIVE_READER_PASSWORD": "a-word", "PREFECT_API_AUTH_STRING": "organloop:word"}
    said["DOORS_TLS"] = str(no_certificate(tmp_path))
    for _ in range(2):
        configured(variables_of("doors") | told | said, tmp_path)
    holding = [file for file in tmp_path.rglob("*.conf") if "Basic " in file.read_text()]
    assert {file.name for file in holding} == {"viewer-account.conf", "dashboard-account.conf"}
    assert {file.stat().st_mode & 0o777 for file in holding} == {0o600}


@pytest.fixture
def opening(tmp_path: Path) -> dict[str, str]:
    """What Compose tells the doors, without a certificate."""
    told = {"ORGANLOOP_ARCHIVE_READER_PASSWORD": "a-word", "PREFECT_API_AUTH_STRING": "organloop:word"}
    return variables_of("doors") | told | {"DOORS_TLS": str(no_certificate(tmp_path))}


@pytest.mark.parametrize("published", ["0.0.0.0", "10.0.7.40", "::"])
def test_beyond_this_machine_no_password_crosses_the_network_in_the_clear(
    opening: dict[str, str], published: str, tmp_path: Path
) -> None:
    opening |= {"DOORS_PUBLISHED": published}
    with pytest.raises(Unfit, match="would cross the network in the clear: give them a certificate"):
        configured(opening, tmp_path / "doors")
    made = certificate(tmp_path / "tls")
    configured(opening | {"DOORS_TLS": str(made)}, tmp_path / "doors")
    assert f'ssl_certificate "{made}/tls.crt"' in (tmp_path / "doors" / "main.conf").read_text()


@pytest.mark.parametrize(("given", "lacking"), [(CERTIFICATE, KEY), (KEY, CERTIFICATE)])
def test_half_of_a_certificate_opens_no_door(
    opening: dict[str, str], given: str, lacking: str, tmp_path: Path
) -> None:
    (Path(opening["DOORS_TLS"]) / given).write_text("PEM")
    with pytest.raises(Unfit, match=f"{lacking} is empty: both are needed, or neither"):
        configured(opening, tmp_path / "doors")
    (Path(opening["DOORS_TLS"]) / lacking).unlink()
    with pytest.raises(Unfit, match=f"{lacking} cannot be read"):
        configured(opening, tmp_path / "doors")


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({}, "http://archive:8042/dicom-web/"),
        ({"ORGANLOOP_ORTHANC_URL": "https://orthanc.example/"}, "https://orthanc.example/dicom-web/"),
        (
            {"ORGANLOOP_ORTHANC_URL": "", "ORGANLOOP_DICOMWEB_URL": "https://pacs.example/web"},
            "https://pacs.example/web/",
        ),
    ],
)
def test_the_viewer_is_led_to_the_archive_that_the_site_has(
    opening: dict[str, str], said: dict[str, str], asked: str, tmp_path: Path
) -> None:
    configured(opening | said, tmp_path / "doors")
    assert f"proxy_pass {asked};" in (tmp_path / "doors" / "viewer.conf").read_text()


def test_the_health_check_asks_by_the_doors_own_port_with_or_without_tls(
    containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(containers.addresses["pages"].rpartition(":")[2])
    monkeypatch.setitem(alive.LISTENS, "pages", str(port))
    folder = containers.certificate.parent if containers.certificate else no_certificate(tmp_path)
    monkeypatch.setenv("DOORS_TLS", str(folder))
    assert alive.main() == 0
    monkeypatch.setitem(alive.LISTENS, "pages", str(free_port(0)))
    assert alive.main() == 1
