"""Which release serves, and bringing another in beside it."""

from __future__ import annotations

import json

from flows.progress import Progress, silent
from flows.serving.proof import prove_served
from models.errors import (
    InvalidRelease,
    ServingRejected,
    ServingUnavailable,
)
from models.release import NONE_SERVES, Release, sha256_hex
from services.inference.engine import RELEASE_FILE
from services.inference.port import Endpoint
from services.records.events.serving import IncumbentChanged, VersionTakenOut, VersionWritten
from services.records.port import Log, Records, Releases
from services.releases.store import ReleaseStore
from services.triton.repository import TritonRepository
from services.wiring import Services


def incumbent(known: Releases) -> int:
    """Return the number of the release that serves.

    Raises
    ------
    InvalidRelease
        If none has been made the incumbent yet.
    """
    number = known.incumbent()
    if number is None:
        raise InvalidRelease(NONE_SERVES)
    return number


def current(store: ReleaseStore, known: Releases) -> Release:
    """Return the release that serves; raises as `incumbent`."""
    return store.release(incumbent(known))


def serve(release: Release, services: Services, progress: Progress = silent) -> None:
    """Write a release into the repository and load it everywhere; repeatable.

    Raises
    ------
    InvalidRelease, ServingUnavailable, ServingTimedOut, StorageFailed
        As `write` and `load`.
    """
    progress(f"writing version {release.number}")
    write(release, services, progress)
    load(release, services, progress)


def write(release: Release, services: Services, progress: Progress = silent) -> None:
    """Export what is not exported and write the version folder; repeatable, and asks no server.

    Raises
    ------
    InvalidRelease
        If the release is damaged, or its exports do not agree with torch.
    StorageFailed
        If the disk is full or not writable.
    """
    store = services.releases
    if not all(store.has_export(digest) for digest in (release.trunk, *release.heads.values())):
        progress(f"exporting release {release.number} to ONNX and proving it against torch")
        from services.releases.exporter import export_release  # torch is loaded only when needed

        export_release(release, store, threads=services.settings.threads)
    # Another process may have written it just now, and has not said so yet. Of another release, it stays.
    repository = services.repository
    if not repository.is_as_written(release, store) and RELEASE_FILE not in repository.differing(
        release, store
    ):
        take_out_unwritten(release.number, repository, services.records, progress)
    repository.write_version(release, store)
    files = repository.digests(release.number)
    content = sha256_hex(json.dumps(files, sort_keys=True).encode())
    services.records.record(
        VersionWritten(release=release.number, files=files),
        who="serve",
        key=VersionWritten.key(release.number, content),
    )


def load(release: Release, services: Services, progress: Progress = silent) -> None:
    """Load a release on every endpoint that does not serve it yet; repeatable.

    Whatever else is kept in the repository is loaded with it: every replica can answer for every release
    before one of them is made the incumbent. A release that cannot be loaded is taken out of the repository
    again, unless it is the incumbent, so that it is in the way of no later load; what serves is never
    touched. On a GPU server the release is proven before it counts as loaded.

    Raises
    ------
    InvalidRelease
        If it cannot be loaded, a version in the repository is not as it was written, or a GPU server answers
        otherwise than was proven at export.
    ServingUnavailable, ServingTimedOut
        If an endpoint does not answer.
    """
    kept = sorted({release.number, *services.repository.versions()})
    for endpoint in services.endpoints:
        missing = [number for number in kept if not endpoint.ready(number)]
        if missing:
            # All of them: what was changed since it was loaded, a load loads again.
            _require_as_written(release, services.repository, services.records, progress)
            progress(f"loading version {', '.join(map(str, missing))}")
            _load(release, endpoint, services.repository, services.records)
            for number in missing:
                if not endpoint.ready(number):
                    progress(f"release {number} is kept and cannot be loaded; a rollback to it would fail")
        try:
            prove_served(
                release,
                endpoint,
                services.repository,
                services.releases,
                services.settings.threads,
                services.records,
                progress,
            )
        except InvalidRelease:
            take_out(release, services.repository, services.records)
            raise


def _require_as_written(
    release: Release, repository: TritonRepository, records: Records, progress: Progress
) -> None:
    """Have the repository hold nothing but what programs of this home have written.

    Raises
    ------
    InvalidRelease
        If the release to be loaded, or the incumbent, is not as it was written: both are written before.
    """
    for number in repository.versions():
        if number not in (release.number, records.incumbent()):
            take_out_unwritten(number, repository, records, progress)
        elif not _is_as_written(number, repository, records):
            raise InvalidRelease(
                f"version {number} in the model repository is not as it was written, and nothing is loaded: "
                f"find out who changed {repository.versions_folder / str(number)}, then `organloop prepare`"
            )


def take_out_unwritten(number: int, repository: TritonRepository, log: Log, progress: Progress) -> None:
    """Take out a version that holds other files than any on record as written; what it held is on record.

    One whose writer was killed before it could say so goes too; who needs it writes it anew.

    Raises
    ------
    StorageFailed
        If the folder cannot be removed.
    """
    if number not in repository.versions() or _is_as_written(number, repository, log):
        return
    progress(f"version {number} in the model repository is not as it was written: it is taken out")
    files = repository.digests(number)
    log.record(VersionTakenOut(release=number, files=files), who="serve")
    repository.remove_version(number)


def _is_as_written(number: int, repository: TritonRepository, log: Log) -> bool:
    files = repository.digests(number)
    return any(event.said.files == files for event in log.all(VersionWritten, release=number))


def _load(release: Release, endpoint: Endpoint, repository: TritonRepository, log: Log) -> None:
    try:
        endpoint.load()
    except ServingRejected as error:
        if endpoint.ready(release.number):
            return  # it is another version that cannot be loaded
        take_out(release, repository, log)
        raise InvalidRelease(f"release {release.number} cannot be loaded: {error}") from error
    if not endpoint.ready(release.number):
        raise ServingUnavailable(f"release {release.number} was loaded and is not ready")


def take_out(release: Release, repository: TritonRepository, log: Log) -> None:
    """Take a version out that nobody can use; one that has served stays, for it may elsewhere still.

    Every loaded release takes a segmenter's memory, and its time to start. It is loaded until the next load.

    Raises
    ------
    StorageFailed
        If the folder cannot be removed.
    """
    served = log.last(IncumbentChanged, after=release.number) is not None
    if release.number in repository.versions() and not served:
        repository.remove_version(release.number)  # a rollback may need what served
