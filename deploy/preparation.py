"""Bringing a home to the state of this program: the records' schema, a first release, Triton's repository."""

from __future__ import annotations

from collections.abc import Callable

from models.errors import InvalidRelease
from models.release import NONE_SERVES
from services.files import storage_errors
from services.records import roles
from services.records.database import alone
from services.records.entries.releases import ReleaseState
from services.records.port import Releases
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import Services, connect_in_process, repository_root
from services.work_folder import remove_abandoned

STARTER = repository_root() / "models" / "starter"


def prepare(
    settings: Settings, progress: Callable[[str], None], *, starter: bool, repository: bool = True
) -> int | None:
    """Bring the home to this program's state; safe to repeat, and in several processes at once.

    Parameters
    ----------
    settings
        Whose home and records.
    progress
        Told each step.
    starter
        Whether the demonstration release becomes the incumbent where there is none.
    repository
        Whether the releases are written for Triton. Not before their TensorRT engines are built.

    Returns
    -------
    int or None
        The incumbent; None if there is none, and then nothing is served.

    Raises
    ------
    InvalidRelease
        If the incumbent is damaged, or its export does not agree with torch.
    StorageFailed
        If the home or the records cannot be written, or a newer program's records cannot be worked with.
    """
    from flows.serving.proof import unproven
    from flows.serving.serve import current, write

    with alone(settings.owner_url):
        bring_up(settings, progress)
        if settings.work is not None:  # until then studies lay in the home, and a killed run's may still
            remove_abandoned(settings.home / "work")
        services = connect_in_process(settings)
        sealed = services.records.seal_rows("organloop prepare")
        if sealed:
            progress(
                f"{sealed} rows of an earlier version were sealed as they are: `audit verify` guards them"
            )
        warning = unproven(settings, services.records)
        if warning:
            progress(warning)
        with storage_errors(str(settings.triton_repository)):
            settings.triton_repository.mkdir(parents=True, exist_ok=True)
        if services.records.incumbent() is None and starter:
            _take_in_starter(services.releases, services.records, progress)
        number = services.records.incumbent()
        if number is None:
            progress(f"{NONE_SERVES}; until then nothing is served and Triton is not ready")
        elif repository:
            write(current(services.releases, services.records), services, progress)
        if repository:
            _renew_others(services, progress)
    return number


def bring_up(settings: Settings, progress: Callable[[str], None]) -> None:
    """Bring the records' schema up as their owner, and the roles that work there; nothing without an owner.

    Raises
    ------
    StorageFailed
        If the database cannot be reached or changed.
    """
    if settings.database_owner_url is None:
        return
    progress("bringing the records up to date as their owner")
    secrets = (settings.database_reader_url, settings.database_backup_url)
    reader, backup = (None if one is None else one.get_secret_value() for one in secrets)
    roles.bring_up(settings.owner_url, roles.Roles(settings.records_url, reader, backup))


def _take_in_starter(store: ReleaseStore, known: Releases, progress: Callable[[str], None]) -> None:
    progress("taking in the demonstration release (trained on phantoms, not for clinical use)")
    number = store.import_from(STARTER)[0]
    release = store.release(number)
    known.record_release(number, release.digest, ReleaseState.PROMOTED)
    known.set_incumbent(number, approver="organloop up", reason="the first release of this home")


def _renew_others(services: Services, progress: Callable[[str], None]) -> None:
    """Bring the program in the other version folders up to date; a damaged one is in nobody's way."""
    from flows.serving.serve import take_out_unwritten, write

    incumbent = services.records.incumbent()
    for number in services.repository.versions():
        if number != incumbent:
            try:
                write(services.releases.release(number), services, progress)
            except InvalidRelease as error:
                progress(f"release {number} is left as it is: {error}")
                take_out_unwritten(number, services.repository, services.records, progress)
