"""What is published of the verbs' JSON is what they say."""

from __future__ import annotations

from deploy.cli.schemas import ANSWERS, FILE, schemas, text
from models.documents import from_json, to_json
from models.errors import Refusal
from services.records.events.event import kinds


def test_the_published_schemas_are_those_of_this_program() -> None:
    assert FILE.read_text() == text(), "`python -m deploy.cli.schemas` writes them anew"


def test_every_kind_of_event_and_every_answer_is_described() -> None:
    described = schemas()
    assert described["events"].keys() == kinds().keys()
    assert ANSWERS.keys() <= described["answers"].keys()


def test_a_document_comes_back_from_its_json() -> None:
    said = Refusal("no-name", "this is an act with a name and a reason", {"patients": 3})
    assert from_json(Refusal, to_json(said)) == said
