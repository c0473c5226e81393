"""One file that carries a release to another site: ``manifest.json``, a signature, the release, its weights.

It is a tar archive of one form only: equal releases are equal bytes, and no general reader of archives is
needed. Each header must be, byte for byte, the one that the manifest's name and size give; a link, a path, a
hole or another order is no such header. Exports to ONNX do not travel: whoever takes the release in makes and
proves them from the weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from models.documents import from_json
from models.errors import InvalidRelease, Refused
from models.release import Release, sha256_hex
from services.files import replacing, storage_errors
from services.releases.signatures import Signature, require_signed, sign
from services.releases.store import RELEASE_FILE, ReleaseStore

FORM = 1
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
BLOCK = 512
END = b"\0" * (2 * BLOCK)
LARGEST_TEXT = 64 * 2**20
"""Of manifest, signature and release: a thousand organs calibrated take a hundredth."""
LARGEST_WEIGHTS = 8 * 2**30 - 1
"""Of a trunk or a head: the largest that a header of this form names."""
CHUNK = 2**20
NAMED_BY_DIGEST = re.compile(r"(?:trunks|heads)/([0-9a-f]{64})\.safetensors")
DAMAGED = "fetch the file again, and compare its SHA-256 with that of whoever exported it"


@dataclass(frozen=True)
class Member:
    """A file in it: SHA-256 and bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What a file says of itself.

    Parameters
    ----------
    form
        Of the file.
    release, digest
        The number and the digest that the release bears where it was exported.
    exporter
        Name of who exported it.
    demonstration
        Whether the weights are not for clinical use.
    members
        Every other file in it but the signature, by name.
    """

    form: int
    release: int
    digest: str
    exporter: str
    demonstration: bool
    members: Mapping[str, Member]

    def to_bytes(self) -> bytes:
        """Return the bytes that are signed; equal manifests, equal bytes."""
        return (json.dumps(asdict(self), sort_keys=True, indent=1) + "\n").encode()


def carried(release: Release) -> Release:
    """Return a release as it leaves a site: without parent and corrections, whose names are UIDs."""
    return replace(release, parent=None, corrections=())


def write_release_file(
    file: Path, release: Release, store: ReleaseStore, exporter: str, key_file: Path | None = None
) -> tuple[Manifest, Signature | None]:
    """Write a release's file, whole or not at all; the same release, name and key give the same bytes.

    Raises
    ------
    InvalidRelease
        If a file of the release is damaged.
    Refused
        As `signatures.sign`.
    StorageFailed
        If it cannot be written; what was there stays.
    """
    content: dict[str, Callable[[], bytes]] = {RELEASE_FILE: carried(release).to_bytes}
    content[_weights("trunks", release.trunk)] = partial(store.trunk, release.trunk)
    for digest in sorted(set(release.heads.values())):
        content[_weights("heads", digest)] = partial(store.head, digest)
    members = {}
    for name, read in content.items():
        read_now = read()
        members[name] = Member(sha256_hex(read_now), len(read_now))
    manifest = Manifest(FORM, release.number, release.digest, exporter, release.demonstration, members)
    signature = None if key_file is None else sign(manifest.to_bytes(), key_file)
    with storage_errors(str(file)), replacing(file) as out:
        _put(out, MANIFEST, manifest.to_bytes())
        if signature is not None:
            _put(out, SIGNATURE, _signature_bytes(signature))
        for name, read in sorted(content.items()):
            _put(out, name, read())
        out.write(END)
    return manifest, signature


@dataclass(frozen=True)
class ReleaseFile:
    """A file that was read to its end and is what it says.

    Parameters
    ----------
    path
        Where it lies.
    manifest
        What it says of itself.
    signature
        Which its key has made of the manifest; None where it bears none.
    release
        As carried.
    """

    path: Path
    manifest: Manifest
    signature: Signature | None
    release: Release

    def take_into(self, store: ReleaseStore) -> None:
        """Add the weights to a store; those that are there already are shared.

        Raises
        ------
        Refused
            `damaged-release-file` if the file was changed since it was read.
        StorageFailed
            If the disk is full or not writable.
        """
        with self.path.open("rb") as opened:
            for name, read in _members(opened, self.manifest, self.signature):
                content = b"".join(read)
                if sha256_hex(content) != self.manifest.members[name].sha256:
                    raise _damaged(f"{name} is not what it was when the file was read")
                if name != RELEASE_FILE:
                    add = store.add_trunk if name.startswith("trunks/") else store.add_head
                    add(content)


def is_release_file(path: Path) -> bool:
    """Tell whether a file begins as one; what else is wrong with it `read_release_file` says."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(len(MANIFEST) + 1) == f"{MANIFEST}\0".encode()


def read_release_file(path: Path) -> ReleaseFile:
    """Read a file to its end and compare every digest; nothing is written anywhere.

    Raises
    ------
    Refused
        `not-a-release-file`; `newer-release-file`; `foreign-member` if it names what no release has, or more
        than it has; `oversized-member`; `damaged-release-file` if it was cut, changed or added to;
        `wrong-signature`; `unknown-release` if this program does not understand the release.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as opened:
        first = opened.read(BLOCK)
        if not first.startswith(f"{MANIFEST}\0".encode()):
            detail = f"{path.name} is none: `organloop releases export` writes one"
            raise Refused("not-a-release-file", detail, {"file": path.name})
        manifest_bytes = _read(opened, first, MANIFEST)
        manifest = _manifest(manifest_bytes)
        signature = _signature(opened, manifest_bytes)
        release_bytes = b""
        for name, read in _members(opened, manifest, signature):
            digest = hashlib.sha256()
            for part in read:
                digest.update(part)
                release_bytes += part if name == RELEASE_FILE else b""
            if digest.hexdigest() != manifest.members[name].sha256:
                raise _damaged(f"{name} is not what its digest says")
    return ReleaseFile(path, manifest, signature, _release(release_bytes, manifest))


def _weights(kind: str, digest: str) -> str:
    return f"{kind}/{digest}.safetensors"


def _header(name: str, size: int) -> bytes:
    """Return the one header that a member of this name and size has."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.USTAR_FORMAT)


