"""Whose act a verb does: of whom a token proves, or of a name that was typed."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from models.people import Person, Role
from models.release import sha256_hex
from services.people.key import signing_key
from services.people.tokens import token_of
from services.records.entries.releases import ReleaseState
from services.records.events.event import Proof
from services.records.events.results import SpeechChanged
from services.records.store import open_records
from services.settings import Settings

ITO = Person("i-4", "https://id.hospital", "Dr. Ito", frozenset({Role.APPROVER}))
LANG = Person("l-9", "https://id.hospital", "Dr. Lang", frozenset({Role.READER}))


@pytest.fixture
def site(tmp_path, monkeypatch) -> Settings:
    """Return a home with a release on record; every verb of the test works on it."""
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path))
    settings = Settings()
    open_records(settings.records_url).record_release(1, sha256_hex(b"1"), ReleaseState.CANDIDATE)
    return settings


def spoken(settings: Settings, *words: str) -> tuple[int, str, str]:
    said = CliRunner().invoke(app, ["speak", "--reason", "it is good", *words])
    return said.exit_code, said.stdout, said.stderr


def as_person(monkeypatch, settings: Settings, person: Person) -> None:
    monkeypatch.setenv(
        "ORGANLOOP_TOKEN", token_of(person, signing_key(settings.session_key, settings.people_folder))
    )


def test_a_token_says_who_acts_and_the_log_bears_the_proof(site, monkeypatch) -> None:
    as_person(monkeypatch, site, ITO)
    assert spoken(site)[0] == 0
    act = open_records(site.records_url).last(SpeechChanged)
    assert (act.who, act.proof) == ("Dr. Ito", Proof("i-4", "https://id.hospital"))


def test_a_typed_name_is_said_to_be_unproven_and_is_so_on_record(site) -> None:
    code, _, told = spoken(site, "--approver", "Dr. Ito")
    assert code == 0
    assert "unproven: nobody has proven that this is Dr. Ito" in told
    assert open_records(site.records_url).last(SpeechChanged).proof is None


def test_a_site_may_forbid_typed_names(site, monkeypatch) -> None:
    monkeypatch.setenv("ORGANLOOP_UNPROVEN_ACTS", "refused")
    code, said, _ = spoken(site, "--approver", "Dr. Ito", "--json")
    assert (code, json.loads(said)["code"]) == (3, "unproven")
    assert open_records(site.records_url).last(SpeechChanged) is None
    as_person(monkeypatch, site, ITO)
    assert spoken(site)[0] == 0


def test_a_token_proves_no_other_name_and_no_other_role(site, monkeypatch) -> None:
    as_person(monkeypatch, site, ITO)
    code, said, _ = spoken(site, "--approver", "Dr. Weber", "--json")
    assert (code, json.loads(said)["code"]) == (3, "other-name")
    as_person(monkeypatch, site, LANG)
    code, said, _ = spoken(site, "--json")
    assert (code, json.loads(said)["code"]) == (3, "not-allowed")
    monkeypatch.setenv("ORGANLOOP_TOKEN", token_of(ITO, b"another site's key" * 4))
    code, said, _ = spoken(site, "--json")
    assert (code, json.loads(said)["code"]) == (3, "token-unknown")
    assert open_records(site.records_url).last(SpeechChanged) is None


def test_without_a_token_a_name_is_asked_for(site) -> None:
    code, said, _ = spoken(site, "--json")
    assert (code, json.loads(said)["code"]) == (3, "no-name")
    assert "--approver, or a token" in json.loads(said)["detail"]


def test_account_says_whom_the_token_proves(site, monkeypatch) -> None:
    said = CliRunner().invoke(app, ["account", "--json"])
    assert json.loads(said.stdout)["name"] is None
    as_person(monkeypatch, site, LANG)
    told = json.loads(CliRunner().invoke(app, ["account", "--json"]).stdout)
    assert told == {
        "name": "Dr. Lang",
        "subject": "l-9",
        "issuer": "https://id.hospital",
        "roles": ["reader"],
        "first_password": None,
    }


def test_another_first_password_is_made_where_there_is_a_local_account(site, monkeypatch) -> None:
    told = json.loads(CliRunner().invoke(app, ["account", "--reset", "--json"]).stdout)
    assert len(told["first_password"]) >= 12
    monkeypatch.setenv("ORGANLOOP_OIDC_ISSUER", "https://id.hospital")
    monkeypatch.setenv("ORGANLOOP_OIDC_CLIENT", "organloop")
    refused = CliRunner().invoke(app, ["account", "--reset", "--json"])
    assert (refused.exit_code, json.loads(refused.stdout)["code"]) == (3, "no-local-account")
