"""What is said of an organ, in a reader's words, and when something was."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from deploy.pages.reading import reasons
from flows.reading.shown import OrganShown
from models.corrections.opinions import Opinion, Wrong
from models.findings import Flag
from models.judgement.reasons import Reason
from models.organs import name_of
from services.dicom.returned.claims import Doubt
from services.records.entries.corrections import OpenQuestion
from services.records.entries.reading import RANDOM_CHECK, Given, OrganSaid

VERDICTS = {
    Flag.REJECT: "Do not use",
    Flag.REVIEW: "Please look",
    Flag.CLEAR: "Nothing against it",
    Flag.NOT_JUDGED: "Not judged",
}
WRONG = {
    Wrong.TOO_SMALL: "too small",
    Wrong.TOO_LARGE: "too large",
    Wrong.WRONG_PLACE: "wrong place",
    Wrong.OTHER_ORGAN: "another organ",
    Wrong.MISSED: "missed",
    Wrong.OTHER: "something else",
}
OPINIONS = {
    Opinion.ACCEPT: "accepted",
    Opinion.WRONG: "called wrong",
    Opinion.CANNOT_SAY: "could not say",
}
DOUBTS = {
    Doubt.NOT_RECOGNISED: "is called like none of the organs that were sent.",
    Doubt.NAMES_DISAGREE: "is called one organ and coded as another.",
    Doubt.OVERLAP_DISAGREES: "is called {organ} and lies where another organ was sent.",
    Doubt.NO_OVERLAP: "is called {organ} and lies nowhere near it.",
    Doubt.SIDES_SWAPPED: "is called {organ} and lies on the other side.",
    Doubt.CLAIMED_TWICE: "is called {organ}, and so is another one.",
    Doubt.AUTOMATIC: "says that no person drew it.",
    Doubt.DRAWER_UNKNOWN: "does not say whether a person drew it.",
    Doubt.NOT_RETURNED: "did not come back.",
}
"""Why it is not certain which organ a segment is."""

DEMONSTRATION = "Demonstration: these weights were trained on phantoms. Not for clinical use."
CHECK = "Random check. Judge it as if it were new."
IN_TEN = 10


def mark(demonstration: bool) -> str:
    """Return what stands on a page that shows what demonstration weights drew."""
    return DEMONSTRATION if demonstration else ""


def verdict(said: OrganSaid) -> str:
    """Return what to do with an organ, in two or three words."""
    return "" if said.flag is None else VERDICTS[Flag(said.flag)]


def sentences(organ: OrganShown) -> list[str]:
    """Return why an organ is flagged, most important first, each a sentence."""
    return [
        reasons.sentence(Reason(one), organ.said) for one in organ.said.reasons if one != Reason.RANDOM_AUDIT
    ]


def short(said: OrganSaid) -> str:
    """Return the verdict on an organ as it stands in a row of the worklist."""
    return "do not use" if said.flag == Flag.REJECT else "look"


def volume(organ: OrganShown) -> str:
    """Return an organ's volume, and what it was before; empty where it was not found."""
    said = organ.said
    if said.presence != "found":
        return "not found"
    now = f"{said.volume_ml:,.0f} ml" if said.volume_ml >= IN_TEN else f"{said.volume_ml:.1f} ml"
    if said.cut_by_field_of_view:
        now += ", cut by the edge of the scan"
    if organ.earlier is None:
        return now
    before = f"{organ.earlier.volume_ml:,.0f} ml in the study listed on {day(organ.earlier.listed_ms)}"
    return f"{now} ({before})"


def bound(organ: OrganShown) -> str:
    """Return what may be claimed of an outline; empty where nothing may."""
    said = organ.said
    if said.dsc_lower_bound is None or said.confidence is None:
        return ""
    times = round(said.confidence * IN_TEN)
    claimed = (
        f"agreement with a reader (Dice): at least {said.dsc_lower_bound:.2f} in {times} of 10 such cases"
    )
    return claimed if organ.wanted is None else f"{claimed}; {organ.wanted:.2f} is wanted"


def opinion(given: Given) -> str:
    """Return an opinion with who gave it: ``Dr. Weber called it wrong, too small``."""
    what = OPINIONS[Opinion(given.opinion)]
    why = f", {WRONG[Wrong(given.why)]}" if given.why else ""
    where = " after a look in the viewer" if given.seen == "viewer" else ""
    others = given.together - 1
    many = f", with {others} {'other' if others == 1 else 'others'}" if others else ""
    return f"{given.reader}: {what}{why}{where}{many}"


def question(asked: OpenQuestion) -> str:
    """Return a question that `ingest` asks."""
    organ = name_of(asked.candidates[0]) if asked.candidates else ""
    if asked.segment is None:
        return f"{organ} is missing from what was saved. Erased on purpose, or left out?"
    called = f"Segment {asked.segment}" + (f", {asked.label}," if asked.label else "")
    return f"{called} {DOUBTS[Doubt(asked.why)].format(organ=organ or 'any organ that was sent')} What is it?"


def day(ms: int) -> str:
    """Return the day of a time, in the site's zone, as 02.03.2026."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone():%d.%m.%Y}"


def moment(ms: int) -> str:
    """Return a time in the site's zone, as 02.03. 11:40."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone():%d.%m. %H:%M}"


def told(flag: str) -> str:
    """Return what a study told its readers, in words."""
    return "Random check" if flag == RANDOM_CHECK else VERDICTS[Flag(flag)]


def minutes(seconds: float) -> str:
    """Return a time as 1:05, or as 2:00:00 from an hour on."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def minutes_ago(ms: int) -> int:
    """Return how many whole minutes ago a time is."""
    return max(0, int((time.time() * 1000 - ms) // 60_000))
