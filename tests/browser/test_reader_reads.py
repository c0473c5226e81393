"""A reader's day in a real browser: twenty studies are cleared by keyboard, one of them in OHIF."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from playwright.sync_api import TimeoutError as NothingShown

from models.corrections.ledger import OrganLedger, OrganState
from models.corrections.opinions import Opinion, Seen
from models.findings import StudyFindings
from models.organs import ORGANS, name_of, organ
from models.uids import SeriesUid, SopUid, StudyUid
from services.pictures.kept import StudyPictures
from services.pictures.organ_views import organ_views
from services.pictures.picture import Drawn
from services.records.chain import chain_faults
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.cases import Purpose
from services.records.entries.corrections import Correction, OpenQuestion
from services.records.entries.reading import OrganSaid, ReadingState
from services.records.events.corrections import (
    CorrectionRecorded,
    OrgansAccepted,
    QuestionsAnswered,
    SavedInViewer,
)
from services.records.events.event import Proof
from services.records.events.reading import OpinionGiven
from services.records.store import SqlRecords
from tests.browser.conftest import FLAGGED, ORGANS_SEG, PICTURES, RESULT, STUDIES, WINDOWS, Study
from tests.browser.returned import counted, largest, middle, taken_in, told
from tests.browser.test_pages import accessible
from tests.browser.viewer import SIZE, Viewer
from tests.support.arrivals import Hospital
from tests.support.listed import LANG, listed, put_on_list, said
from tests.support.pages import NAME, PASSWORD, ReadingRoom
from tests.support.result_cases import findings_of

SAVED, CONTENT = SopUid("1.5.1"), "c" * 64
WRONG = (3, 11)
"""Studies, in the order of the list, whose stomach the reader calls too small."""

OPENED, ACCEPTED, CALLED_WRONG, DRAWN = 2, 4, 5, 5
"""Keys (deploy/READERS.md): to open the first study from the list, and for a study by what is said of it."""
TO_ANSWER = ("2", "Enter")
"""Keys for a question."""


@dataclass(frozen=True)
class List:
    """The pages of a hospital in which twenty studies wait; the images of the last are in its archive."""

    url: str
    viewer_url: str
    hospital: Hospital
    page: str
    """Of the last."""

    @property
    def records(self) -> SqlRecords:
        records = self.hospital.services.records
        assert isinstance(records, SqlRecords)
        return records


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
def waiting(room: ReadingRoom, hospital: Hospital, study: Study) -> Iterator[List]:
    records, cases = hospital.services.records, hospital.services.cases
    masks = {key: study.truth[name_of(key)] for key in ORGANS}
    findings = findings_of(study.ct, masks, flagged=FLAGGED, demonstration=True)
    pictures = StudyPictures(hospital.services.settings.pictures_folder)
    drawn = list(organ_views(study.ct, findings))
    for number in range(1, STUDIES):
        result = f"{number:064x}"
        pictures.keep(result, result, drawn)
        put_on_list(records, listed(number, result=result, doubt_ml=30.0 - number), organs_of(findings))
    real = {
        "study_uid": study.ct.study_uid,
        "series_uid": study.ct.series_uid,
        "seg_series_uid": study.objects[0].series_uid,
        "patient": cases.pseudonym(str(study.ct.images[0].PatientID)),
    }
    last = listed(STUDIES, result=RESULT, release=2, doubt_ml=30.0 - STUDIES, **real)
    pictures.keep(last.patient, RESULT, drawn)
    records.list_study(last, organs_of(findings))
    ask(records, pictures, drawn)
    with room.records_of(hospital.services.settings.home):
        yield List(room.pages_url, room.viewer_url, hospital, last.page)


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


@pytest.fixture
def desk(browser: Browser) -> Iterator[BrowserContext]:
    """A browser in which nobody has signed in."""
    context = browser.new_context(viewport=SIZE)
    yield context
    context.close()


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/worklist")
    page.locator("input[name=password]:focus").wait_for()
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


def looked_about(page: Page) -> None:
    """Look at what is folded, answer by mistake and with a key that is held, and take it back."""
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


def opened_in_viewer(page: Page, url: str) -> Viewer:
    """Open the organ with the frame in the viewer, by its key; a window that draws nothing is opened anew."""
    for window in range(1, WINDOWS + 1):
        with page.expect_popup() as popup:
            page.keyboard.press("e")
        viewer = Viewer(popup.value, url)
        try:
            viewer.shown()
        except NothingShown:
            viewer.page.close()
            if window == WINDOWS:
                raise
            continue
        return viewer
    raise AssertionError("no window was tried")


def draw_anew(viewer: Viewer, study: Study) -> None:
    """Paint out of the stomach and into the liver, erase in the liver, and save."""
    k = largest(study, "Stomach")
    stomach, liver = (np.array(middle(study, label, k)) for label in ("Stomach", "Liver"))
    viewer.segments()
    assert (viewer.loaded(), viewer.active()) == (ORGANS_SEG, "Stomach")
    assert viewer.image_on_show() == study.look.image_uid
    viewer.show(study.images[k])
    viewer.tool("Brush", radius_mm=12)
    viewer.stroke(stomach, (stomach + liver) / 2)
    viewer.select("Liver")
    viewer.show(study.images[k + 1])
    viewer.tool("Eraser", radius_mm=10)
    viewer.stroke(np.add(liver, (0, 0, 5)), np.add(liver, (10, 10, 5)))
    viewer.save()


def learnt(hospital: Hospital, study: Study) -> None:
    """Let the save be taken in: what was painted and erased is what is learnt, under the proven name."""
    uid = taken_in(hospital, study)
    records, difference = hospital.services.records, counted(hospital.archive, study, uid)
    [kept] = records.corrections(sop_instance_uid=uid)
    assert (kept.sent_uid, kept.release) == (study.objects[0].sop_instance_uid, 2)
    assert (kept.status, kept.questions, kept.reader) == ("correction", (), NAME)
    acts = [records.last(kind) for kind in (SavedInViewer, CorrectionRecorded)]
    assert [(one.who, one.proof) for one in acts if one] == 2 * [(NAME, Proof("owner", "local"))]
    assert told(kept.organs) == difference
    [case] = records.cases(Purpose.TUNING)
    assert case.case_id == hospital.services.cases.pseudonym(kept.name)
    taught = hospital.worker.documents[uid].teaches
    assert {organ(key).label for key in taught} == {*difference, "Aorta"}, "accepted with the viewer open"
    assert difference["Stomach"].added > 100
    assert difference["Stomach"].removed == 0
    assert difference["Liver"].added == 0
    assert difference["Liver"].removed > 150
    by_overpaint = {one.organ: one.by_overpaint_voxels for one in kept.organs}
    assert 0 < by_overpaint["liver"] < difference["Liver"].removed  # the brush took some, the eraser the rest


def test_a_reader_clears_twenty_studies_by_keyboard_and_each_act_has_the_proven_name(
    desk: BrowserContext, waiting: List, study: Study
) -> None:
    """17 are accepted, 2 are wrong, 1 is corrected in OHIF, and a question is answered."""
    asked: list[str] = []
    desk.on("request", lambda request: asked.append(request.url))
    errors: list[str] = []
    page, records = desk.new_page(), waiting.records
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    sign_in(page, waiting.url)
    accessible(page, "worklist")
    page.keyboard.press("/")
    page.keyboard.type(str(study.ct.images[0].PatientName).partition("^")[0])
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Found").wait_for()
    assert page.locator("tbody tr").get_attribute("data-study") == waiting.page
    accessible(page, "found")
    page.get_by_role("link", name="Back to the worklist").press("Enter")
    page.get_by_role("heading", name=f"{STUDIES} waiting").wait_for()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Stomach").wait_for()
    accessible(page, "study")
    looked_about(page)
    pressed = OPENED
    for number in range(1, STUDIES):
        page.locator("[data-organ=stomach]").wait_for()
        before = page.url
        pressed += press(page, "jw1a" if number in WRONG else "jaa")
        assert page.locator(".given").count() == 2
        pressed += press(page, "n")
        page.wait_for_url(lambda url, before=before: url != before)
    assert page.url == f"{waiting.url}/studies/{waiting.page}"
    pressed += press(page, "j")
    viewer = opened_in_viewer(page, waiting.viewer_url)
    draw_anew(viewer, study)
    viewer.page.close()
    pressed += len("e") + press(page, "jan")
    page.wait_for_url(f"{waiting.url}/worklist")
    page.get_by_role("heading", name="1 waiting").wait_for()
    learnt(waiting.hospital, study)
    page.get_by_role("heading", name="0 waiting").wait_for()
    assert page.locator("tbody tr").get_attribute("class") == "gone"
    page.keyboard.press("r")
    page.get_by_text("Nothing waits.").wait_for()
    accessible(page, "nothing-waits")
    assert pressed == OPENED + 17 * ACCEPTED + 2 * CALLED_WRONG + DRAWN
    page.goto(f"{waiting.url}/studies/{waiting.page}")
    page.get_by_role("listitem").filter(has_text=f"{NAME}: ").filter(has_text="Stomach").wait_for()
    page.get_by_role("link", name="What became of it").press("Enter")
    page.get_by_role("heading", name=NAME).wait_for()
    accessible(page, "became")
    page.get_by_role("link", name="Questions").click()
    page.get_by_text("Segment 10, Lesion, is called like none of the organs that were sent.").wait_for()
    accessible(page, "questions")
    for key in TO_ANSWER:
        page.keyboard.press(key)
    page.get_by_text("Nothing is asked.").wait_for()
    answered = records.last(QuestionsAnswered)
    assert (answered.who, answered.proof, answered.said.answers) == (
        NAME,
        Proof("owner", "local"),
        ("10=stomach",),
    )
    assert records.arrival(SAVED).state is ArrivalState.WAITING, "the ingest goes on"
    assert records.worklist() == ()
    assert len(records.worklist(ReadingState.READ)) == STUDIES
    acts = records.all(OpinionGiven)
    opinions = [one.said.opinion for one in acts]
    assert (opinions.count("accept"), opinions.count("wrong"), opinions.count("taken-back")) == (37, 2, 1)
    [in_viewer] = records.all(OrgansAccepted)
    assert in_viewer.said.organs == ("aorta",)
    assert {(one.who, one.proof) for one in (*acts, in_viewer)} == {(NAME, Proof("owner", "local"))}
    assert chain_faults(records.lines()) == []
    here = (f"{waiting.url}/", f"{waiting.viewer_url}/", "blob:", "data:")
    assert [one for one in asked if not one.startswith(here)] == []
    assert errors == []


def test_what_another_does_is_seen_without_loading_anew_and_rows_stay_where_they_are(
    desk: BrowserContext, waiting: List
) -> None:
    page, records = desk.new_page(), waiting.records
    sign_in(page, waiting.url)
    row = page.locator("tbody tr").first
    assert row.locator("[data-holder]").text_content() == "free"
    first = records.worklist()[0]
    records.hold(first.study_uid, LANG)
    records.give_opinion(first.result, ["stomach", "aorta"], Opinion.ACCEPT, reader=LANG, seen=Seen.PICTURES)
    page.get_by_role("heading", name=f"{STUDIES - 1} waiting").wait_for()
    assert row.get_attribute("class") == "gone"
    page.get_by_role("button", name="Show what has changed").wait_for()
    page.keyboard.press("r")
    page.wait_for_function(f"document.querySelectorAll('tbody tr').length === {STUDIES - 1}")
