"""Who the patients are: asked of the archive for what is on the screen, for a while in memory, on no disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from deploy.pages.site import Site
from models.uids import StudyUid
from services.pacs.qido import PatientOfStudy

KEPT_SECONDS = 600.0
MOST = 5000
"""Names in memory at once; the oldest go first."""


class Names:
    """The names of a site's patients.

    Parameters
    ----------
    site
        With the archive that is asked.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept: dict[StudyUid, tuple[float, PatientOfStudy]] = {}
        self._lock = threading.Lock()

    def of(self, studies: Collection[StudyUid]) -> dict[StudyUid, PatientOfStudy]:
        """Return whose studies these are; those that the archive does not hold are left out.

        Raises
        ------
        PacsFailed
            If the archive does not answer.
        """
        now = time.monotonic()
        with self._lock:
            self._kept = {uid: one for uid, one in self._kept.items() if now - one[0] < KEPT_SECONDS}
            known = {uid: self._kept[uid][1] for uid in studies if uid in self._kept}
        missing = [uid for uid in studies if uid not in known]
        if missing:
            asked = self._site.archive.patients_of(missing)
            with self._lock:
                self._kept |= {uid: (now, one) for uid, one in asked.items()}
                for uid in list(self._kept)[:-MOST]:
                    del self._kept[uid]
            known |= asked
        return known
