"""The release store: trunks, heads and releases as files named by their content.

::

    trunks/<sha256>.safetensors     heads/<sha256>.safetensors
    exports/<sha256 of the weights>.<sha256 of the ONNX>.onnx
    releases/<n>/release.json

Nothing in it ever changes. Every read is checked against the digest in the name, so that a flipped
bit is an error and never a slightly different organ.
"""

from __future__ import annotations

from pathlib import Path

from models.errors import InvalidRelease
from models.release import Release, sha256_hex
from services.files import write_once

RELEASE_FILE = "release.json"
DAMAGE = "is damaged: its bytes are not its digest's"


class ReleaseStore:
    """A store in a local folder.

    Parameters
    ----------
    folder
        Made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_trunk(self, weights: bytes) -> str:
        """Keep a trunk's safetensors; return its SHA-256.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable; nothing half-written is left.
        """
        return self._add("trunks", weights)

    def add_head(self, weights: bytes) -> str:
        """Keep a head's safetensors; return its SHA-256. Raises as `add_trunk`."""
        return self._add("heads", weights)

    def trunk(self, digest: str) -> bytes:
        """Return a trunk's safetensors.

        Raises
        ------
        InvalidRelease
            If the store has no such trunk, or its bytes are not those of the digest.
        """
        return _verified(self._weights("trunks", digest), digest)

    def head(self, digest: str) -> bytes:
        """Return a head's safetensors. Raises as `trunk`."""
        return _verified(self._weights("heads", digest), digest)

    def add_export(self, weights: str, onnx: bytes) -> None:
        """Keep the ONNX export of the weights with this SHA-256.

        Raises
        ------
        InvalidRelease
            If another export of these weights is there: bits served before would change.
        StorageFailed
            If the disk is full or not writable; nothing half-written is left.
        """
        path = self.folder / "exports" / f"{weights}.{sha256_hex(onnx)}.onnx"
        others = [other.name for other in self._exports(weights) if other != path]
        if others:
            raise InvalidRelease(f"weights {weights[:12]} have another export already: {others[0]}")
        write_once(path, onnx)

    def has_export(self, weights: str) -> bool:
        """Tell whether the weights with this SHA-256 have an ONNX export."""
        return bool(self._exports(weights))

    def export(self, weights: str) -> bytes:
        """Return the ONNX export of the weights with this SHA-256.

        Raises
        ------
        InvalidRelease
            If there is none, or more than one, or its bytes are not those of its digest.
        """
        found = self._exports(weights)
        if len(found) != 1:
            raise InvalidRelease(f"weights {weights[:12]} have {len(found)} exports, not one")
        return _verified(found[0], found[0].name.split(".")[1])

    def publish(self, release: Release) -> None:
        """Keep a release under its number; the same release a second time does nothing.

        Raises
        ------
        InvalidRelease
            If the trunk or a head is missing or damaged, or the number is taken by another release.
        StorageFailed
            If the disk is full or not writable; nothing half-written is left.
        """
        self.trunk(release.trunk)
        for digest in release.heads.values():
            self.head(digest)
        write_once(self._release_file(release.number), release.to_bytes())

    def release(self, number: int) -> Release:
        """Return a release; its weights are verified when they are read.

        Raises
        ------
        InvalidRelease
            If the store has no such release or it cannot be read.
        """
        try:
            content = self._release_file(number).read_bytes()
        except FileNotFoundError:
            raise InvalidRelease(f"there is no release {number}; there are {self.numbers()}") from None
        release = Release.from_bytes(content)
        if release.number != number:
            raise InvalidRelease(f"the file of release {number} holds release {release.number}")
        return release

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of all releases, ascending."""
        found = (self.folder / "releases").glob(f"*/{RELEASE_FILE}")
        return tuple(sorted(int(file.parent.name) for file in found if file.parent.name.isdigit()))

    def import_from(self, folder: Path) -> tuple[int, ...]:
        """Copy the releases of another store, e.g. the starter's folder, verified; return their numbers.

        Raises
        ------
        InvalidRelease
            If a file there is not what its digest says, or a number here is another release.
        StorageFailed
            If the disk is full or not writable; what was copied until then is whole.
        """
        other = ReleaseStore(folder)
        for number in other.numbers():
            release = other.release(number)
            self.add_trunk(other.trunk(release.trunk))
            for digest in release.heads.values():
                self.add_head(other.head(digest))
            for digest in (release.trunk, *release.heads.values()):
                if other.has_export(digest):
                    self.add_export(digest, other.export(digest))
            self.publish(release)
        return other.numbers()

    def _add(self, kind: str, weights: bytes) -> str:
        digest = sha256_hex(weights)
        write_once(self._weights(kind, digest), weights)
        return digest

    def _weights(self, kind: str, digest: str) -> Path:
        return self.folder / kind / f"{digest}.safetensors"

    def _exports(self, weights: str) -> list[Path]:
        return sorted((self.folder / "exports").glob(f"{weights}.*.onnx"))

    def _release_file(self, number: int) -> Path:
        return self.folder / "releases" / str(number) / RELEASE_FILE


def _verified(path: Path, digest: str) -> bytes:
    return verified(path, digest, f"{path.parent.name}/{path.name}")


def verified(path: Path, digest: str, what: str, damage: str = DAMAGE) -> bytes:
    """Read a file and check it against its digest; `InvalidRelease` says what is wrong with what."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRelease(f"{what} cannot be read: {error.strerror}") from error
    if sha256_hex(content) != digest:
        raise InvalidRelease(f"{what} {damage}")
    return content
