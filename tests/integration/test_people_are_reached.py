"""People are told by a real mail server and as Teams takes it; `tell` says who was not reached, and why."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from apprise import NotifyBase
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.telling.matters import Matter, matters
from flows.telling.tell import message_of, subject_of
from models.errors import NotTold
from models.uids import StudyUid
from services.people.messages import AppriseMessenger
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.store import open_records
from services.settings import Settings
from tests.support.people_served import PASSWORD, USER, Authority, authority, mail_server, workflows

PAGES = "https://pages.hospital.example"
TO = "from=organloop@hospital.example&to=owner@hospital.example"
WAITS = "Release {} waits for a person who promotes or declines it."
MANY = [Matter(f"m{n}", WAITS.format(n), f"/model/candidates/{n}") for n in range(100, 125)]
PATIENT, UID = "ROE^JANE", "1.2.840.99.7"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("hospital"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise waits 5.5 s between two messages to a service."""
    monkeypatch.setattr(NotifyBase, "throttle", lambda *_, **__: None)


@pytest.fixture
def due(tmp_path: Path) -> list[Matter]:
    """A site whose archive is away because of a patient's study."""
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    records.change_arrival(None, Arrival(StudyUid(UID), "1.1", ArrivalState.REFUSED, code="missing-slices"))
    records.note_watch(f"study {UID} of {PATIENT} cannot be read")
    found = list(matters(records, datetime.now(UTC)))
    records.close()
    assert any(UID in one.detail for one in found)
    return found


def assert_says(due: list[Matter], text: str) -> None:
    """Every matter is in a text with its page, and nothing of a patient."""
    for one in due:
        assert one.words in text
        assert f"{PAGES}{one.page}" in text
    assert UID not in text
    assert PATIENT not in text
    assert "ROE" not in text


def told(address: str, due: list[Matter]) -> str:
    return AppriseMessenger(SecretStr(address)).send(subject_of(due), message_of(due, PAGES))


def test_an_internal_mail_server_without_tls_takes_a_message(due: list[Matter]) -> None:
    with mail_server() as server:
        assert told(f"mailto://127.0.0.1:{server.port}?{TO}", due) == ""
    ((envelope,), (mail,)) = server.envelopes, server.mails
    assert envelope.rcpt_tos == ["owner@hospital.example"]
    assert envelope.mail_from == "organloop@hospital.example"
    assert mail["Subject"] == subject_of(due)
    for kind in ("plain", "html"):
        body = mail.get_body((kind,))
        assert body is not None
        assert_says(due, body.get_content())
    assert UID not in str(mail)
    written = mail.get_body(("html",))
    assert written is not None
    assert f'<a href="{PAGES}{due[0].page}">' in written.get_content()


def test_a_mail_server_with_the_hospital_s_own_certificate_is_checked_against_it(
    hospital: Authority, due: list[Matter], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server(hospital.context) as server:
        address = f"mailtos://{USER}:{PASSWORD}@127.0.0.1:{server.port}?mode=starttls&{TO}"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(NotTold, match="address 1 of the 1"):
            told(address, due)
        assert server.envelopes == []
        monkeypatch.setenv("SSL_CERT_FILE", str(hospital.certificate))
        assert told(address, due) == ""
        [wrong] = AppriseMessenger(SecretStr(address.replace(PASSWORD, "falsch-im-haus"))).deliver("s", "t")
    (mail,) = server.mails
    assert mail["Subject"] == subject_of(due)
    assert "falsch" not in wrong.why
    assert "535" in wrong.why


def test_teams_takes_a_card_with_links_over_a_certificate_of_the_hospital(
    hospital: Authority, due: list[Matter], monkeypatch: pytest.MonkeyPatch
) -> None:
    with workflows(hospital.context) as cards:
        address = f"workflows://127.0.0.1:{cards.port}/wf-geheim/sig-geheim"
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        [away] = AppriseMessenger(SecretStr(address)).deliver("s", "t")
        assert "certificate" in away.why.lower()
        assert "geheim" not in away.why
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hospital.certificate))
        assert told(address, due) == ""
        cards.status = 401
        [refused] = AppriseMessenger(SecretStr(address)).deliver("s", "t")
        assert "401" in refused.why
        assert "geheim" not in refused.why
    (path, said) = cards.taken[0]
    assert "github" not in json.dumps(said), "who reads it fetches no picture from elsewhere"
    assert path.startswith("/workflows/wf-geheim/triggers/manual/paths/invoke?")
    texts = {one.get("id"): one.get("text") for one in said["attachments"][0]["content"]["body"]}
    assert texts["title"] == subject_of(due)
    assert_says(due, texts["body"])
    for one in due:
        assert f"[{PAGES}{one.page}]({PAGES}{one.page})" in texts["body"], (
            "a bare address is no link in a card"
        )


