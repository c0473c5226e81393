"""Scores that were measured once: a killed gate goes on where it was, the incumbent is asked once.

::

    <release digest>/<SHA-256 of form and profile>/<case digest>.json          the case
    <release digest>/<SHA-256 of form and profile>/<case digest>.again-1.json  scanned again, the first time

An answer's bits repeat within one serving profile, so a score is a fact about these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from models.errors import StorageFailed
from models.release import sha256_hex
from models.scores import OrganScore
from services.releases.files import storage_errors, write_once

FORM = 2
"""Of what is kept; scores of another form are measured anew."""


class ScoreStore:
    """Scores in a local folder.

    Parameters
    ----------
    folder
        Made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, release: str, profile: str, case: str, again: int = 0) -> dict[str, OrganScore] | None:
        """Return the scores by organ of a release on a case, None if it was not measured.

        Parameters
        ----------
        release, case
            Digests.
        profile
            Serving profile the release answered in.
        again
            Which further scan of the case; 0 for the case itself.

        Raises
        ------
        StorageFailed
            If the file is there and cannot be read.
        """
        path = self._path(release, profile, case, again)
        try:
            scores = json.loads(path.read_bytes())
            return {organ: OrganScore.from_json(score) for organ, score in scores.items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageFailed(f"{path} is damaged; without it the case is measured again") from error

    def keep(
        self, release: str, profile: str, case: str, scores: Mapping[str, OrganScore], again: int = 0
    ) -> None:
        """Keep the scores of a release on a case; as `find`.

        Raises
        ------
        InvalidRelease
            If other scores of them are kept: bits that should repeat did not.
        StorageFailed
            If the disk is full or not writable.
        """
        document = {organ: score.to_json() for organ, score in scores.items()}
        write_once(self._path(release, profile, case, again), json.dumps(document, indent=1).encode())

    def erase(self, case: str) -> int:
        """Delete what any release scored on a case, by the case's digest; return how many scores those were.

        Raises
        ------
        StorageFailed
            If a file cannot be deleted.
        """
        files = sorted(self.folder.glob(f"*/*/{case}.*json"))
        with storage_errors("a score"):
            for path in files:
                path.unlink(missing_ok=True)
        return len(files)

    def _path(self, release: str, profile: str, case: str, again: int) -> Path:
        form = sha256_hex(f"{FORM} {profile}".encode())[:16]
        return self.folder / release / form / (f"{case}.again-{again}.json" if again else f"{case}.json")
