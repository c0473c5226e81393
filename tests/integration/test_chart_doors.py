"""Doors and pages as the chart starts them: real nginx, real pages, a real Orthanc, TLS on every way."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from deploy.stack import local_process
from flows.arrivals.savers import saver_of
from models.people import Person
from services.pacs import multipart
from services.people.local_account import ISSUER, SUBJECT, LocalAccount
from services.records.store import open_records
from tests.support.chart import ALL, Manifest, environment, pods, render
from tests.support.gateway import ACCOUNTS, Gateway, running
from tests.support.instances import ct_study
from tests.support.nginx import certificate, doors_at
from tests.support.waiting import GUARD_SECONDS, until

SECRET = {
    "archive-user": ACCOUNTS["ARCHIVE_USER"],
    "archive-password": ACCOUNTS["ARCHIVE_PASSWORD"],
    "reader-user": ACCOUNTS["READER_USER"],
    "reader-password": ACCOUNTS["READER_PASSWORD"],
    "database-writer-password": "word",
    "prefect-auth": "admin:word",
    "session-key": "k" * 48,
}
NAME, PASSWORD = "Dr. Weber", "a long enough one"
PAGE = {"Accept": "text/html"}


@dataclass(frozen=True)
class Site:
    """Doors and pages that run.

    Parameters
    ----------
    found
        What Helm renders for them.
    ports
        Of the doors.
    pages_port
        Of the pages, which only the doors ask.
    certificate
        Of the doors, which signs itself.
    home
        What the pages see of the store.
    database
        Address of the records.
    gateway
        The archive.
    """

    found: tuple[Manifest, ...]
    ports: dict[str, int]
    pages_port: int
    certificate: Path
    home: Path
    database: str
    gateway: Gateway

    def url(self, door: str) -> str:
        return f"https://localhost:{self.ports[door]}"

    def browser(self) -> httpx2.Client:
        """Return a client that keeps what it is told, as a browser does, and follows no redirect."""
        trusted = ssl.create_default_context(cafile=self.certificate)
        return httpx2.Client(verify=trusted, trust_env=False, timeout=GUARD_SECONDS)

    @contextmanager
    def signed_in(self) -> Iterator[httpx2.Client]:
        """Yield the browser of the local account's owner, who signs in for the first time again."""
        first = LocalAccount(self.home / "people" / "account.json").reset()
        origin = {"Origin": self.url("pages")}
        with self.browser() as browser:
            browser.post(f"{self.url('pages')}/sign-in", data={"password": first}, headers=origin)
            chosen = {"name": NAME, "password": PASSWORD}
            told = browser.post(f"{self.url('pages')}/sign-in/choose", data=chosen, headers=origin)
            assert told.status_code == 303, told.text
            yield browser


def container_of(found: tuple[Manifest, ...], component: str) -> Manifest:
    [pod] = [pod for pod in pods(found) if pod.component == component]
    [container] = pod.spec["containers"]
    return dict(container)


@contextmanager
def pages_of(site: Site, log: Path) -> Iterator[None]:
    """Run the pages as their container is told, with the places of this machine."""
    container = container_of(site.found, "pages")
    places = {
        "ORGANLOOP_HOME": str(site.home),
        "ORGANLOOP_DATABASE_URL": site.database,
        "ORGANLOOP_ORTHANC_URL": site.gateway.url,
        "ORGANLOOP_ARCHIVE_CA_FILE": str(site.gateway.certificate),
    }
    variables = environment(container, site.found, SECRET)
    assert places.keys() <= variables.keys()
    words = [*container["command"], *container["args"]]
    at = {"python": sys.executable, "0.0.0.0": "127.0.0.1", "8500": str(site.pages_port)}
    bare = {name: one for name, one in os.environ.items() if not name.startswith("ORGANLOOP_")}
    with log.open("w") as said:
        process = subprocess.Popen(
            [at.get(word, word) for word in words], env=bare | variables | places, stdout=said, stderr=said
        )
        try:
            probe = container["readinessProbe"]["httpGet"]
            until(lambda: answers(f"http://127.0.0.1:{site.pages_port}", probe), log.read_text)
            yield
        finally:
            process.terminate()
            process.wait(30)


def answers(url: str, probe: Manifest) -> bool:
    """Ask as a cluster's probe does: by an address that is no name of the site, whatever its certificate."""
    heads = {one["name"]: one["value"] for one in probe["httpHeaders"]}
    try:
        with httpx2.Client(verify=False, trust_env=False) as client:
            return client.get(f"{url}{probe['path']}", headers=heads).status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "gateway").mkdir()
    (folder / "home").mkdir()
    ports = {name: local_process.free_port(0) for name in ("pages", "viewer", "dashboard")}
    values = {f"doors__ports__{name}": port for name, port in ports.items()}
    nobody = {"people__issuer": "", "people__client": "", "people__caSecret": ""}
    found = render(ALL, doors__host="localhost", **values, **nobody)
    tls = certificate(folder / "tls")
    with ExitStack() as stack:
        made = Site(
            found,
            ports,
            local_process.free_port(0),
            tls / "tls.crt",
            folder / "home",
            f"sqlite:///{folder / 'records.sqlite'}",
            stack.enter_context(running(folder / "gateway", ACCOUNTS)),
        )
        stack.enter_context(pages_of(made, folder / "pages.log"))
        places = {
            "DOORS_PAGES": f"127.0.0.1:{made.pages_port}",
            "DOORS_PREFECT": "http://127.0.0.1:1",
            "DOORS_ARCHIVE": f"https://localhost:{made.gateway.https}/dicom-web",
            "DOORS_ARCHIVE_CA": str(made.gateway.certificate),
            "DOORS_TLS": str(tls),
        }
        variables = environment(container_of(found, "doors"), found, SECRET)
        assert places.keys() <= variables.keys()
        stack.enter_context(doors_at(folder / "doors", variables | places, folder / "no-secrets", ports))
        yield made


