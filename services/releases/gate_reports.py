"""The gate's reports, beside the release they are about: ``releases/<n>/gate/<key>.json``.

A decision holds against one incumbent, on one frozen gate set, in one serving profile; for each of these
it is written once and never revised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import InvalidRelease
from models.release import Release, sha256_hex
from services.releases.files import write_once


class GateReports:
    """The reports in a release store's folder.

    Parameters
    ----------
    folder
        The release store's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, candidate: Release, incumbent: Release, gate_set: str, profile: str) -> Path:
        """Return where a report lies, or would.

        Parameters
        ----------
        candidate, incumbent
            The two releases.
        gate_set
            Digest of the frozen gate set.
        profile
            Serving profile both answered in.
        """
        key = sha256_hex("\n".join((candidate.digest, incumbent.digest, gate_set, profile)).encode())[:16]
        return self.folder / "releases" / str(candidate.number) / "gate" / f"{key}.json"

    def find(
        self, candidate: Release, incumbent: Release, gate_set: str, profile: str
    ) -> dict[str, Any] | None:
        """Return a report, None if the gate has not decided.

        Raises
        ------
        InvalidRelease
            If the report cannot be read.
        """
        path = self.path(candidate, incumbent, gate_set, profile)
        try:
            return dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise InvalidRelease(f"the gate report {path} is damaged") from error

    def keep(
        self, candidate: Release, incumbent: Release, gate_set: str, profile: str, report: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Keep a report and return it as it lies there.

        Raises
        ------
        InvalidRelease
            If another report of the same is there.
        StorageFailed
            If the disk is full or not writable.
        """
        content = json.dumps(report, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
        write_once(self.path(candidate, incumbent, gate_set, profile), content)
        return dict(json.loads(content))
