"""A question about a saved SEG is answered on the pages, under a proven name, and the ingest goes on."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from deploy.pages.application import application
from flows.corrections.questions import answer_questions, open_questions
from models.errors import Refused
from models.people import Person, Role
from models.uids import SopUid
from services.records.entries.arrivals import ArrivalState
from services.records.entries.corrections import Answer
from services.records.events.corrections import QuestionsAnswered
from tests.integration.test_correction_outcomes import hospital, phantom, put, saved, settle, site
from tests.support.arrivals import Hospital
from tests.support.listed import LANG, WEBER

__all__ = ["hospital", "phantom", "site"]

HERE = "http://127.0.0.1:8500"
SAVED = SopUid("1.2.3")
AUDITOR = Person("a1", "https://id.example", "Ms. Roth", frozenset({Role.AUDITOR}))


class AsIs:
    """A way to sign in by which whoever a test says is there."""

    who = WEBER

    def person(self, request: object) -> Person:
        return self.who


@pytest.fixture
def browser(hospital: Hospital) -> TestClient:
    """A browser of Dr. Weber's, in front of a stomach of which nobody says that a person drew it."""
    seg = saved(hospital, SAVED, "stomach")
    for segment in seg.SegmentSequence:
        segment.SegmentAlgorithmType = "AUTOMATIC"
    put(hospital, seg)
    assert settle(hospital, SAVED)[SAVED].code == "question-open"
    app = application(hospital.services.settings, HERE)
    app.state.way = AsIs()
    headers = {"accept": "text/html", "origin": HERE}
    return TestClient(app, base_url=HERE, follow_redirects=False, headers=headers)


def form_of(text: str) -> tuple[str, str, dict[str, str]]:
    """Return address and content of the one form of a page, and to each question the likeliest organ."""
    address = re.search(r'action="(/questions/([0-9a-f]{64}))"', text)
    likeliest = re.findall(r'type="radio" name="([^"]+)" value="([^"]+)" data-number="2"', text)
    assert address
    assert "stomach" in dict(likeliest).values()
    return address[1], address[2], dict(likeliest)


def test_an_answer_goes_on_record_under_the_proven_name_and_the_stomach_is_kept(
    hospital: Hospital, browser: TestClient
) -> None:
    told = browser.get("/questions").text
    address, _, likeliest = form_of(told)
    assert "says that no person drew it. What is it?" in told
    assert SAVED not in told
    pictures = re.findall(r'<img src="([^"]+)"', told)
    assert len(pictures) == 5 * len(likeliest)
    assert browser.get(pictures[0]).content.startswith(b"\x89PNG")
    given = browser.post(address, data=likeliest)
    assert (given.status_code, given.headers["location"]) == (303, "/questions")
    assert "Nothing is asked." in browser.get("/questions").text
    arrival = settle(hospital, SAVED)[SAVED]
    assert (arrival.state, arrival.code) == (ArrivalState.INGESTED, "kept")
    records = hospital.services.records
    last = records.corrections(sop_instance_uid=SAVED)[-1]
    assert (last.questions, last.answers) == (
        (),
        tuple(Answer(f"{about}={organ}", "Dr. Weber") for about, organ in sorted(likeliest.items())),
    )
    act = records.last(QuestionsAnswered)
    assert (act.who, act.proof.subject) == ("Dr. Weber", "w1")
    again = browser.post(address, data=likeliest)
    assert (again.status_code, "no-question" in again.text) == (409, True)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "wrong-answer"),
        ({"77": "stomach"}, "wrong-answer"),
        ({"about": "spleen=deleted"}, "wrong-answer"),
    ],
)
def test_an_answer_that_answers_nothing_is_refused_and_the_question_stays(
    hospital: Hospital, browser: TestClient, fields: dict[str, str], code: str
) -> None:
    address, _, likeliest = form_of(browser.get("/questions").text)
    first = next(iter(likeliest))
    given = {first if name == "about" else name: one for name, one in fields.items()}
    refused = browser.post(address, data=given)
    assert (refused.status_code, code in refused.text) == (409, True)
    with pytest.raises(Refused) as other:
        answer_questions(SAVED, "0" * 64, ["1=stomach"], WEBER, hospital.services.records)
    assert other.value.code == "drawn-anew"
    assert len(open_questions(hospital.services.records, 5)) == 1
    assert hospital.services.records.all(QuestionsAnswered) == ()


def test_an_auditor_sees_the_question_and_cannot_answer_and_only_the_first_answer_counts(
    hospital: Hospital, browser: TestClient
) -> None:
    address, content, likeliest = form_of(browser.get("/questions").text)
    browser.app.state.way.who = AUDITOR  # type: ignore[attr-defined]
    assert 'type="radio"' not in browser.get("/questions").text
    refused = browser.post(address, data=likeliest)
    assert (refused.status_code, "not-allowed" in refused.text) == (403, True)
    records = hospital.services.records
    answer_questions(SAVED, content, [f"{about}=none" for about in likeliest], LANG, records)
    with pytest.raises(Refused) as second:
        answer_questions(SAVED, content, ["1=stomach"], WEBER, records)
    assert second.value.code == "no-question"
    settle(hospital, SAVED)
    given = records.corrections(sop_instance_uid=SAVED)[-1].answers
    assert given == tuple(Answer(f"{about}=none", "Dr. Lang") for about in sorted(likeliest))