def test_probes_are_answered_at_addresses_that_are_no_name_of_the_site(site: Site) -> None:
    container = container_of(site.found, "doors")
    for kind in ("readinessProbe", "livenessProbe"):
        probe = container[kind]["httpGet"]
        assert probe["scheme"] == "HTTPS"
        assert answers(f"https://127.0.0.1:{site.ports[probe['port']]}", probe)


def test_who_has_not_signed_in_is_led_to_the_sign_in_from_every_door(site: Site) -> None:
    with site.browser() as browser:
        for door in ("viewer", "dashboard"):
            told = browser.get(f"{site.url(door)}/", headers=PAGE)
            assert (told.status_code, told.headers["location"]) == (302, f"{site.url('pages')}/{door}/")
            assert told.headers["strict-transport-security"] == "max-age=31536000"
        told = browser.get(f"{site.url('pages')}/", headers=PAGE)
        assert told.status_code == 303
        assert told.headers["location"].startswith("/sign-in")
        assert browser.get(f"{site.url('viewer')}/dicom-web/studies").status_code == 401


def test_who_signs_in_once_looks_at_studies_by_the_readers_account(site: Site) -> None:
    [one] = ct_study(1)
    site.gateway.client().store([one])
    with site.signed_in() as browser:
        assert browser.get(f"{site.url('pages')}/", headers=PAGE).status_code == 200
        assert browser.get(f"{site.url('viewer')}/", headers=PAGE).text == "OHIF"
        found = browser.get(f"{site.url('viewer')}/dicom-web/studies?limit=1")
        assert (found.status_code, len(found.json())) == (200, 1)
        # Orthanc's REST is not there: every other path is OHIF's.
        assert browser.get(f"{site.url('viewer')}/tools/find", headers=PAGE).text == "OHIF"
        # The operator gets through the dashboard's door: behind it Prefect is away.
        assert browser.get(f"{site.url('dashboard')}/", headers=PAGE).status_code == 502


def test_a_save_is_in_the_gateway_and_on_record_as_the_reader_s(site: Site) -> None:
    [one] = ct_study(1)
    heads = {
        "Content-Type": multipart.CONTENT_TYPE,
        "Accept": "application/dicom+json",
        "Origin": site.url("viewer"),
        "Sec-Fetch-Site": "same-origin",
    }
    with site.signed_in() as browser:
        address = f"{site.url('viewer')}/dicom-web/studies"
        told = browser.post(address, content=multipart.encode([one.content]), headers=heads)
        assert told.status_code == 200, told.text
        metadata = browser.get(f"{site.url('viewer')}/dicom-web/studies/{one.study_uid}/metadata").json()
        assert metadata[0]["7FE00010"]["BulkDataURI"].startswith(f"{site.url('viewer')}/dicom-web/")
        assert f"{site.url('viewer')}/dicom-web/studies/" in told.text, "addresses lead to the viewer"
        elsewhere = browser.post(
            address, content=multipart.encode([one.content]), headers=heads | {"Origin": site.url("pages")}
        )
        assert elsewhere.status_code == 403
    assert site.gateway.client().study(one.study_uid) is not None
    records = open_records(site.database)
    assert saver_of(one.sop_instance_uid, records) == Person(SUBJECT, ISSUER, NAME)
    records.close()


def test_the_pages_write_nothing_of_the_store_but_who_people_are(site: Site) -> None:
    """The rest of it is mounted read-only; the key is the secret's."""
    with site.signed_in() as browser:
        for path in ("/", "/worklist", "/questions"):
            assert browser.get(f"{site.url('pages')}{path}", headers=PAGE).status_code == 200, path
    assert [one.relative_to(site.home).as_posix() for one in sorted(site.home.rglob("*"))] == [
        "people", "people/account.json",
    ]  # fmt: skip


def test_helm_test_reaches_doors_and_pages_and_finds_a_certificate_of_another(
    site: Site, tmp_path: Path
) -> None:
    [asking] = [pod for pod in pods(site.found) if pod.name == "organloop-test-doors"]
    [container] = asking.spec["containers"]

    def done(trusted: Path) -> subprocess.CompletedProcess[str]:
        at = {"::organloop-doors:": "::127.0.0.1:", "/etc/organloop/doors/tls.crt": str(trusted)}
        words = [*container["command"], *container["args"]]
        assert at.keys() <= set(words)
        return subprocess.run(
            [at.get(word, word) for word in words], capture_output=True, text=True, timeout=GUARD_SECONDS
        )

    told = done(site.certificate)
    assert told.returncode == 0, told.stderr
    assert told.stdout == "organloop pages\norganloop door\norganloop door\n"
    assert done(certificate(tmp_path / "other") / "tls.crt").returncode == 60
