"""What a study that is segmented here may take of memory, by the settings and the release that answers."""

from __future__ import annotations

from models.inference.memory import MIB, StudyMemory
from models.release import Release
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings


def study_memory(settings: Settings, release: Release) -> StudyMemory:
    """Return what a study may take that a release segments."""
    return StudyMemory(
        settings.study_memory_mib * MIB,
        settings.serving_memory_mib * MIB,
        release.contract,
        every_frame=settings.seg_profile == "slicer",
        tuned=len(release.running_heads),
    )


def memory_here(settings: Settings) -> StudyMemory | None:
    """Return what a study may take that the incumbent segments; None where no release serves yet.

    Raises
    ------
    OrganloopError
        If the records or the release cannot be read.
    """
    if settings.database_url is None and not settings.records_file.exists():
        return None  # who only looks makes no home
    records = open_records(settings.records_url)
    try:
        number = records.incumbent()
    finally:
        records.close()
    if number is None:
        return None
    return study_memory(settings, ReleaseStore(settings.release_store).release(number))
