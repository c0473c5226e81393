"""Sites that release files move between, and files that were tampered with."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from deploy.preparation import STARTER
from flows.installing.moved import Exported, TakenIn, export_to_file, read_trusted, take_in
from models.errors import Refused
from services.records.events.candidates import ReleaseImported
from services.records.store import SqlRecords, open_records
from services.releases import release_file
from services.releases.release_file import MANIFEST
from services.releases.store import ReleaseStore
from tests.support.tiny_networks import publish_tiny

SEEDS = {"liver": 1, "spleen": 2}
UIDS = ("2.25.4711", "1.2.840.99.12")
"""Of corrections that the release has learnt from."""


class Site:
    """A store and records in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ReleaseStore(folder / "releases")
        self.records: SqlRecords = open_records(f"sqlite:///{folder}/records.sqlite")

    def take(self, file: Path, keys: Path | None = None) -> TakenIn:
        return take_in(*read_trusted(file, keys, ReleaseStore(STARTER)), self.store, self.records)

    @property
    def files(self) -> list[str]:
        kept = (path for path in self.store.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.store.folder).as_posix() for path in kept)


def site_at(folder: Path) -> Site:
    folder.mkdir()
    return Site(folder)


def tuned_site(folder: Path) -> Site:
    """Return a site whose release 2 was tuned from 1 on corrections."""
    site = site_at(folder)
    publish_tiny(site.store, 1, SEEDS)
    tuned = publish_tiny(site.store, 3, SEEDS | {"spleen": 3}, parent=1)
    site.store.publish(replace(tuned, number=2, corrections=UIDS, demonstration=False))
    return site


def export(site: Site, file: Path, number: int = 2, key: Path | None = None) -> Exported:
    return export_to_file(number, file, site.store, site.records, "Dr A", key)


def private_key(folder: Path, name: str = "key.pem") -> Path:
    key = Ed25519PrivateKey.generate()
    (folder / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"public-{name}").write_bytes(public)
    return folder / name


def refused(file: Path, site: Site, code: str, keys: Path | None = None) -> Refused:
    """Have a site refuse a file, and see that nothing of it is left there."""
    before = site.files
    with pytest.raises(Refused) as found:
        site.take(file, keys)
    assert found.value.code == code, found.value
    assert site.files == before
    assert site.records.release_states() == {}
    assert site.records.last(ReleaseImported) is None
    return found.value


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened}  # type: ignore[union-attr]


def written(
    file: Path, content: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None
) -> Path:
    """Write an archive as anybody can, each member changed by a function."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as opened:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if change is not None:
                change(member)
            opened.addfile(member, io.BytesIO(data))
    file.write_bytes(buffer.getvalue())
    return file


def forged(file: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """Write the file anew, as an export would, after its manifest and members were changed."""
    content = members(file)
    manifest = json.loads(content.pop(MANIFEST))
    change(manifest, content)
    said = json.dumps(manifest, sort_keys=True, indent=1) + "\n"
    with file.open("wb") as out:
        release_file._put(out, MANIFEST, said.encode())
        for name, data in sorted(content.items()):
            release_file._put(out, name, data)
        out.write(release_file.END)
    return file
