"""The reader's pages on a home whose studies are listed without any image."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from deploy.pages.application import application
from deploy.pages.site import Site
from flows.calibration.random_audit import called_wrong_in
from flows.reading.answer import answer as answer_of
from models.corrections.opinions import Opinion
from models.errors import Refused
from models.findings import Figure
from models.people import Person, Role
from models.uids import SeriesUid, StudyUid
from services.pictures.kept import StudyPictures
from services.pictures.picture import Drawn, Picture, Plane
from services.records.entries.reading import ReadingState
from services.records.events.reading import OpinionGiven
from services.records.port import Records
from services.settings import Settings
from tests.conftest import ROOT
from tests.support.listed import LANG, WEBER, listed, put_on_list, said

HERE = "http://127.0.0.1:8500"
OURS = {"accept": "text/html", "origin": HERE}
AUDITOR = Person("a1", "https://id.example", "Ms. Roth", frozenset({Role.AUDITOR}))
OPERATOR = Person("o1", "https://id.example", "Mr. Ito", frozenset({Role.OPERATOR}))
SPLEEN, STOMACH, LIVER = (
    said(
        "spleen", "reject", "wrong-side", "bound-under-half-target", dsc_lower_bound=0.44, importance_ml=9.0
    ),
    said("stomach", "review", "fragmented", segment=2),
    said("liver", volume_ml=1500.0, segment=3),
)


class AsIs:
    """A way to sign in by which whoever a test says is there: which way it was is not tested here."""

    who: Person | None = WEBER

    def person(self, request: object) -> Person | None:
        return self.who


@pytest.fixture
def settings(tmp_path) -> Settings:
    settings = Settings(home=tmp_path)
    shutil.copytree(ROOT / "models" / "starter", settings.release_store)
    return settings


@pytest.fixture
def app(settings, monkeypatch) -> FastAPI:
    monkeypatch.setattr("deploy.pages.reading.study.viewer_address", lambda settings: "http://127.0.0.1:3000")
    app = application(settings, HERE)
    app.state.way = AsIs()
    return app


@pytest.fixture
def records(app) -> Records:
    site: Site = app.state.site
    return site.records


@pytest.fixture
def browser(app) -> Iterator[TestClient]:
    with TestClient(app, base_url=HERE, follow_redirects=False, headers=OURS) as client:
        yield client


def page_of(number: int) -> str:
    return f"{number:016x}"


def answer(browser: TestClient, number: int, *organs: str, opinion: str = "accept", **more: str):
    fields = {"result": f"result-{number}", "opinion": opinion, "organ": list(organs)} | more
    return browser.post(f"/studies/{page_of(number)}/answers", data=fields)


def rows(text: str) -> list[int]:
    return [int(one, 16) for one in re.findall(r'<tr id="([0-9a-f]{16})"', text)]


def test_the_list_says_what_is_flagged_worst_first_and_names_nobody(browser, records) -> None:
    put_on_list(records, listed(1, rank=12, doubt_ml=4.0), (STOMACH, LIVER))
    put_on_list(records, listed(2, rank=10, doubt_ml=11.0), (LIVER, STOMACH, SPLEEN))
    put_on_list(records, listed(3, rank=2), (STOMACH,))
    put_on_list(records, listed(4, rank=19), (LIVER,))
    told = browser.get("/worklist").text
    assert rows(told) == [3, 2, 1]
    assert "<h1>3 waiting</h1>" in told
    records.set_incumbent(1, approver="Dr. Ito", reason="first")
    assert "Not for clinical use." in browser.get("/worklist").text
    assert "Spleen: do not use. Stomach: look" in told
    assert "11 ml" in told
    assert "1.2.2" not in told
    assert rows(browser.get("/worklist?state=clear").text) == [4]
    assert rows(browser.get("/worklist?organ=spleen").text) == [2]


def test_a_random_check_tells_nothing_of_its_flags(browser, records) -> None:
    put_on_list(records, listed(1, audited=True, doubt_ml=7.5), (LIVER, SPLEEN))
    told = browser.get("/worklist").text
    assert "Random check" in told
    assert "ml</td>" not in told
    assert "rejected" not in told
    shown = browser.get(f"/studies/{page_of(1)}").text
    assert "Random check" in shown
    assert "Do not use" not in shown
    assert "wrong side" not in shown
    assert "at least 0.44" not in shown
    assert re.findall(r'id="(spleen|liver)"', shown) == ["liver", "spleen"], "in the order of the result"


def test_the_list_goes_on_where_a_page_ends(browser, records, monkeypatch) -> None:
    monkeypatch.setattr("deploy.pages.reading.worklist.AT_ONCE", 2)
    for number in range(1, 6):
        put_on_list(records, listed(number, doubt_ml=10.0 - number), (STOMACH,))
    seen, address = [], "/worklist?organ=stomach"
    while address:
        told = browser.get(address).text
        seen.append(rows(told))
        more = re.search(r'href="(/worklist\?[^"]*)">Rows below', told)
        address = more and more[1].replace("&amp;", "&")
    assert seen == [[1, 2], [3, 4], [5]]


def test_a_study_shows_the_worst_organ_first_with_verdict_reasons_bound_and_volume(browser, records) -> None:
    early, late = listed(1, patient="p" * 64), listed(2, patient="p" * 64)
    put_on_list(records, early, (replace(SPLEEN, volume_ml=284.0),))
    put_on_list(records, late, (STOMACH, SPLEEN, LIVER))
    told = browser.get(f"/studies/{page_of(2)}").text
    assert re.findall(r'id="(spleen|stomach|liver)"', told) == ["spleen", "stomach", "liver"]
    assert "Do not use" in told
    assert "What was found lies on the wrong side of the body." in told
    assert re.search(r"at least 0\.44 in 9 of 10 such cases; 0\.\d\d is wanted", told)
    assert re.search(r"100 ml \(284 ml in the study listed on \d\d\.\d\d\.\d{4}\)", told)
    assert "<title>Study, 2 organs to look at" in told
    assert "There are no pictures of it." in told
    assert "Not for clinical use." in told


SAID_WITH_NUMBERS = [
    (
        "fragmented",
        "In more pieces|in more pieces",
        "It is in 3 pieces, the largest 84% of it; one is expected.",
    ),
    (
        "volume-out-of-range",
        "It measures 100 ml, which",
        "It measures 2,950 ml; adults have 800 to 2,500 ml.",
    ),
    ("not-adjacent", "farther from its neighbours", "34 mm from the liver; at most 20 mm are usual."),
    ("outside-body", "lies outside the body", "12 ml of it lie outside the skin."),
    ("overlapping", "Another organ claims", "9.0 ml as liver"),
    ("wrong-side", "wrong side of the body", "on the wrong side, 23 mm beyond the middle of the body."),
    ("not-found", "The organ was not found", "although liver (1,500 ml) and left kidney (180 ml) were"),
    ("doubtful-slices", "Slices in or beside", "2 slices in or beside it may not be of their place"),
    (
        "out-of-domain",
        "unlike those the release",
        "slice thickness 7.5 mm, usual 1.0 to 5.0 mm. Check every organ.",
    ),
]
NUMBERS = (
    Figure("fragmented", "pieces", 3, (1,)),
    Figure("fragmented", "largest_share", 0.84),
    Figure("volume-out-of-range", "volume_ml", 2950.0, (800.0, 2500.0)),
    Figure("not-adjacent", "gap_mm", 34.2, (0.0, 20.0), "liver"),
    Figure("outside-body", "outside_ml", 12.0),
    Figure("overlapping", "shared_ml", 9.0, (), "liver"),
    Figure("wrong-side", "beyond_mm", 23.0),
    Figure("not-found", "volume_ml", 1500.0, (), "liver"),
    Figure("not-found", "volume_ml", 180.0, (), "left_kidney"),
    Figure("doubtful-slices", "slices", 2),
    Figure("out-of-domain", "slice_mm", 7.5, (1.0, 5.0)),
)


@pytest.mark.parametrize(("reason", "without", "with_numbers"), SAID_WITH_NUMBERS)
def test_a_reason_is_told_with_its_numbers_and_one_of_an_earlier_version_in_plain_words(
    browser, records, reason, without, with_numbers
) -> None:
    put_on_list(records, listed(1), (said("stomach", "review", reason, figures=NUMBERS),))
    put_on_list(records, listed(2), (said("stomach", "review", reason),))
    told = browser.get(f"/studies/{page_of(1)}").text
    assert with_numbers in told
    assert not re.search(without, told)
    assert re.search(without, browser.get(f"/studies/{page_of(2)}").text)


def test_answers_are_acts_of_who_signed_in_and_the_study_leaves_the_list(browser, records) -> None:
    put_on_list(records, listed(1), (SPLEEN, STOMACH, LIVER))
    given = answer(browser, 1, "spleen", opinion="wrong", why="too-small")
    assert (given.status_code, given.headers["location"]) == (303, f"/studies/{page_of(1)}#spleen")
    told = browser.get(f"/studies/{page_of(1)}").text
    assert "Dr. Weber: called wrong, too small" in told
    assert records.listed(page_of(1)).state is ReadingState.WAITING
    answer(browser, 1, "stomach", "liver")
    assert records.listed(page_of(1)).state is ReadingState.READ
    assert rows(browser.get("/worklist?state=called-wrong").text) == [1]
    assert rows(browser.get("/worklist?state=read").text) == [1]
    assert "Dr. Weber: accepted, with 1 other" in browser.get(f"/studies/{page_of(1)}").text
    acts = records.all(OpinionGiven)
    assert [(one.who, one.proof.subject, one.said.seen) for one in acts] == [
        ("Dr. Weber", "w1", "pictures")
    ] * 2
    assert records.accepted_organs(SeriesUid("1.3.1"), 1) == frozenset(), "pictures accept nothing"
    answer(browser, 1, "stomach", opinion="taken-back")
    assert records.listed(page_of(1)).state is ReadingState.WAITING


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"opinion": "wrong"}, "why-wrong"),
        ({"opinion": "accept", "why": "missed"}, "why-wrong"),
        ({"organ": "tail"}, "unknown-organ"),
        ({"result": "an-earlier-one"}, "drawn-anew"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_and_leaves_nothing(browser, records, fields, code) -> None:
    put_on_list(records, listed(1), (STOMACH,))
    given = {"result": "result-1", "opinion": "accept", "organ": "stomach"} | fields
    told = browser.post(f"/studies/{page_of(1)}/answers", data=given)
    assert (told.status_code, code in told.text) == (409, True)
    assert records.all(OpinionGiven) == ()


def test_an_answer_for_no_organ_is_none(records) -> None:
    put_on_list(records, listed(1), (STOMACH,))
    with pytest.raises(Refused) as refused:
        answer_of(page_of(1), "result-1", [], Opinion.ACCEPT, WEBER, records)
    assert refused.value.code == "no-organ"


def test_a_random_check_is_answered_after_a_look_in_the_viewer_and_then_it_counts(browser, records) -> None:
    put_on_list(records, listed(1, audited=True), (LIVER,))
    assert "needs-viewer" in answer(browser, 1, "liver").text
    assert "Accept (a)" not in browser.get(f"/studies/{page_of(1)}").text
    sent = browser.get(f"/studies/{page_of(1)}/viewer?organ=liver")
    assert sent.status_code == 303
    assert "Accept (a)" in browser.get(f"/studies/{page_of(1)}").text
    assert answer(browser, 1, "liver").status_code == 303
    assert records.accepted_organs(SeriesUid("1.3.1"), 1) == {"liver"}
    assert records.listed(page_of(1)).state is ReadingState.READ
    assert "accepted-in-viewer" in answer(browser, 1, "liver", opinion="taken-back").text


def test_what_was_accepted_in_the_viewer_stands_for_its_reader_and_others_may_call_it_wrong(
    app, browser, records
) -> None:
    put_on_list(records, listed(1), (STOMACH, LIVER))
    browser.get(f"/studies/{page_of(1)}/viewer?organ=stomach")
    assert answer(browser, 1, "stomach").status_code == 303
    for opinion, why in (("wrong", {"why": "missed"}), ("cannot-say", {}), ("taken-back", {})):
        assert "accepted-in-viewer" in answer(browser, 1, "stomach", opinion=opinion, **why).text
    answer(browser, 1, "stomach", "liver")
    assert records.accepted_organs(SeriesUid("1.3.1"), 1) == {"stomach"}, "several at once are from pictures"
    browser.post(f"/studies/{page_of(1)}/leave")
    app.state.way.who = LANG
    assert answer(browser, 1, "stomach", opinion="wrong", why="missed").status_code == 303
    assert called_wrong_in(records.opinions(StudyUid("1.2.1")), 1) == {"stomach"}


def test_an_acceptance_of_an_earlier_outline_is_no_word_on_a_later_one(browser, records) -> None:
    put_on_list(records, listed(1), (STOMACH,))
    browser.get(f"/studies/{page_of(1)}/viewer?organ=stomach")
    answer(browser, 1, "stomach")
    assert records.listed(page_of(1)).state is ReadingState.READ
    put_on_list(records, replace(listed(1), result="later"), (STOMACH,))
    assert records.listed(page_of(1)).state is ReadingState.WAITING
    browser.get(f"/studies/{page_of(1)}/viewer?organ=stomach")
    fields = {"result": "later", "opinion": "accept", "organ": "stomach"}
    browser.post(f"/studies/{page_of(1)}/answers", data=fields)
    assert records.listed(page_of(1)).state is ReadingState.READ


def test_a_viewer_that_does_not_run_was_not_looked_into(browser, records, monkeypatch) -> None:
    put_on_list(records, listed(1, audited=True), (LIVER,))
    foreign = {"sec-fetch-site": "cross-site"}
    assert browser.get(f"/studies/{page_of(1)}/viewer?organ=liver", headers=foreign).status_code == 303
    monkeypatch.setattr("deploy.pages.reading.study.viewer_address", lambda settings: None)
    assert browser.get(f"/studies/{page_of(1)}/viewer?organ=liver").status_code == 503
    assert "needs-viewer" in answer(browser, 1, "liver").text


def test_the_viewer_opens_with_our_seg_at_the_image_and_the_organ(browser, records, settings) -> None:
    result = "e" * 64
    put_on_list(records, listed(1, result=result), (STOMACH,))
    drawn = Picture("stomach-axial-1", "stomach", Plane.AXIAL, 4, 3, 1.0, "M 0 0 Z", "", "1.9.7", 41)
    StudyPictures(settings.pictures_folder).keep("f" * 64, result, [Drawn(drawn, b"PNG of a stomach")])
    sent = browser.get(f"/studies/{page_of(1)}/viewer?organ=stomach").headers["location"]
    assert sent == (
        "/viewer/segmentation?StudyInstanceUIDs=1.2.1&initialSeriesInstanceUID=1.4.1"
        "&hangingProtocolId=default&image=1.9.7&segment=2"
    )
    told = browser.get(f"/studies/{page_of(1)}").text
    assert 'alt="Stomach, axial, image 41"' in told
    address = f"/studies/{page_of(1)}/pictures/stomach-axial-1"
    assert browser.get(address).content == b"PNG of a stomach"
    assert browser.get(f"{address}0").status_code == 404
    assert browser.get(f"/studies/{page_of(1)}/pictures/..%2Fpictures").status_code == 404


def test_a_study_that_another_has_open_can_be_looked_at_and_taken_over(app, browser, records) -> None:
    put_on_list(records, listed(1), (STOMACH,))
    records.hold(StudyUid("1.2.1"), LANG)
    told = browser.get(f"/studies/{page_of(1)}").text
    assert "Dr. Lang has had this study open" in told
    assert "Accept (a)" not in told
    assert "Dr. Lang" in browser.get("/worklist").text
    assert "held" in answer(browser, 1, "stomach").text
    assert browser.post(f"/studies/{page_of(1)}/here").json() == {
        "mine": False, "holder": "Dr. Lang", "result": "result-1",
    }  # fmt: skip
    assert browser.post(f"/studies/{page_of(1)}/take-over").status_code == 303
    assert "Accept (a)" in browser.get(f"/studies/{page_of(1)}").text
    assert browser.post(f"/studies/{page_of(1)}/leave").status_code == 204
    assert records.listed(page_of(1)).holder == ""


def test_a_sign_of_life_may_say_that_nobody_reads(app, browser, records) -> None:
    put_on_list(records, listed(1), (STOMACH,))
    browser.get(f"/studies/{page_of(1)}")
    with sqlite3.connect(app.state.settings.records_file) as database:
        database.execute("UPDATE reading_times SET last_ms = last_ms - 30000")
        database.execute("UPDATE worklist SET held_ms = 1")
    assert browser.post(f"/studies/{page_of(1)}/here", data={"reading": "false"}).json()["mine"]
    assert records.listed(page_of(1)).held_ms > 1
    assert records.seconds_read("result-1", WEBER) == 0.0
    browser.post(f"/studies/{page_of(1)}/here", data={"reading": "true"})
    assert 30.0 <= records.seconds_read("result-1", WEBER) < 60.0


def test_next_goes_to_the_first_that_nobody_has_open_frees_this_one_and_ends_at_the_list(
    browser, records
) -> None:
    for number in (1, 2, 3):
        put_on_list(records, listed(number, doubt_ml=10.0 - number), (STOMACH,))
    records.hold(StudyUid("1.2.2"), LANG)
    browser.get(f"/studies/{page_of(1)}")
    assert browser.get(f"/studies/next?behind={page_of(1)}").headers["location"] == f"/studies/{page_of(3)}"
    assert records.listed(page_of(1)).holder == ""
    assert browser.get(f"/studies/next?behind={page_of(3)}").headers["location"] == f"/studies/{page_of(1)}"
    for number in (1, 3):
        answer(browser, number, "stomach")
    assert browser.get(f"/studies/next?behind={page_of(3)}").headers["location"] == "/worklist"


def test_an_auditor_sees_and_cannot_act_and_others_see_nothing(app, browser, records) -> None:
    put_on_list(records, listed(1), (STOMACH,))
    app.state.way.who = AUDITOR
    told = browser.get(f"/studies/{page_of(1)}")
    assert (told.status_code, "Accept (a)" in told.text) == (200, False)
    assert records.listed(page_of(1)).holder == "", "who looks holds nothing"
    refused = answer(browser, 1, "stomach")
    assert (refused.status_code, "not-allowed" in refused.text) == (403, True)
    app.state.way.who = OPERATOR
    for address in ("/worklist", f"/studies/{page_of(1)}", f"/studies/{page_of(1)}/pictures/a"):
        assert browser.get(address).status_code == 403, address
    assert records.all(OpinionGiven) == ()


def test_sums_of_reading_times_are_for_who_runs_or_audits_the_site_and_name_nobody(
    app, browser, records
) -> None:
    put_on_list(records, listed(1, site="North"), (STOMACH,))
    with sqlite3.connect(app.state.settings.records_file) as database:
        now = int(time.time() * 1000)
        row = "INSERT INTO reading_times VALUES ('result-1', ?, 'p', ?, false, ?)"
        database.executemany(row, [("https://id.example w1", 65.0, now), ("https://id.example l1", 5.0, now)])
    for who, status in ((WEBER, 403), (OPERATOR, 200), (AUDITOR, 200)):
        app.state.way.who = who
        told = browser.get("/reading-times")
        assert told.status_code == status, who
    assert re.search(r"North</td><td>Please look</td>\s*<td[^>]*>2</td><td[^>]*>0:35<.*>1:10<", told.text)
    assert not re.search("Weber|w1|l1|1.2.1", told.text)


def test_a_study_that_is_not_listed_is_not_there(browser) -> None:
    told = browser.get(f"/studies/{page_of(9)}")
    assert (told.status_code, "no-such-study" in told.text) == (404, True)


def test_pages_of_studies_are_kept_in_no_cache(browser, records) -> None:
    put_on_list(records, listed(1), (STOMACH,))
    for address in ("/worklist", f"/studies/{page_of(1)}"):
        assert browser.get(address).headers["cache-control"] == "no-store"
