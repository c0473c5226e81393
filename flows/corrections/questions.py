"""What is asked about SEGs that came back, answered on the pages; the ingest goes on by itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from flows.corrections.outcome import QUESTION_OPEN
from models.corrections.ledger import OrganState
from models.errors import Refused
from models.people import Person
from models.uids import SopUid
from services.dicom.returned.answers import Answers, WrongAnswer
from services.records.entries.arrivals import ArrivalState
from services.records.entries.corrections import Answer, Correction, OpenQuestion
from services.records.events.corrections import QuestionsAnswered
from services.records.port import Log, Records


@dataclass(frozen=True)
class Asked:
    """A SEG about which a person is asked.

    Parameters
    ----------
    correction
        As it was understood so far.
    """

    correction: Correction

    @property
    def questions(self) -> tuple[OpenQuestion, ...]:
        """What is asked."""
        return self.correction.questions

    @property
    def certain(self) -> tuple[str, ...]:
        """Organs that a reader edited and that nobody has to ask about."""
        return tuple(one.organ for one in self.correction.organs if one.state is OrganState.EDITED)


def what_is_asked(question: OpenQuestion) -> str:
    """Return what a question is about, as its answer names it: a number of a segment, or an organ."""
    return str(question.segment) if question.segment is not None else question.candidates[0]


def open_questions(records: Records, at_most: int) -> tuple[Asked, ...]:
    """Return the SEGs of the archive about which questions are open, as they came."""
    found = []
    for arrival in records.arrivals_of_code(QUESTION_OPEN, at_most):
        asked = asked_of(SopUid(str(arrival.uid)), records)
        if asked is not None:
            found.append(asked)
    return tuple(found)


def asked_of(sop_instance_uid: SopUid, records: Records) -> Asked | None:
    """Return what is asked about a SEG; None where nothing is, or it was taken back."""
    versions = records.corrections(sop_instance_uid=sop_instance_uid)
    if not versions or versions[-1].withdrawn or not versions[-1].questions:
        return None
    return Asked(versions[-1])


def answer_questions(
    sop_instance_uid: SopUid, content: str, answers: Collection[str], who: Person, records: Records
) -> None:
    """Put answers on record and have the SEG ingested with them, by the worker, as if it came just now.

    Parameters
    ----------
    sop_instance_uid
        Of the SEG.
    content
        Digest of it that the person has seen.
    answers
        In words, one to each question or fewer: `services.dicom.returned.answers`.
    who
        Whose act it is.
    records
        Where it goes; the act bears the proof of the name.

    Raises
    ------
    Refused
        `no-question` if nothing is asked about it (any more); `drawn-anew` if another content lies under its
        UID by now; `wrong-answer` if an answer is none, or answers what is not asked.
    """
    asked = asked_of(sop_instance_uid, records)
    arrival = records.arrival(sop_instance_uid)
    if asked is None or arrival is None or arrival.code != QUESTION_OPEN:
        raise Refused(
            "no-question", "nothing is asked about it any more: somebody has answered, or taken it back"
        )
    if asked.correction.content != content:
        raise Refused("drawn-anew", "it was saved anew meanwhile: look at it, your answer is not on record")
    try:
        words = Answers.parse(answers).words
    except WrongAnswer as error:
        raise Refused("wrong-answer", str(error)) from error
    about = {what_is_asked(one) for one in asked.questions}
    if not words or not {word.partition("=")[0] for word in words} <= about:
        raise Refused("wrong-answer", f"answer what is asked: about {', '.join(sorted(about))}")
    event = QuestionsAnswered(
        study_uid=asked.correction.study_uid,
        sop_instance_uid=sop_instance_uid,
        content=content,
        answers=words,
    )
    again = replace(arrival, state=ArrivalState.WAITING, code="", detail="", run="", touched=True)
    if not records.signed(who).change_arrival(arrival, again, event=event, who=who.name):
        raise Refused("no-question", "somebody has just answered it: look at the list again")


def answered_on_pages(before: Correction, log: Log) -> tuple[Answer, ...]:
    """Return what was answered on the pages to what a version of a correction still asks, in order."""
    about = {what_is_asked(one) for one in before.questions}
    acts = log.all(QuestionsAnswered, study_uid=before.study_uid) if about else ()
    return tuple(
        Answer(word, act.who)
        for act in acts
        if (act.said.sop_instance_uid, act.said.content) == (before.sop_instance_uid, before.content)
        for word in act.said.answers
        if word.partition("=")[0] in about
    )
