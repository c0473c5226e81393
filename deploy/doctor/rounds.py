"""The doctor's rounds: every check of a site, in the order in which things depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from sqlalchemy import make_url

from deploy.doctor import machine
from deploy.doctor.archive import encryption, orthanc, queries, stores
from deploy.doctor.clinical import site_is_clinical
from deploy.doctor.finding import Check, Finding, State, examine
from deploy.doctor.flows import flows
from deploy.doctor.organs import organs
from deploy.doctor.records import records
from deploy.doctor.roles import role
from deploy.doctor.serving import serving
from deploy.doctor.speech import site_speaks, speech
from deploy.doctor.witnesses import witnessed
from deploy.stack.prefect import Access
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.orthanc import OrthancArchive
from services.settings import Settings
from services.wiring import archive_of, connect

_ARCHIVE = "Is the address right, does the archive run, do ORGANLOOP_ARCHIVE_USER and _PASSWORD open it?"
_RECORDS = "Does it run, and is ORGANLOOP_DATABASE_URL right?"
_TLS = "Does the address name the certificate's host, and does ORGANLOOP_ARCHIVE_CA_FILE hold who signed it?"


def rounds(settings: Settings, *, store: bool, progress: Callable[[str], None]) -> Iterator[Finding]:
    """Yield what every check of a site finds.

    Parameters
    ----------
    settings
        Of the site.
    store
        Whether a test object may be stored in the archive, to be deleted again.
    progress
        Told the name of each check as it begins.
    """
    gpu_for = _gpu_wanted_by(settings)
    checks = [
        Check(
            "storage", lambda: machine.storage(settings.home), "ORGANLOOP_HOME must be writable by this user."
        ),
        Check("memory", lambda: machine.memory(settings.study_memory_mib), ""),
        Check("gpu", lambda: machine.gpu(gpu_for), ""),
        Check(
            "database",
            lambda: records(settings.records_url),
            _RECORDS,
        ),
        *_role_checks(settings),
        *_organ_checks(settings),
        Check("log, witness", lambda: witnessed(settings), _RECORDS),
        Check("speech", lambda: speech(settings), _RECORDS),
        *_archive_checks(settings, store),
        Check("segmenter", lambda: _serving(settings), "`organloop status`, and the segmenter's log."),
        Check(
            "flows", lambda: flows(_access(settings)), "Does the Prefect server run? Its log says why not."
        ),
    ]
    return examine(checks, progress)


def _role_checks(settings: Settings) -> list[Check]:
    if make_url(settings.records_url).get_backend_name() == "sqlite":
        return []  # who has the file has it
    look = partial(_role, settings)
    return [Check("database, role", look, _RECORDS)]


def _organ_checks(settings: Settings) -> list[Check]:
    table = settings.organs
    if table is None:
        return []
    return [Check("organs", lambda: organs(table), "Mend the rows; deploy/site/organs.csv is a sample.")]


def _role(settings: Settings) -> Iterator[Finding]:
    yield from role(settings.records_url, clinical=site_is_clinical(settings))


def _archive_checks(settings: Settings, store: bool) -> list[Check]:
    archive = archive_of(settings)
    if archive is None:
        remedy = (
            "Set ORGANLOOP_ORTHANC_URL or ORGANLOOP_DICOMWEB_URL, or start the local one: `organloop up`."
        )
        nothing = Finding("archive", State.WARNING, "none is known: only folders can be segmented", remedy)
        return [Check("archive", lambda: [nothing], "")]
    webs = {archive.web.name: archive.web}
    if isinstance(archive, OrthancArchive):
        webs[archive.rest.name] = archive.rest
    checks = [Check(f"TLS to {name}", partial(encryption, web), _TLS) for name, web in webs.items()]
    if isinstance(archive, OrthancArchive):
        asked = settings.query_modality
        checks.append(Check("archive, Orthanc", lambda: orthanc(archive, asked), _ARCHIVE))
    checks.append(Check("archive, query (QIDO)", lambda: queries(archive), _ARCHIVE))
    if store:
        look = partial(_stores, settings, archive)
        checks.append(Check("archive, store (STOW)", look, "May this account store? " + _ARCHIVE))
    else:
        left_out = Finding("archive, store (STOW)", State.SKIPPED, "left out, as asked")
        checks.append(Check("archive, store (STOW)", lambda: [left_out], ""))
    return checks


def _stores(settings: Settings, archive: DicomwebArchive) -> Iterator[Finding]:
    """Store a test object, unless the site is silent: then nothing is sent to an archive."""
    if site_speaks(settings):
        yield from stores(archive)
    else:
        detail = "left out: the site is silent, and nothing is sent to the archive"
        yield Finding("archive, store (STOW)", State.SKIPPED, detail)


def _serving(settings: Settings) -> Iterator[Finding]:
    yield from serving(connect(settings))


def _access(settings: Settings) -> Access | None:
    from deploy.stack.servers import prefect  # the local one

    return Access.from_environment() or prefect(settings).access


def _gpu_wanted_by(settings: Settings) -> str | None:
    """Return the setting that asks for a GPU in this process; Triton's own is on its node."""
    if settings.tuning_device == "cuda" and settings.tuning_pool is None:
        return "ORGANLOOP_TUNING_DEVICE"
    return None
