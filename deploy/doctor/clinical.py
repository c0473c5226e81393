"""Whether what is served is for patients: what a demonstration may do without, a clinical site may not."""

from __future__ import annotations

from contextlib import closing

from models.errors import InvalidRelease
from services.records.database import connect, revisions
from services.records.port import Releases
from services.records.store import SqlRecords
from services.releases.store import ReleaseStore
from services.settings import Settings


def is_clinical(settings: Settings, known: Releases) -> bool:
    """Tell whether a site is clinical: by the gate's setting, else unless what serves is a demonstration."""
    if settings.approval_required is not None:
        return settings.approval_required
    number = known.incumbent()
    if number is None:
        return False
    try:
        return not ReleaseStore(settings.release_store).release(number).demonstration
    except InvalidRelease:
        return True


def site_is_clinical(settings: Settings) -> bool:
    """Tell the same of a site whose records are not open; False where they are of another revision."""
    engine = connect(settings.records_url)
    with closing(SqlRecords(engine)) as records:
        found, newest = revisions(engine)
        return found == newest and is_clinical(settings, records)
