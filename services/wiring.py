"""The one place that turns settings into the things flows work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from models.errors import PacsFailed, ServingUnavailable
from models.organ_rows import known_organs
from models.targets import FROM_THE_CATALOGUE, Targets
from services.addresses import stack_address
from services.cases.disagreements import Policy, ReadersDisagree
from services.cases.store import CaseStore
from services.inference.engine import InProcessSegmenter
from services.inference.port import Endpoint, Segmenter
from services.pacs.accounts import Account, Accounts
from services.pacs.allowance import StudyLimits
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from services.pacs.port import Archive, ChangeFeed, QuerySource
from services.pacs.queried_feed import QueriedFeed
from services.pacs.query_retrieve import OrthancQuerySource
from services.records.port import Records
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.triton.client import Transport, TritonSegmenter
from services.triton.gpu_target import GpuTarget
from services.triton.repository import TritonRepository
from services.witnesses.file import FileWitness
from services.witnesses.port import Witness
from services.witnesses.syslog import PORT, SyslogWitness


@dataclass(frozen=True)
class Services:
    """What the flows work with.

    Parameters
    ----------
    settings
        What it was made from.
    releases
        Trunks, heads and releases.
    records
        What happened, and which release is the incumbent.
    segmenter
        Answers a volume for a release.
    cases
        Volumes and truth for tuning, calibration and the gate.
    repository
        What the endpoints load from.
    endpoints
        Every server a release must be loaded on before it may be the incumbent.
    archive
        Where studies come from and results go to; None where none is known.
    feed
        Tells what came to the archive; None where it has no feed.
    source
        The PACS from which studies are queried; None where they are only pushed.
    targets
        How exact organs must be, as the site has established it.
    """

    settings: Settings
    releases: ReleaseStore
    records: Records
    segmenter: Segmenter
    cases: CaseStore
    repository: TritonRepository
    endpoints: tuple[Endpoint, ...]
    archive: Archive | None = None
    feed: ChangeFeed | None = None
    source: QuerySource | None = None
    targets: Targets = FROM_THE_CATALOGUE

    @property
    def policy(self) -> Policy:
        """When readers agree, and what teaches where they do not."""
        settings = self.settings
        return Policy(ReadersDisagree(settings.readers_disagree), self.targets, settings.teach_from_pictures)


def connect(settings: Settings, records: Records | None = None) -> Services:
    """Return the services of one process; nothing is asked of a server yet.

    Parameters
    ----------
    settings
        Of the site.
    records
        Those that this process has open; None: they are opened.

    Raises
    ------
    ServingUnavailable
        If no address of a Triton is known.
    """
    url = triton_url(settings)
    triton = triton_at(url, settings, _stack_triton(settings))
    archive = archive_of(settings)
    return Services(
        settings=settings,
        releases=ReleaseStore(settings.release_store),
        records=open_records(settings.records_url) if records is None else records,
        segmenter=triton,
        cases=CaseStore(settings.case_store),
        repository=triton_repository(settings),
        endpoints=_endpoints(settings, url),
        archive=archive,
        feed=_feed_of(archive),
        source=source_of(settings, archive),
        targets=targets_of(settings),
    )


def connect_in_process(settings: Settings, records: Records | None = None) -> Services:
    """Return services that ask no server: a release answers in this process, in the same profile.

    Parameters are those of `connect`.
    """
    repository = triton_repository(settings)
    archive = archive_of(settings)
    return Services(
        settings=settings,
        releases=ReleaseStore(settings.release_store),
        records=open_records(settings.records_url) if records is None else records,
        segmenter=InProcessSegmenter(repository.versions_folder, settings.threads),
        cases=CaseStore(settings.case_store),
        repository=repository,
        endpoints=(),
        archive=archive,
        feed=_feed_of(archive),
        source=source_of(settings, archive),
        targets=targets_of(settings),
    )


def targets_of(settings: Settings) -> Targets:
    """Return what the site has established of organs: without a file, nothing beyond the catalogue."""
    if settings.targets is None:
        return FROM_THE_CATALOGUE
    return Targets.read(settings.targets, known_organs(settings.organs))


def policy_of(settings: Settings) -> Policy:
    """Return when readers agree, and what teaches where they do not."""
    return Policy(
        ReadersDisagree(settings.readers_disagree), targets_of(settings), settings.teach_from_pictures
    )


def triton_at(
    url: str,
    settings: Settings,
    pid: int | None = None,
    *,
    loads: bool = False,
    deadline_seconds: float | None = None,
) -> TritonSegmenter:
    """Return a client of one Triton.

    Parameters
    ----------
    url
        gRPC address.
    settings
        Its keys, how volumes reach it, and the longest wait.
    pid
        Of the server, if it runs on this machine and is known.
    loads
        Whether it loads releases; only then the key for that is shown.
    deadline_seconds
        Longest wait for an answer; None: the settings'.
    """
    transport = Transport(settings.serving_transport)
    keys = {"serving": settings.triton_serving_key}
    if loads:
        keys["release"] = settings.triton_release_key
    shown = {name: key.get_secret_value() for name, key in keys.items() if key is not None}
    seconds = deadline_seconds or settings.serving_deadline_seconds
    return TritonSegmenter(url, seconds, transport=transport, pid=pid, keys=shown)


def _stack_triton(settings: Settings) -> int | None:
    """Return the process id of the local stack's Triton; None where another one answers."""
    pid = None if settings.triton_url else stack_address(settings, "triton_pid")
    return None if pid is None else int(pid)