def _put(out: BinaryIO, name: str, content: bytes) -> None:
    out.write(_header(name, len(content)))
    out.write(content)
    out.write(b"\0" * (-len(content) % BLOCK))


def _damaged(what: str) -> Refused:
    return Refused("damaged-release-file", f"{what}: {DAMAGED}", {})


def _read(opened: BinaryIO, header: bytes, name: str) -> bytes:
    """Return the content of a small member whose size only its header says."""
    try:
        size = tarfile.TarInfo.frombuf(header, "ascii", "strict").size
    except (tarfile.TarError, UnicodeDecodeError):
        raise _damaged(f"the header of {name} cannot be read") from None
    if size > LARGEST_TEXT:
        raise _oversized(name, size, LARGEST_TEXT)
    if size < 0 or header != _header(name, size):
        raise _damaged(f"the header of {name} is none that an export writes")
    return b"".join(_content(opened, name, size))


def _content(opened: BinaryIO, name: str, size: int) -> Iterator[bytes]:
    left = size
    while left:
        part = opened.read(min(left, CHUNK))
        if not part:
            raise _damaged(f"the file ends within {name}")
        left -= len(part)
        yield part
    padding = -size % BLOCK
    if opened.read(padding) != b"\0" * padding:
        raise _damaged(f"what follows {name} is not empty")


def _oversized(name: str, size: int, largest: int) -> Refused:
    detail = f"{name} is said to have {size} bytes, {largest} are the most"
    return Refused("oversized-member", detail, {"bytes": size, "most_bytes": largest})


def _manifest(content: bytes) -> Manifest:
    try:
        said = json.loads(content)
        form = said["form"]
        if isinstance(form, int) and form > FORM:
            detail = f"the file has form {form}, this program reads form {FORM}: take a newer program"
            raise Refused("newer-release-file", detail, {"form": form, "reads": FORM})
        manifest = from_json(Manifest, said)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damaged(f"{MANIFEST} cannot be read") from None
    if manifest.form != FORM or manifest.to_bytes() != content:
        raise _damaged(f"{MANIFEST} is none that an export writes")
    for name, member in manifest.members.items():
        is_weights = NAMED_BY_DIGEST.fullmatch(name)
        if name != RELEASE_FILE and not (is_weights and is_weights[1] == member.sha256):
            shown = name.encode("ascii", "backslashreplace").decode()[:80]
            raise Refused("foreign-member", f"no release has a file {shown}", {"member": shown})
        largest = LARGEST_TEXT if name == RELEASE_FILE else LARGEST_WEIGHTS
        if not 0 <= member.size <= largest:
            raise _oversized(name, member.size, largest)
    return manifest


def _signature(opened: BinaryIO, manifest: bytes) -> Signature | None:
    """Return the signature that comes next; None, and the place as it was, where there is none."""
    place = opened.tell()
    header = opened.read(BLOCK)
    if not header.startswith(f"{SIGNATURE}\0".encode()):
        opened.seek(place)
        return None
    content = _read(opened, header, SIGNATURE)
    try:
        signature = from_json(Signature, json.loads(content))
    except (ValueError, TypeError, RecursionError):
        raise _damaged(f"{SIGNATURE} cannot be read") from None
    if _signature_bytes(signature) != content:
        raise _damaged(f"{SIGNATURE} is none that an export writes")
    require_signed(manifest, signature)
    return signature


def _signature_bytes(signature: Signature) -> bytes:
    return (json.dumps(asdict(signature), sort_keys=True) + "\n").encode()


def _members(
    opened: BinaryIO, manifest: Manifest, signature: Signature | None
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield each member that the manifest names, in its place, with its bytes, which must be read."""
    before = [(MANIFEST, manifest.to_bytes())]
    if signature is not None:
        before.append((SIGNATURE, _signature_bytes(signature)))
    opened.seek(sum(BLOCK + len(content) + -len(content) % BLOCK for _, content in before))
    for name, member in sorted(manifest.members.items()):
        header = opened.read(BLOCK)
        if len(header) < BLOCK:
            raise _damaged(f"the file ends before {name}")
        if header != _header(name, member.size):
            raise _damaged(f"where {name} should be, something else is")
        yield name, _content(opened, name, member.size)
    if opened.read(len(END) + 1) != END:
        raise _damaged("the file does not end where it should")


def _release(content: bytes, manifest: Manifest) -> Release:
    try:
        release = Release.from_bytes(content)
    except InvalidRelease as error:
        detail = f"this program does not understand the release: {error}; take a newer program"
        raise Refused("unknown-release", detail) from None
    named = {_weights("trunks", release.trunk), *(_weights("heads", one) for one in release.heads.values())}
    if named | {RELEASE_FILE} != set(manifest.members):
        raise Refused("foreign-member", "the weights in the file are not those of its release", {})
    facts = (release.number, release.demonstration)
    if facts != (manifest.release, manifest.demonstration) or release != carried(release):
        raise _damaged("manifest and release contradict each other")
    return release
