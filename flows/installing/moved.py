"""A release leaves a site in one file, and comes to another as a candidate that serves nobody."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from flows.acts import require_name
from flows.candidates import publish_candidate, record_candidate
from models.errors import Refused
from models.release import Release
from services.records.events.candidates import ReleaseExported, ReleaseImported
from services.records.port import Log, Records
from services.releases.release_file import ReleaseFile, read_release_file, write_release_file
from services.releases.signatures import require_trusted, trusted_keys
from services.releases.store import ReleaseStore

UNSIGNED = "unsigned"
NOT_CLINICAL = "NOT FOR CLINICAL USE: the weights are for demonstration only"


@dataclass(frozen=True)
class Exported:
    """The document of `releases export`.

    Parameters
    ----------
    release, digest
        Which.
    file, sha256, bytes
        Where it was written, and what is told by another way, e.g. by telephone.
    exporter
        Who exported it.
    signer
        SHA-256 of the public key that signed it, or `unsigned`.
    demonstration
        Whether the weights are not for clinical use.
    """

    release: int
    digest: str
    file: str
    sha256: str
    bytes: int
    exporter: str
    signer: str
    demonstration: bool


@dataclass(frozen=True)
class TakenIn:
    """The document of `releases import`.

    Parameters
    ----------
    release, digest, state
        The candidate here, and how far it has come.
    new
        Whether it was not here before.
    exporter, exported, exported_digest
        Who exported it, and its number and digest there: the file's word.
    sha256
        Of the file.
    signer, trusted
        SHA-256 of the public key that signed it, or `unsigned`; and whether this site names that key.
    organs
        In the contract's order.
    calibrated
        Organs of which bounds are carried; they hold in the profile, and for studies as, they were measured.
    demonstration
        Whether the weights are not for clinical use.
    """

    release: int
    digest: str
    state: str
    new: bool
    exporter: str
    exported: int
    exported_digest: str
    sha256: str
    signer: str
    trusted: bool
    organs: tuple[str, ...]
    calibrated: tuple[str, ...]
    demonstration: bool


def export_to_file(
    number: int, file: Path, store: ReleaseStore, log: Log, exporter: str, key_file: Path | None = None
) -> Exported:
    """Write a release into a file for another site, and put on record that it left.

    Neither cases nor corrections go with it, no score, no gate report and no picture: nothing of a patient.

    Parameters
    ----------
    number
        Which.
    file
        Where; what is there is replaced.
    store, log
        Where it lies, and where that is put down.
    exporter
        Whose name the file bears.
    key_file
        Private key that signs it; None: it is unsigned.

    Raises
    ------
    Refused
        `no-name`; `unusable-key`.
    InvalidRelease
        If there is no such release, or a file of it is damaged.
    StorageFailed
        If the file cannot be written.
    """
    require_name(exporter, "-", "an export")
    release = store.release(number)
    _, signature = write_release_file(file, release, store, exporter, key_file)
    sha256 = _digest_of(file)
    signer = None if signature is None else signature.fingerprint
    event = ReleaseExported(release=number, digest=release.digest, file=sha256, signer=signer)
    log.record(event, who=exporter, key=event.key(sha256))
    size = file.stat().st_size
    demonstration = release.demonstration
    return Exported(
        number, release.digest, str(file), sha256, size, exporter, signer or UNSIGNED, demonstration
    )


def read_trusted(file: Path, keys: Path | None, starter: ReleaseStore) -> tuple[ReleaseFile, bool]:
    """Read a release's file to its end; return it, and whether the site names the key that signed it.

    Parameters
    ----------
    file
        As `releases export` wrote it.
    keys
        The site's setting; None: unsigned ones are taken in too.
    starter
        The store of the demonstration release, whose weights are for demonstration whatever a file says.

    Raises
    ------
    Refused
        As `read_release_file`, `trusted_keys` and `require_trusted`; `demonstration-weights`.
    """
    read = read_release_file(file)
    if keys is not None:
        require_trusted(read.signature, trusted_keys(keys))
    trunks = {starter.release(number).trunk for number in starter.numbers()}
    if read.release.trunk in trunks and not read.release.demonstration:
        detail = "the file calls the demonstration release's trunk fit for clinical use, and it is not"
        raise Refused("demonstration-weights", detail, {"trunk": read.release.trunk})
    return read, keys is not None


def take_in(read: ReleaseFile, trusted: bool, store: ReleaseStore, records: Records) -> TakenIn:
    """Make a candidate of a file that was read; once, however often it is told.

    It serves nobody. A release that is here already, whatever its number, is that release; weights that are
    here already are shared.

    Raises
    ------
    Refused
        `damaged-release-file` if the file was changed since it was read.
    StorageFailed
        If the disk is full or not writable; what was added until then are whole weights that nothing names.
    """
    manifest, signature = read.manifest, read.signature
    same = here(read.release, store)
    if same is None:
        read.take_into(store)
        note = f"Release {manifest.release} of another site. {read.release.note}".strip()
        candidate = publish_candidate(replace(read.release, note=note), store, records)
    else:
        candidate = same
    signer = None if signature is None else signature.fingerprint
    sha256 = _digest_of(read.path)
    event = ReleaseImported(
        release=candidate.number,
        digest=candidate.digest,
        exporter=manifest.exporter,
        exported=manifest.release,
        exported_digest=manifest.digest,
        file=sha256,
        signer=signer,
        trusted=trusted,
        demonstration=candidate.demonstration,
    )
    record_candidate(candidate, event, "import_release", event.key(candidate.digest, sha256), records)
    return TakenIn(
        release=candidate.number,
        digest=candidate.digest,
        state=records.release_states()[candidate.number],
        new=same is None,
        exporter=manifest.exporter,
        exported=manifest.release,
        exported_digest=manifest.digest,
        sha256=sha256,
        signer=signer or UNSIGNED,
        trusted=trusted,
        organs=candidate.contract.organs,
        calibrated=tuple(sorted(candidate.calibration.organs)) if candidate.calibration else (),
        demonstration=candidate.demonstration,
    )


def here(release: Release, store: ReleaseStore) -> Release | None:
    """Return the release of a store that answers and claims the same as another site's; None without."""
    found = (store.release(number) for number in store.numbers())
    return next((one for one in found if alike(one, release)), None)


def alike(one: Release, other: Release) -> bool:
    """Tell whether two releases answer and claim the same, whatever they are called and came from."""
    return _answers(one) == _answers(other)


def _answers(release: Release) -> Release:
    return replace(release, number=1, parent=None, corrections=(), note="")


def _digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