def triton_repository(settings: Settings) -> TritonRepository:
    """Return the repository from which Triton loads.

    Raises
    ------
    ServingUnavailable
        If it is for a GPU server that the settings do not name.
    """
    gpu = None
    if settings.triton_target != "python":
        if settings.triton_device is None:
            raise ServingUnavailable(
                f"ORGANLOOP_TRITON_TARGET is {settings.triton_target}, ORGANLOOP_TRITON_DEVICE is not set: "
                "`python -m services.inference.gpu_device` prints it in the GPU server's container"
            )
        gpu = GpuTarget(
            settings.triton_target, settings.triton_device, settings.tensorrt_precision, settings.engine_store
        )
    return TritonRepository(settings.triton_repository, SEGMENTER_MODEL, settings.threads, gpu)


def triton_url(settings: Settings) -> str:
    """Return Triton's gRPC address: the setting, else that of the local stack.

    Raises
    ------
    ServingUnavailable
        If there is neither; the message says what to do.
    """
    url = settings.triton_url or stack_address(settings, "triton_url")
    if url is None:
        raise ServingUnavailable(
            "no Triton is known: start the local stack with `organloop up`, or set ORGANLOOP_TRITON_URL"
        )
    return url


def _endpoints(settings: Settings, url: str) -> tuple[TritonSegmenter, ...]:
    """Return every Triton the settings list; the one at `url` where they list none."""
    addresses = [one.strip() for one in (settings.triton_endpoints or url).split(",")]
    return tuple(triton_at(one, settings, loads=True) for one in addresses if one)


def archive_of(settings: Settings) -> OrthancArchive | DicomwebArchive | None:
    """Return the archive of the settings, else that of the local stack; None if there is neither.

    A DICOMweb address alone makes an archive without a feed of changes, which is queried instead.
    """
    limits = StudyLimits(settings.study_limit_objects, settings.study_limit_mib)
    urls, account = (settings.orthanc_url, settings.dicomweb_url), _account(settings)
    if urls == (None, None):
        urls = stack_address(settings, "orthanc_url"), stack_address(settings, "dicomweb_url")
        accounts = Accounts.of(settings.archive_home)
        account = accounts.worker if accounts else None
    orthanc_url, dicomweb_url = (url.rstrip("/") if url else None for url in urls)
    if orthanc_url is not None:
        web = dicomweb_url or f"{orthanc_url}/dicom-web"
        rest, dicomweb = (_connection(settings, url, account) for url in (orthanc_url, web))
        return OrthancArchive(rest, dicomweb, limits)
    if dicomweb_url is None:
        return None
    return DicomwebArchive(_connection(settings, dicomweb_url, account), limits)


