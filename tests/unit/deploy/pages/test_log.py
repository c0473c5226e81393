"""The log on its pages: who may look, what is found, what is not as it was recorded."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from string import Formatter

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from deploy.pages.application import application
from deploy.pages.model.sentences import SENTENCES, sentence
from flows.audit.verify import export
from models.people import Person, Role
from models.uids import SeriesUid, StudyUid
from services.records.chain import exported
from services.records.events.event import kinds
from services.records.events.serving import ReleasePromoted
from services.records.log import recorded
from services.records.store import SqlRecords, open_records
from services.releases.evidence_packs import EvidencePacks
from services.settings import Settings
from tests.support.earlier_homes import ARCHIVES, EarlierHome, unpacked, version_of
from tests.support.listed import WEBER, listed, put_on_list, said
from tests.support.log import write_line

HERE = "http://127.0.0.1:8500"
OURS = {"accept": "text/html", "origin": HERE}
APPROVER = Person("i1", "https://id.example", "Dr. Ito", frozenset({Role.APPROVER}))
OPERATOR = Person("o1", "https://id.example", "Mr. Oz", frozenset({Role.OPERATOR}))
AUDITOR = Person("a1", "https://id.example", "Ms. Roth", frozenset({Role.AUDITOR}))


class AsIs:
    who: Person | None = AUDITOR

    def person(self, request: object) -> Person | None:
        return self.who


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def records(settings) -> Iterator[SqlRecords]:
    opened = open_records(settings.records_url)
    opened.signed(APPROVER).set_incumbent(1, approver=APPROVER.name, reason="first <of all>")
    put_on_list(opened, listed(1), (said("liver"), said("stomach", "review", "fragmented")))
    opened.record_acceptance(StudyUid("1.2.1"), SeriesUid("1.3.1"), 1, ["stomach"], "Dr. Lang")
    opened.record_acceptance(StudyUid("1.2.99"), SeriesUid("1.3.99"), 1, ["liver"], "Dr. Lang")
    yield opened
    opened.close()


@pytest.fixture
def app(settings, records) -> FastAPI:
    app = application(settings, HERE)
    app.state.way = AsIs()
    return app


@pytest.fixture
def browser(app) -> Iterator[TestClient]:
    with TestClient(app, base_url=HERE, follow_redirects=False, headers=OURS) as client:
        yield client
    app.state.log_look.wait()


def numbers(text: str) -> list[int]:
    return [int(one) for one in re.findall(r'<tr id="line-(\d+)"', text)]


def change(settings: Settings, statement: str) -> None:
    with sqlite3.connect(settings.records_file) as database:
        for trigger in ("events_unchanged", "events_kept"):
            database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        database.execute(statement)


def test_who_watches_may_look_and_only_auditors_and_approvers_take_it_out(app, browser) -> None:
    rights = {}
    for who in (WEBER, APPROVER, OPERATOR, AUDITOR):
        app.state.way.who = who
        addresses = ("/log", "/log/lines/1", "/log/packs", "/log/export")
        rights[who.name] = [browser.get(one).status_code for one in addresses]
        assert ('href="/log"' in browser.get("/").text) == (who is not WEBER)
    assert rights == {
        "Dr. Weber": [403] * 4,
        "Dr. Ito": [200] * 4,
        "Mr. Oz": [200, 200, 200, 403],
        "Ms. Roth": [200] * 4,
    }


def test_a_line_says_who_proven_or_not_what_and_of_which_study(app, browser, records) -> None:
    told = browser.get("/log").text
    last = records.head().number
    assert numbers(told) == list(range(last, 0, -1))
    rows = re.split(r'<tr id="line-', told)
    assert "Dr. Ito" in rows[-1]
    assert "proven by https://id.example" in rows[-1]
    assert "Release 1 serves in place of none" in rows[-1]
    assert "first &lt;of all&gt;" in rows[-1]
    assert "not proven" in rows[1]
    assert "Accepted of release 1: Liver." in rows[1]
    assert "Accepted of release 1: Stomach." in rows[2]
    assert "1.2.1" not in told, "a study goes by its name on the pages"
    assert "1.2.99" not in told
    assert f'href="/studies/{1:016x}"' in rows[2]
    app.state.way.who = OPERATOR
    assert "/studies/" not in browser.get("/log").text, "who may not look is led to no study"


def test_the_address_narrows_the_log_and_its_pages_go_on(browser, records, monkeypatch) -> None:
    monkeypatch.setattr("deploy.pages.model.log.AT_ONCE", 2)
    seen, address = [], "/log"
    while address:
        text = browser.get(address).text
        seen.append(numbers(text))
        more = re.search(r'href="(/log\?[^"]*)">Older lines', text)
        address = more and more[1].replace("&amp;", "&")
    last = records.head().number
    assert [number for page in seen for number in page] == list(range(last, 0, -1))
    assert {len(page) for page in seen[:-1]} == {2}
    assert numbers(browser.get("/log?by=Dr.+Lang").text) == [last, last - 1]
    assert len(numbers(browser.get("/log?by=Dr.+Lang&act=incumbent-changed").text)) == 0
    assert "No line is of that kind" in browser.get("/log?release=7").text
    assert numbers(browser.get("/log?act=incumbent-changed&release=1").text) == [1]
    assert numbers(browser.get("/log?since=2001-01-01&until=2001-12-31").text) == []
    assert numbers(browser.get("/log?study=1.2.99").text) == [last]
    sent = browser.get("/log?study=1.2.1&by=Dr.+Lang")
    assert (sent.status_code, sent.headers["location"]) == (303, f"/log?by=Dr.+Lang&study={1:016x}")
    assert numbers(browser.get(sent.headers["location"]).text) == [last - 1]


@pytest.mark.parametrize("asked", ["release=seven", "since=yesterday", "study=MEIER", "before=x"])
def test_what_cannot_be_looked_for_is_refused(browser, asked) -> None:
    told = browser.get(f"/log?{asked}", headers={"accept": "application/json"})
    assert (told.status_code, told.json()["code"]) == (409, "log-filter")


def test_a_line_that_was_changed_is_shown_so_wherever_one_looks(app, browser, settings, records) -> None:
    app.state.log_look.look()
    app.state.log_look.wait()
    last = records.head().number
    assert f"Verified up to {last} at" in browser.get("/log").text
    assert "all as recorded" in browser.get("/log").text
    assert "Not as recorded" not in browser.get("/log").text
    assert "data-working" not in browser.get("/log").text, "nothing came: nothing is looked at"
    change(settings, f"UPDATE events SET who = 'Dr. Eve' WHERE number = {last}")
    told = browser.get("/log?by=Dr.+Eve").text
    assert "it does not say what its digest was taken of (line-changed)" in told
    app.state.log_look._began = -1e9
    app.state.log_look.look()
    app.state.log_look.wait()
    assert "1 not as recorded" in browser.get("/log").text
    assert "organloop audit verify" in browser.get("/log").text


def test_lines_that_are_gone_are_missed(app, browser, settings, records) -> None:
    app.state.log_look.look()
    app.state.log_look.wait()
    last = records.head().number
    change(settings, "DELETE FROM events WHERE number = 2")
    assert "event 2 is not there (line-missing)" in browser.get("/log").text
    app.state.log_look.wait()
    change(settings, f"DELETE FROM events WHERE number = {last}")
    browser.get("/log")
    app.state.log_look.wait()
    assert "(truncated)" in browser.get("/log").text


def test_a_line_that_tells_nothing_of_its_kind_or_of_a_newer_one_ends_no_page(browser, records) -> None:
    write_line(records, "gate-decided", who="somebody", payload={"release": 2})
    write_line(records, "of-tomorrow", who="somebody", payload={"x": 1})
    told = browser.get("/log").text
    assert "A newer program wrote this." in told
    assert "This cannot be read as what it should be" in told


def test_where_the_key_that_names_studies_is_damaged_the_log_is_shown_all_the_same(browser, settings) -> None:
    settings.case_store.mkdir(exist_ok=True)
    (settings.case_store / "site.key").write_bytes(b"short")
    told = browser.get("/log")
    assert (told.status_code, told.text.count("no name")) == (200, 1)
    assert "1.2.99" not in told.text


def test_the_export_is_that_of_the_command_and_a_line_is_one_of_it(browser, records, tmp_path) -> None:
    export(records, tmp_path / "log.jsonl")
    given = browser.get("/log/export")
    assert given.content == (tmp_path / "log.jsonl").read_bytes()
    assert "organloop-log.jsonl" in given.headers["content-disposition"]
    assert given.headers["cache-control"] == "no-store"
    assert browser.get("/log/lines/2").text == exported(records.line(2))
    assert browser.get("/log/lines/999").status_code == 404


def test_packs_are_listed_by_their_promotion_and_given_as_they_are_kept(browser, settings, records) -> None:
    packs = EvidencePacks(settings.release_store)
    kept, stray = packs.keep({"release": 1}), packs.keep({"release": 0})
    for evidence in (kept, "e" * 64):
        records.record(
            ReleasePromoted(
                release=1, replaced=None, approver="Dr. Ito", reason="r", evidence=evidence, digest="d"
            ),
            who="Dr. Ito",
        )
    told = browser.get("/log/packs").text
    assert told.count("/log/packs/") == 2
    assert "is not there" in told
    assert "no line speaks of it" in told
    given = browser.get(f"/log/packs/{kept}")
    assert given.content == packs.path(kept).read_bytes()
    assert json.loads(given.content) == {"release": 1}
    for wrong in ("e" * 64, "..%2Fpacks", "x", kept.upper()):
        assert browser.get(f"/log/packs/{wrong}").status_code == 404
    packs.path(stray).write_bytes(b"{}")
    damaged = browser.get(f"/log/packs/{stray}")
    assert (damaged.status_code, "is damaged" in damaged.text) == (503, True)


def test_every_kind_of_event_has_a_sentence_of_its_own_fields() -> None:
    assert SENTENCES.keys() == set(kinds().values())
    for kind, words in SENTENCES.items():
        named = {name for _, name, _, _ in Formatter().parse(words) if name}
        assert named <= {one.name for one in fields(kind)}, kind
        assert words.endswith((".", "{why}", "{reason:maybe}", "{reasons}")), words


@pytest.mark.parametrize("archive", ARCHIVES, ids=version_of)
def test_what_an_earlier_version_wrote_is_told_in_sentences(archive, tmp_path) -> None:
    home = EarlierHome.on(unpacked(archive, tmp_path / "made"), tmp_path / "home", None)
    records = open_records(home.settings.records_url)
    told = [sentence(one.said) for line in records.lines() if (one := recorded(line))]
    records.close()
    assert len(told) > 60
    for one in told:
        assert not re.search(r"[{}]|None|\d+\.\d+\.\d+\.\d+", one), one
