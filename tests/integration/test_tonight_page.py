"""What the page of the next night shows is what `organloop tonight` says: numbers, doubts and pictures."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from deploy.cli.main import app as command
from deploy.pages.application import application
from deploy.pages.model.beside import Beside
from deploy.pages.model.tonight import doubted
from flows.tuning.tonight import RefusedTonight, tonight
from models.corrections import label_doubts
from models.people import Person, Role
from models.uids import SopUid, StudyUid
from services.records.events.corrections import SavedInViewer
from services.records.events.results import StudySegmented
from services.wiring import Services
from tests.support.learning import TUNING, Site

HERE = "http://127.0.0.1:8500"
OURS = {"accept": "text/html", "origin": HERE}
AUDITOR = Person("a1", "https://id.example", "Ms. Roth", frozenset({Role.AUDITOR}))
OPERATOR = Person("o1", "https://id.example", "Mr. Oz", frozenset({Role.OPERATOR}))
READER = Person("w1", "https://id.example", "Dr. Weber", frozenset({Role.READER}))


class AsIs:
    who: Person | None = AUDITOR

    def person(self, request: object) -> Person | None:
        return self.who


@pytest.fixture
def services(corrected: Site, tmp_path: Path) -> Services:
    return corrected.copy(tmp_path).services


@pytest.fixture
def app(services: Services) -> FastAPI:
    app = application(services.settings, HERE)
    app.state.way = AsIs()
    return app


@pytest.fixture
def browser(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url=HERE, follow_redirects=False, headers=OURS) as client:
        yield client
    for beside in (app.state.tonights.nights, app.state.tonights.disk, app.state.tonights.lessons.beside):
        beside.wait()


def worked_out(app: FastAPI, browser: TestClient) -> str:
    browser.get("/model/tonight")
    app.state.tonights.lessons.beside.wait()
    return browser.get("/model/tonight").text


def said_by_command(services: Services, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setenv("ORGANLOOP_HOME", str(services.settings.home))
    told = CliRunner().invoke(command, ["tonight", "--json"])
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


def organ_rows(text: str) -> dict[str, tuple[str, int, int, str]]:
    row = (
        r'data-organ-row="(\w+)">.*?<td>(\w+)</td>\s*<td[^>]*>(\d*)</td><td[^>]*>(\d*)</td>\s*<td>(.*?)</td>'
    )
    rows = re.findall(row, text, re.S)
    return {
        organ: (does, int(studies or 0), int(patients or 0), re.sub(r"<.*?>", "", why).strip())
        for organ, does, studies, patients, why in rows
    }


def test_the_page_says_what_the_command_says_and_follows(app, browser, services, monkeypatch) -> None:
    first = browser.get("/model/tonight").text
    assert "It is being worked out" in first
    assert "data-working" in first
    text = worked_out(app, browser)
    document = said_by_command(services, monkeypatch)
    assert organ_rows(text) == {
        one["organ"]: (
            "learns" if one["learns"] else "waits",
            one["studies"],
            one["patients"],
            f"{one['detail']} {one['code']}".strip(),
        )
        for one in document["organs"]
    }
    assert f"The next night tunes heads of release {document['incumbent']}." in text
    cases = [one for one in document["cases"] if not one["replayed"]]
    assert (
        f"{len(cases)} corrected cases; {document['replayed_at_most']} of {document['older']} older" in text
    )
    assert "None: every label" in text
    beside = app.state.tonights.lessons.beside
    known = beside.look(beside._key).at
    flags = StudySegmented(study_uid="1.2.3", release=1, seconds={}, flags={}, result="r")
    services.records.record(flags, who="segment_study")
    assert worked_out(app, browser).count("being worked out anew") == 0, "segmenting teaches nothing"
    assert beside.look(beside._key).at == known
    uid = services.records.corrections()[0].sop_instance_uid
    services.records.withdraw(uid, reader="Dr. A", reason="wrong phase")
    anew = browser.get("/model/tonight").text
    assert "being worked out anew" in anew
    assert organ_rows(anew) == organ_rows(text), "until then the last answer stands"
    text = worked_out(app, browser)
    assert {row[0] for row in organ_rows(text).values()} == {"waits"}
    assert "The next night finds nothing to learn." in text


def test_a_label_in_doubt_is_shown_with_who_drew_it_and_how_to_withdraw_it(
    app, browser, services, monkeypatch
) -> None:
    monkeypatch.setattr(label_doubts, "TOO_LARGE", 1e-6)  # in this process, so here it is worked out
    app.state.tonights.lessons.beside = Beside(lambda: tonight(services, TUNING), 1e9)
    correction = services.records.corrections()[0]
    saved = SavedInViewer(sop_instance_uid=correction.sop_instance_uid, study_uid="1.2")
    key = SavedInViewer.key(correction.sop_instance_uid, 1)
    services.records.signed(READER).record(saved, who=READER.name, key=key)
    text = worked_out(app, browser)
    case = services.cases.pseudonym(correction.name)
    shown = re.search(rf'data-doubt="{case}-aorta">(.*?)</section>', text, re.S)[1]
    assert "absurd-volume" in shown
    assert f"Drawn by {correction.reader or 'somebody who is not named'}" in shown
    assert f"organloop withdraw {correction.sop_instance_uid} --reason" in shown
    address = f"/model/tonight/labels/{case}/aorta"
    assert f'src="{address}"' in shown
    given = browser.get(address)
    assert given.headers["cache-control"] == "no-store"
    picture = Image.open(io.BytesIO(given.content)).convert("RGB")
    assert picture.width == 450
    assert len(picture.getcolors(1 << 20)) > 50, "a CT with lines"
    for wrong in (f"/model/tonight/labels/{case}/liver", f"/model/tonight/labels/{'0' * 64}/aorta"):
        assert browser.get(wrong).status_code == 404
    app.state.way.who = OPERATOR
    assert "/model/tonight/labels/" not in browser.get("/model/tonight").text
    assert browser.get(address).status_code == 403
    app.state.way.who = READER
    assert browser.get("/model/tonight").status_code == 403


def test_who_drew_it_is_proven_where_the_save_is(app, browser, services, monkeypatch) -> None:
    before = services.records.corrections()[0]
    uid, study = SopUid("1.9.1"), StudyUid(before.study_uid)
    services.records.record_correction(
        replace(before, sop_instance_uid=uid, study_uid=study, reader=READER.name, content="c" * 64)
    )
    label = RefusedTonight("aorta", "c" * 64, str(uid), "absurd-volume", "too large")
    assert [(one.drawn_by, one.proven) for one in doubted([label], services.records)] == [
        ("Dr. Weber", False)
    ]
    saved = SavedInViewer(sop_instance_uid=uid, study_uid=study)
    services.records.signed(READER).record(saved, who=READER.name, key=SavedInViewer.key(uid, 1))
    (shown,) = doubted([label], services.records)
    assert (shown.drawn_by, shown.proven) == ("Dr. Weber", True)
    nobodys = replace(label, correction=None)
    assert [one.drawn_by for one in doubted([nobodys], services.records)] == [""]


def test_a_damaged_case_is_said_and_has_no_picture(app, browser, services) -> None:
    case = services.cases.pseudonym(services.records.corrections()[0].name)
    path = services.cases.folder / case / "volume.nii.gz"
    path.write_bytes(path.read_bytes()[:-9])
    text = worked_out(app, browser)
    assert text.count("case-damaged") >= 2
    told = browser.get(f"/model/tonight/labels/{case}/aorta")
    assert (told.status_code, "is not what was kept" in told.text) == (503, True)


def test_what_cannot_be_worked_out_is_said_and_the_rest_is_whole(app, browser, services) -> None:
    for file in (services.settings.release_store / "releases" / "1").iterdir():
        file.write_bytes(b"{}")
    app.state.tonights.lessons.look()
    app.state.tonights.lessons.beside.wait()
    answer = app.state.tonights.lessons.look()
    assert "release" in answer.failed
    assert (answer.value, answer.working) == (None, False)


def test_the_disk_is_said_by_kind_with_what_may_go(app, browser, services) -> None:
    app.state.tonights.disk.look()
    app.state.tonights.disk.wait()
    held = {one.name: one for one in app.state.tonights.disk.look().value.held}
    cases = [services.settings.case_store / one.case_id for one in services.records.cases("tuning")]
    files = [file for folder in cases for file in folder.rglob("*") if file.is_file()]
    assert (held["Cases for tuning"].files, held["Cases for tuning"].size) == (
        len(files),
        sum(file.stat().st_size for file in files),
    )
    assert held["Releases"].size > 0
    assert held["Releases"].free == 0
    text = browser.get("/model/tonight").text
    assert "Cases for tuning" in text
    assert "serves" in text