@pytest.mark.parametrize("asked", ["", "?overflow=truncate"])
def test_a_message_of_many_matters_is_cut_by_nobody(
    hospital: Authority, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    assert len(message_of(MANY, PAGES)) > 2000
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hospital.certificate))
    with workflows(hospital.context) as cards:
        assert told(f"workflows://127.0.0.1:{cards.port}/wf/sig{asked}", MANY) == ""
    blocks = [{one.get("id"): one.get("text") for one in said["attachments"][0]["content"]["body"]}
              for _, said in cards.taken]  # fmt: skip
    assert all(len(one["body"]) <= 1000 for one in blocks)
    assert [one["title"] for one in blocks] == [
        f"Organloop: 25 matters ({n} of {len(blocks)})" for n in range(1, len(blocks) + 1)
    ]
    assert_says(MANY, "\n\n".join(one["body"] for one in blocks))
    together = "".join(one["body"] for one in blocks)
    assert [int(n) for n in re.findall(r"Release (\d+) waits", together)] == list(range(100, 125))


def test_a_mail_of_many_matters_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as server:
        assert told(f"mailto://127.0.0.1:{server.port}?{TO}", MANY) == ""
    (mail,) = server.mails
    body = mail.get_body(("plain",))
    assert body is not None
    assert_says(MANY, body.get_content())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORGANLOOP_PAGES_ADDRESS", PAGES)
    return tmp_path / "home"


def test_a_trial_message_says_who_was_reached_and_who_was_not_and_why(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = "json://organloop:geheim-im-haus@127.0.0.1:9/token-geheim?key=query-geheim"
    with mail_server() as server:
        near = f"mailto://127.0.0.1:{server.port}?{TO}"
        monkeypatch.setenv("ORGANLOOP_TELL", near)
        done = CliRunner().invoke(app, ["tell"])
        assert (done.exit_code, done.stdout) == (0, "address 1 (mailto): took the message\n")
        monkeypatch.setenv("ORGANLOOP_TELL", f"{away} {near}")
        failed = CliRunner().invoke(app, ["tell", "--json"])
        spoken = CliRunner().invoke(app, ["tell"])
    assert failed.exit_code == spoken.exit_code == 1
    document = json.loads(failed.stdout)
    assert document["reached"] is False
    first, second = document["addresses"]
    assert (first["address"], first["kind"]) == (1, "json")
    assert "refused" in first["why"].lower()
    assert second == {"address": 2, "kind": "mailto", "why": ""}
    assert "address 1 (json): not reached: " in spoken.stdout
    for said in (failed.output, spoken.output):
        assert "geheim" not in said
    assert len(server.mails) == 3
    body = server.mails[0].get_body(("plain",))
    assert body is not None
    assert "This is a trial message." in body.get_content()
    assert f"{PAGES}/model" in body.get_content()
    assert server.mails[0]["Subject"] == "Organloop: a trial message"
    assert not Settings().records_file.exists(), "nothing is put on record"


def test_who_names_nobody_is_told_so(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORGANLOOP_TELL", raising=False)
    refused = CliRunner().invoke(app, ["tell", "--json"])
    assert (refused.exit_code, json.loads(refused.stdout)["code"]) == (3, "nobody-to-tell")