@dataclass(frozen=True)
class ReadersArchive:
    """The archive as those who look and save reach it.

    Parameters
    ----------
    dicomweb_url
        Where.
    account
        Theirs there, which no browser learns; None where there is none.
    asks
        Without an account: whether it asks for a password, which the browser then has to know.
    """

    dicomweb_url: str
    account: Account | None
    asks: bool


def readers_archive(settings: Settings) -> ReadersArchive | None:
    """Return the archive of the settings, else the local stack's, for readers; None if there is neither."""
    if settings.dicomweb_url is not None or settings.orthanc_url is not None:
        url = settings.dicomweb_url or f"{str(settings.orthanc_url).rstrip('/')}/dicom-web"
        account = _named(settings.archive_reader_user, settings.archive_reader_password)
        return ReadersArchive(url.rstrip("/"), account, settings.archive_user is not None)
    local, accounts = stack_address(settings, "dicomweb_url"), Accounts.of(settings.archive_home)
    if local is None or accounts is None:
        return None
    return ReadersArchive(local.rstrip("/"), accounts.reader, True)


def searched_archive(settings: Settings) -> DicomwebArchive | None:
    """Return the archive as the pages search it: by the readers' account where there is one, else by ours."""
    found = readers_archive(settings)
    if found is None:
        return None
    limits = StudyLimits(settings.study_limit_objects, settings.study_limit_mib)
    return DicomwebArchive(
        _connection(settings, found.dicomweb_url, found.account or _account(settings)), limits
    )


def _feed_of(archive: OrthancArchive | DicomwebArchive | None) -> ChangeFeed | None:
    if archive is None or isinstance(archive, OrthancArchive):
        return archive
    return QueriedFeed(archive)


def source_of(settings: Settings, archive: Archive | None) -> OrthancQuerySource | None:
    """Return the PACS that is queried; None where the settings name none.

    Raises
    ------
    PacsFailed
        If the settings name one, and the archive is no Orthanc, through which it would be asked.
    """
    if settings.query_modality is None:
        return None
    if not isinstance(archive, OrthancArchive):
        raise PacsFailed("ORGANLOOP_QUERY_MODALITY is set, but no Orthanc is known to ask through.")
    return OrthancQuerySource(archive, settings.query_modality)


def witnesses_of(settings: Settings) -> tuple[Witness, ...]:
    """Return who is told the head of the log."""
    found: list[Witness] = []
    if settings.witness_file is not None:
        found.append(FileWitness(settings.witness_file))
    if settings.witness_syslog is not None:
        host, _, port = settings.witness_syslog.partition(":")
        found.append(SyslogWitness(host, int(port or PORT), settings.witness_ca_file))
    return tuple(found)


def _account(settings: Settings) -> Account | None:
    """Return the account at the archive that the settings name; None where they name none."""
    return _named(settings.archive_user, settings.archive_password)


def _named(user: str | None, password: SecretStr | None) -> Account | None:
    return None if user is None else Account(user, password.get_secret_value() if password else "")


def _connection(settings: Settings, url: str, account: Account | None) -> Http:
    return Http(
        url,
        account.user if account else None,
        account.password if account else None,
        settings.archive_ca_file,
        settings.archive_deadline_seconds,
    )


def repository_root() -> Path:
    """Return the folder that holds the packages `models`, `services`, `flows` and `deploy`."""
    return Path(__file__).resolve().parent.parent


SEGMENTER_MODEL = repository_root() / "deploy" / "triton" / "organ_segmenter" / "model.py"
"""The Python model that Triton runs for every release."""
