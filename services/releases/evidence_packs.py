"""Evidence packs, one per promotion: ``evidence/<sha256>.json`` beside the releases, named by content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.release import sha256_hex
from services.files import write_once
from services.releases.store import verified


class EvidencePacks:
    """The packs in a release store's folder.

    Parameters
    ----------
    folder
        The release store's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "evidence"

    def path(self, digest: str) -> Path:
        """Return where a pack lies, or would."""
        return self._folder / f"{digest}.json"

    def digests(self) -> tuple[str, ...]:
        """Return the digests by which packs are named, sorted."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.json")))

    def keep(self, pack: Mapping[str, object]) -> str:
        """Keep a pack; return its SHA-256.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable.
        """
        content = json.dumps(pack, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
        digest = sha256_hex(content)
        write_once(self.path(digest), content)
        return digest

    def read(self, digest: str) -> dict[str, Any]:
        """Return a pack.

        Raises
        ------
        InvalidRelease
            If it is not there, or its bytes are not its digest's.
        """
        return dict(json.loads(self.content(digest)))

    def content(self, digest: str) -> bytes:
        """Return a pack's bytes, which are its digest's; raises as `read`."""
        return verified(self.path(digest), digest, f"evidence pack {digest[:12]}")
