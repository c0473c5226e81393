"""A release of the store as the engine that serves it."""

from __future__ import annotations

from models.release import Release
from services.inference.engine import OpenVinoEngine
from services.releases.store import ReleaseStore


def open_engine(release: Release, store: ReleaseStore, threads: int) -> OpenVinoEngine:
    """Return the engine of a release that is exported.

    Parameters
    ----------
    release
        Which; it need not be published yet.
    store
        Holds its exports.
    threads
        How many threads answer; other bits come with another number.

    Raises
    ------
    InvalidRelease
        If an export is missing or damaged.
    """
    heads = {organ: store.export(digest) for organ, digest in release.heads.items()}
    return OpenVinoEngine(release, store.export(release.trunk), heads, threads)
