"""What the pages work with: the site's records, releases and archive, each opened when it is first asked."""

from __future__ import annotations

import threading
from functools import cached_property

from models.errors import PacsFailed
from models.targets import Targets
from services.cases.store import CaseStore
from services.pacs.dicomweb import DicomwebArchive
from services.pictures.kept import StudyPictures
from services.records.port import Records
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import archive_of, targets_of


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
        found = archive_of(self.settings)
        if found is None:
            raise PacsFailed("no archive is known: set ORGANLOOP_ORTHANC_URL or ORGANLOOP_DICOMWEB_URL")
        return found

    @cached_property
    def targets(self) -> Targets:
        """How exact organs must be, as the site has established it."""
        return targets_of(self.settings)

    def wanted(self, release: int) -> dict[str, float | None]:
        """Return the DSC under which a reader should look, by organ of a release.

        Raises
        ------
        InvalidRelease
            If the release is not in the store.
        """
        return self.targets.dsc_targets(self.releases.release(release).contract)

    def demonstration(self, release: int | None) -> bool:
        """Tell whether a release's weights are not for clinical use; raises as `wanted`."""
        return release is not None and self.releases.release(release).demonstration

    def organs(self) -> tuple[str, ...]:
        """Return the organs of the release that serves; none before the first."""
        incumbent = self.records.incumbent()
        return () if incumbent is None else self.releases.release(incumbent).contract.organs
