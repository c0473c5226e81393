"""What the pages work with: the site's records, releases and archive, each opened when it is first asked."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from models.errors import InvalidRelease, PacsFailed
from models.targets import Targets
from services.cases.store import CaseStore
from services.pacs.dicomweb import DicomwebArchive
from services.pictures.kept import StudyPictures
from services.records.port import Records
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import searched_archive, targets_of


class Site:
    """What a site's pages work with.

    Parameters
    ----------
    settings
        Of the site.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.releases = ReleaseStore(settings.release_store)
        self.cases = CaseStore(settings.case_store)
        self.pictures = StudyPictures(settings.pictures_folder)
        self._opening = threading.Lock()
        self._records: Records | None = None

    @property
    def records(self) -> Records:
        """The records; two requests that come first open them once.

        Raises
        ------
        StorageFailed
            If the database cannot be reached.
        """
        with self._opening:
            if self._records is None:
                self._records = open_records(self.settings.records_url)
            return self._records

    @property
    def archive(self) -> DicomwebArchive:
        """The archive.

        Raises
        ------
        PacsFailed
            If none is known.
        """
        found = searched_archive(self.settings)
        if found is None:
            raise PacsFailed("no archive is known: set ORGANLOOP_ORTHANC_URL or ORGANLOOP_DICOMWEB_URL")
        return found

    @cached_property
    def targets(self) -> Targets:
        """How exact organs must be, as the site has established it."""
        return targets_of(self.settings)

    def wanted(self, release: int) -> dict[str, float | None]:
        """Return the DSC under which a reader should look, by organ of a release.

        Of a release that is not in the store (any more) nothing is known.
        """
        try:
            return self.targets.dsc_targets(self.releases.release(release).contract)
        except InvalidRelease:
            return {}

    def demonstration(self, releases: Iterable[int | None]) -> bool:
        """Tell whether weights of one of these releases are not for clinical use, or nobody knows."""
        return any(self._demonstration(one) for one in set(releases) if one is not None)

    def _demonstration(self, release: int) -> bool:
        try:
            return self.releases.release(release).demonstration
        except InvalidRelease:
            return True

    def organs(self) -> tuple[str, ...]:
        """Return the organs of the release that serves; none before the first."""
        incumbent = self.records.incumbent()
        return () if incumbent is None else self.releases.release(incumbent).contract.organs


def _of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


OfSite = Annotated[Site, Depends(_of)]
"""What the application's pages work with."""
