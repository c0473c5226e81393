"""Scores that were measured once: a killed gate goes on where it was, the incumbent is asked once.

::

    <release digest>/<SHA-256 of form and profile>/<case digest>.json          the case
    <release digest>/<SHA-256 of form and profile>/<case digest>.again-1.json  scanned again, the first time

An answer's bits repeat within one serving profile, so a score is a fact about these. What was measured is on
record by its digest before it is kept: a score that somebody changed, or made, is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from models.errors import StorageFailed
from models.gate.organ_score import OrganScore
from models.gate.rescan import NOISE_HU
from models.organs import CATALOGUE
from models.release import sha256_hex
from services.files import storage_errors, write_once

FORM = 3
"""Of what is kept; scores of another form, tolerance or noise are measured anew."""


class ScoreStore:
    """Scores in a local folder.

    Parameters
    ----------
    folder
        Made on the first write.
    recorded
        SHA-256 of each score on record, by its name; only these are found.
    """

    def __init__(self, folder: Path, recorded: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._recorded = dict(recorded or {})

    def name(self, release: str, profile: str, case: str, again: int = 0) -> str:
        """Return the name of a score: its path in the folder.

        Parameters
        ----------
        release, case
            Digests.
        profile
            Serving profile the release answered in.
        again
            Which further scan of the case; 0 for the case itself.
        """
        tolerances = {entry.key: entry.nsd_tolerance_mm for entry in CATALOGUE}
        form = sha256_hex(json.dumps([FORM, profile, tolerances, NOISE_HU], sort_keys=True).encode())[:16]
        return f"{release}/{form}/{case}.again-{again}.json" if again else f"{release}/{form}/{case}.json"

    def find(self, name: str) -> dict[str, OrganScore] | None:
        """Return the scores by organ, None if it was not measured.

        Raises
        ------
        StorageFailed
            If the file is there and cannot be read, or is not what was measured.
        """
        path = self.folder / name
        try:
            content = path.read_bytes()
            if sha256_hex(content) != self._recorded.get(name):
                raise StorageFailed(
                    f"{path} is not what the gate measured; look into it (`organloop audit verify`), then "
                    "delete it, and the case is measured again"
                )
            return {organ: OrganScore.from_json(score) for organ, score in json.loads(content).items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageFailed(f"{path} is damaged; without it the case is measured again") from error

    def keep(self, name: str, scores: Mapping[str, OrganScore]) -> None:
        """Keep scores that are on record.

        Raises
        ------
        InvalidRelease
            If other scores of them are kept: bits that should repeat did not.
        StorageFailed
            If the disk is full or not writable.
        """
        content = encoded(scores)
        write_once(self.folder / name, content)
        self._recorded[name] = sha256_hex(content)

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


def encoded(scores: Mapping[str, OrganScore]) -> bytes:
    """Return the bytes under which scores are kept."""
    document = {organ: score.to_json() for organ, score in scores.items()}
    return json.dumps(document, indent=1, allow_nan=False).encode()
