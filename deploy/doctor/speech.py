"""Whether results go to the archive: a site may be silent by intent, or by oversight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from sqlalchemy import Engine

from deploy.doctor.finding import Finding, State
from flows.speech.speech import speaks, speech_of
from services.records.database import connect, revisions
from services.records.store import SqlRecords
from services.settings import Settings


def speech(settings: Settings) -> Iterator[Finding]:
    """Say whether the site speaks, by whose act, and how many studies were made and not sent."""
    engine = connect(settings.records_url)
    with closing(SqlRecords(engine)) as records:
        if not _known(engine):
            yield Finding("speech", State.SKIPPED, "the records are of another revision")
            return
        found = speech_of(records)
    measured = {"unsent_studies": found.unsent}
    if found.speaks:
        yield Finding("speech", State.GOOD, found.words, measured=measured)
        return
    remedy = "When readers shall have the results: `organloop speak`, with a name and a reason."
    yield Finding("speech", State.WARNING, found.words, remedy, measured)


def site_speaks(settings: Settings) -> bool:
    """Tell whether results go to the archive; False where the records are of another revision."""
    engine = connect(settings.records_url)
    with closing(SqlRecords(engine)) as records:
        return _known(engine) and speaks(records)


def _known(engine: Engine) -> bool:
    found, newest = revisions(engine)
    return found == newest
