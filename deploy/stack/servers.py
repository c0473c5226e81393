"""The servers of a home, running or not, and which of them is somebody else's."""

from __future__ import annotations

from collections.abc import Callable

from deploy.stack.archive import ArchiveServer
from deploy.stack.dashboard import DashboardServer
from deploy.stack.local_process import NotInstalled
from deploy.stack.pages import PagesServer
from deploy.stack.prefect import PrefectServer
from deploy.stack.triton import TritonServer
from deploy.stack.viewer import ViewerServer
from services.settings import Settings
from services.wiring import repository_root

TRITON_ENVIRONMENT = repository_root() / ".venv-triton"


def triton_server(settings: Settings) -> TritonServer:
    """Return the embedded Triton of this home, running or not."""
    return TritonServer(
        settings.home / "triton",
        settings.triton_repository,
        TRITON_ENVIRONMENT,
        repository_root(),
    )


def archive(settings: Settings) -> ArchiveServer:
    """Return the archive of this home, running or not."""
    return ArchiveServer(settings.archive_home, settings.archive_port, settings.archive_dicom_port)


def viewer(settings: Settings) -> ViewerServer:
    """Return the viewer of this home, running or not."""
    return ViewerServer(
        settings.home / "viewer",
        settings.viewer_port,
        address=settings.viewer_address,
        ca_file=settings.archive_ca_file,
    )


def dashboard(settings: Settings) -> DashboardServer:
    """Return the door to the dashboard of this home, open or not."""
    return DashboardServer(
        settings.home / "dashboard", settings.dashboard_port, address=settings.dashboard_address
    )


def pages(settings: Settings) -> PagesServer:
    """Return the pages of this home, running or not."""
    return PagesServer(settings.home / "pages", settings.pages_port)


def prefect(settings: Settings) -> PrefectServer:
    """Return the Prefect server of this home, running or not."""
    return PrefectServer(settings.prefect_home, settings.prefect_port)


def remote_archive(settings: Settings) -> str | None:
    """Return the DICOMweb address of the archive that the settings name; None for the local one."""
    if settings.dicomweb_url is None and settings.orthanc_url is None:
        return None
    return settings.dicomweb_url or f"{str(settings.orthanc_url).rstrip('/')}/dicom-web"


def missing(installed: Callable[[], str]) -> str | None:
    """Return what has to be installed; None where all is there."""
    try:
        installed()
    except NotInstalled as error:
        return str(error)
    return None
