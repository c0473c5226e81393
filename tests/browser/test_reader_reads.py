"""The reader's pages in a real browser: twenty studies are cleared by keyboard, each act under its name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from deploy.stack.local_process import free_port
from deploy.stack.pages import PagesServer
from models.corrections.ledger import OrganLedger, OrganState
from models.corrections.opinions import Opinion, Seen
from models.findings import StudyFindings
from models.organs import ORGANS, name_of
from models.uids import SeriesUid, SopUid, StudyUid
from services.people.local_account import LocalAccount
from services.pictures.kept import StudyPictures
from services.pictures.organ_views import organ_views
from services.pictures.picture import Drawn
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.corrections import Correction, OpenQuestion
from services.records.entries.reading import OrganSaid, ReadingState
from services.records.events.corrections import QuestionsAnswered
from services.records.events.reading import OpinionGiven
from services.records.store import SqlRecords, open_records
from services.settings import Settings
from tests.browser.conftest import PICTURES, Study
from tests.browser.test_pages import accessible, chromium
from tests.browser.viewer import SIZE
from tests.conftest import ROOT
from tests.support.listed import LANG, listed, put_on_list, said
from tests.support.result_cases import findings_of

__all__ = ["chromium"]

STUDIES = 20
SAVED, CONTENT = SopUid("1.5.1"), "c" * 64
NAME, PASSWORD = "Dr. Weber", "a long enough one"


@dataclass(frozen=True)
class Room:
    """The pages of a home with studies that wait."""

    url: str
    first: str
    records: SqlRecords


def organs_of(findings: StudyFindings) -> tuple[OrganSaid, ...]:
    """Return what was said of the phantom: stomach and aorta are flagged."""
    return tuple(
        said(
            one.organ,
            one.flag,
            *(("fragmented", "bound-under-target") if one.flagged else ()),
            volume_ml=one.volume_ml,
            importance_ml=14.0 if one.organ == "stomach" else 5.0,
            segment=number,
        )
        for number, one in enumerate(findings.organs, 1)
    )


@pytest.fixture
def room(study: Study, tmp_path: Path) -> Iterator[Room]:
    settings = Settings(home=tmp_path)
    shutil.copytree(ROOT / "models" / "starter", settings.release_store)
    records = open_records(settings.records_url)
    masks = {key: study.truth[name_of(key)] for key in ORGANS}
    findings = findings_of(study.ct, masks, flagged=("stomach", "aorta"), demonstration=True)
    pictures = StudyPictures(settings.pictures_folder)
    drawn = list(organ_views(study.ct, findings))
    for number in range(1, STUDIES + 1):
        result = f"{number:064x}"
        pictures.keep(f"{number:064x}", result, drawn)
        put_on_list(records, listed(number, result=result, doubt_ml=30.0 - number), organs_of(findings))
    ask(records, pictures, drawn)
    first = LocalAccount(settings.people_folder / "account.json").make()
    assert first is not None
    with PagesServer(tmp_path / "pages", free_port(0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORGANLOOP_HOME", str(tmp_path))
        yield Room(server.start(tmp_path).url, first, records)
    records.close()


def ask(records: SqlRecords, pictures: StudyPictures, drawn: list[Drawn]) -> None:
    """Have a saved SEG on record that leaves a question open; its segment looks like the stomach."""
    question = OpenQuestion(10, "Lesion", ("stomach", "pancreas"), "not-recognised")
    uids = SAVED, SopUid("1.4.1.1.64"), StudyUid("1.2.1"), SeriesUid("1.3.1")
    edited = OrganLedger("liver", OrganState.EDITED, 10, 5, 1, 0.1, 0.05, 1.5)
    said_so = {"questions": (question,), "content": CONTENT}
    records.record_correction(Correction(*uids, 1, "correction", "", "OHIF", (edited,), **said_so))
    records.change_arrival(None, Arrival(SAVED, uids[2], ArrivalState.INGESTED, code="question-open"))
    stomach = [one for one in drawn if one.picture.organ == "stomach"]
    names = [one.picture.name.replace("stomach", "segment_10") for one in stomach]
    pictures.keep(
        CONTENT,
        CONTENT,
        [
            replace(one, picture=replace(one.picture, name=name, organ="segment_10"))
            for one, name in zip(stomach, names, strict=True)
        ],
    )


def sign_in(page: Page, room: Room) -> None:
    page.goto(f"{room.url}/worklist")
    page.locator("input[name=password]:focus").wait_for()
    page.keyboard.type(room.first)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Who are you?").wait_for()
    page.locator("input[name=name]:focus").wait_for()
    page.keyboard.type(NAME)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=f"{STUDIES} waiting").wait_for()


def press(page: Page, keys: str) -> int:
    """Press keys, one after the other, each answer awaited; return how many."""
    for key in keys:
        page.keyboard.press(key)
        if key in "a123456sAu":
            page.get_by_text("Saved.").wait_for()
            page.evaluate("() => document.querySelector('#status').textContent = ''")
    return len(keys)


def test_a_reader_clears_twenty_studies_by_keyboard_and_each_act_has_the_proven_name(
    chromium: Browser, room: Room
) -> None:
    page = chromium.new_page(viewport=SIZE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    sign_in(page, room)
    accessible(page, "worklist")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Stomach").wait_for()
    accessible(page, "study")
    page.keyboard.press("v")
    page.screenshot(path=PICTURES / "pages-study-all.png", full_page=True)
    page.keyboard.press("v")
    page.keyboard.press("a")
    page.get_by_text("Choose an organ first").wait_for()
    page.keyboard.press("j")
    for _ in range(5):
        page.keyboard.down("a")  # held: the second and later ones repeat
    page.keyboard.up("a")
    page.get_by_text("Saved.").wait_for()
    assert page.locator(".given").count() == 1, "a key that is held answers for one organ"
    page.keyboard.press("k")
    press(page, "u")
    assert page.locator(".given").count() == 0
    pressed = 3
    for number in range(1, STUDIES + 1):
        stomach = page.locator("[data-organ=stomach]")
        stomach.wait_for()
        before = page.url
        pressed += press(page, "jw1a" if number in (3, 11) else "jaa")
        assert page.locator(".given").count() == 2
        pressed += press(page, "n")
        page.wait_for_url(lambda url, before=before: url != before)
    page.get_by_text("Nothing waits.").wait_for()
    accessible(page, "nothing-waits")
    page.get_by_role("link", name="Questions").click()
    page.get_by_text("Segment 10, Lesion, is called like none of the organs that were sent.").wait_for()
    accessible(page, "questions")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing is asked.").wait_for()
    answered = room.records.last(QuestionsAnswered)
    assert (answered.who, answered.proof.issuer, answered.said.answers) == (NAME, "local", ("10=stomach",))
    assert room.records.arrival(SAVED).state is ArrivalState.WAITING, "the ingest goes on"
    assert room.records.worklist() == ()
    assert len(room.records.worklist(ReadingState.READ)) == STUDIES
    acts = room.records.all(OpinionGiven)
    assert {(one.who, one.proof and one.proof.issuer) for one in acts} == {(NAME, "local")}
    opinions = [one.said.opinion for one in acts]
    assert (opinions.count("accept"), opinions.count("wrong"), opinions.count("taken-back")) == (39, 2, 1)
    assert pressed <= 4 * STUDIES + 6
    assert [one for one in asked if not one.startswith(f"{room.url}/")] == []
    assert [one for one in errors if "/worklist/names" not in one and "503" not in one] == []


def test_what_another_does_is_seen_without_loading_anew_and_rows_stay_where_they_are(
    chromium: Browser, room: Room
) -> None:
    page = chromium.new_page(viewport=SIZE)
    sign_in(page, room)
    row = page.locator("tbody tr").first
    assert row.locator("[data-holder]").text_content() == "free"
    first = room.records.worklist()[0]
    room.records.hold(first.study_uid, LANG)
    room.records.give_opinion(
        first.result, ["stomach", "aorta"], Opinion.ACCEPT, reader=LANG, seen=Seen.PICTURES
    )
    page.get_by_role("heading", name=f"{STUDIES - 1} waiting").wait_for()
    assert row.get_attribute("class") == "gone"
    page.get_by_role("button", name="Show what has changed").wait_for()
    page.keyboard.press("r")
    page.wait_for_function(f"document.querySelectorAll('tbody tr').length === {STUDIES - 1}")
