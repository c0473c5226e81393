"""Bring a public checkpoint in: a release of its weights, exported and proven, as a candidate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.acts import require_name
from flows.candidates import publish_candidate, record_candidate
from flows.progress import Progress, silent
from models.errors import Refused
from models.network.checkpoints.importing import LEFT_OUT, import_checkpoint
from models.network.weights import head_to_bytes, trunk_to_bytes
from models.organs import KEYS
from models.release import Release, sha256_hex
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import CheckpointImported
from services.records.port import Log, Records, Releases
from services.releases.exporter import export_release
from services.releases.store import ReleaseStore
from services.stopwatch import Stopwatch


@dataclass(frozen=True)
class Parity:
    """How far the serving engine is from torch: the largest logit difference, and voxels flipped of all."""

    max_logit_difference: float
    flipped: int
    voxels: int


@dataclass(frozen=True)
class Imported:
    """The document of the `import-checkpoint` verb.

    Parameters
    ----------
    release, digest, state
        The candidate.
    kind, sha256
        Of the network, and of the file.
    said
        The licence, or what the weights do not tell.
    organs
        In the file's order.
    parity
        By organ.
    seconds
        By step, and ``total``.
    """

    release: int
    digest: str
    state: str
    kind: str
    sha256: str
    said: str
    organs: tuple[str, ...]
    parity: Mapping[str, Parity]
    seconds: Mapping[str, float]


def keep_checkpoint(
    path: Path,
    store: ReleaseStore,
    records: Records,
    threads: int,
    organs: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Imported:
    """Import a checkpoint and publish the candidate that comes of it; once, however often it is repeated.

    It claims no bound, has no parent and serves nobody: whoever wants it served decides so.

    Parameters
    ----------
    path
        A file of ``torch.save``.
    store, records
        Where it is kept and put on record; nothing is asked of a server.
    threads
        How many threads prove the export.
    organs
        Keys of the file's classes, in its order, ``-`` for one to leave out; None: the published 32.
    progress
        Told each step, and what whoever lets it serve must know.

    Raises
    ------
    Refused
        As `models.network.checkpoints.importing.import_checkpoint`; `unknown-organ`.
    InvalidRelease
        If the serving engine does not answer as torch does; nothing is published then.
    StorageFailed
        If the disk is full or not writable.
    """
    watch = Stopwatch()
    with watch.step("read"):
        unknown = sorted(set(organs or ()) - {*KEYS, LEFT_OUT})
        if unknown:
            named = ", ".join(map(repr, unknown))
            detail = f"the catalogue has no {named}; it has {', '.join(KEYS)}"
            raise Refused("unknown-organ", detail, {"organs": unknown})
        network = import_checkpoint(path, organs)
        digest = sha256_hex(path.read_bytes())
        progress(network.said)
    with watch.step("keep"):
        draft = Release(
            number=1,
            parent=None,
            trunk=store.add_trunk(trunk_to_bytes(network.trunk, exact=True)),
            heads={organ: store.add_head(head_to_bytes(head)) for organ, head in network.heads.items()},
            contract=network.contract,
            note=f"Imported {network.kind} checkpoint, SHA-256 {digest}. {network.said}",
        )
    progress(f"{len(draft.heads)} heads on a {network.kind}; proving the export in the engine")
    with watch.step("export"):
        parity = export_release(draft, store, threads=threads)
    candidate = publish_candidate(draft, store, records)
    event = CheckpointImported(
        release=candidate.number,
        digest=candidate.digest,
        kind=network.kind,
        sha256=digest,
        said=network.said,
    )
    key = event.key(candidate.digest)
    record_candidate(candidate, event, "import_checkpoint", key, records)
    return Imported(
        release=candidate.number,
        digest=candidate.digest,
        state=records.release_states()[candidate.number],
        kind=network.kind,
        sha256=digest,
        said=network.said,
        organs=candidate.contract.organs,
        parity={one.organ: Parity(one.max_logit_difference, one.flipped, one.voxels) for one in parity},
        seconds=watch.seconds(),
    )


def is_import_of(release: Release, path: Path, log: Log) -> bool:
    """Tell whether a release was made of a checkpoint's file."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return log.last(CheckpointImported, digest=release.digest, sha256=digest) is not None


def require_first(known: Releases, approver: str, reason: str) -> None:
    """Refuse to let a release serve without a name (`no-name`) or beside another (`incumbent-exists`)."""
    require_name(approver, reason)
    serving = known.incumbent()
    if serving is not None:
        raise Refused("incumbent-exists", f"release {serving} serves already", {"incumbent": serving})


def make_first(number: int, store: ReleaseStore, known: Releases, approver: str, reason: str) -> None:
    """Make a release the incumbent of a home where none serves yet; no gate, for there is nothing to weigh.

    Parameters
    ----------
    number
        The release.
    store
        Where it lies.
    known
        Where it comes to serve; nothing is asked of a server.
    approver, reason
        Whose act it is, and why.

    Raises
    ------
    Refused
        `incumbent-exists`: beside one that serves, a release is promoted by the gate. `no-name`.
    InvalidRelease
        If there is no such release.
    """
    require_first(known, approver, reason)
    release = store.release(number)
    known.record_release(number, release.digest, ReleaseState.PROMOTED)
    known.set_incumbent(number, approver=approver, reason=reason)
