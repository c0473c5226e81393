"""The release store: what is written once stays, and what is damaged is never read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import InvalidRelease, StorageFailed
from models.release import Release, sha256_hex
from services.releases.store import ReleaseStore
from tests.support.tiny_networks import publish_tiny

SEEDS = {"liver": 1, "spleen": 2}


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "store")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what fills the disk from then on."""

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "fsync", no_space)


def files(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_a_release_comes_back_as_it_was_published(store: ReleaseStore) -> None:
    release = publish_tiny(store, 1, SEEDS)
    assert store.release(1) == release
    assert store.release(1).digest == release.digest
    assert store.numbers() == (1,)
    assert store.trunk(release.trunk) == b"trunk 0"
    assert store.head(release.heads["spleen"]) == b"spleen 2"


@pytest.mark.parametrize("known", ["liver", "trunk", "head"])
def test_a_release_that_names_files_outside_its_folder_is_refused(store: ReleaseStore, known: str) -> None:
    release = publish_tiny(store, 1, SEEDS)
    word = {"liver": "liver", "trunk": release.trunk, "head": release.heads["liver"]}[known]
    hostile = release.to_bytes().replace(f'"{word}"'.encode(), b'"../../outside"')
    with pytest.raises(InvalidRelease, match="name files"):
        Release.from_bytes(hostile)


def test_files_are_named_by_their_content(store: ReleaseStore) -> None:
    release = publish_tiny(store, 1, SEEDS)
    assert (store.folder / "trunks" / f"{sha256_hex(b'trunk 0')}.safetensors").is_file()
    assert (store.folder / "heads" / f"{release.heads['liver']}.safetensors").is_file()
    assert len(files(store.folder)) == 3 + 3 + 1  # weights, exports, release


def test_releases_share_the_heads_that_did_not_change(store: ReleaseStore) -> None:
    first = publish_tiny(store, 1, SEEDS)
    second = publish_tiny(store, 2, {"liver": 1, "spleen": 3}, parent=1)
    assert first.heads["liver"] == second.heads["liver"]
    assert len(list((store.folder / "heads").iterdir())) == 3


def test_publishing_again_changes_nothing_and_other_bytes_are_refused(store: ReleaseStore) -> None:
    release = publish_tiny(store, 1, SEEDS)
    before = files(store.folder)
    publish_tiny(store, 1, SEEDS)
    assert files(store.folder) == before
    with pytest.raises(InvalidRelease, match="other bytes"):
        store.publish(replace(release, note="not the same"))
    assert store.release(1) == release


def test_a_release_whose_head_is_missing_is_not_published(store: ReleaseStore) -> None:
    release = publish_tiny(store, 1, SEEDS)
    orphan = replace(release, number=2, heads={**release.heads, "liver": "0" * 64})
    with pytest.raises(InvalidRelease, match="cannot be read"):
        store.publish(orphan)
    assert store.numbers() == (1,)


@pytest.mark.parametrize("kind", ["trunks", "heads", "exports"])
def test_one_flipped_bit_is_an_error(store: ReleaseStore, kind: str) -> None:
    release = publish_tiny(store, 1, SEEDS)
    for path in (store.folder / kind).iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    read = {
        "trunks": lambda: store.trunk(release.trunk),
        "heads": lambda: store.head(release.heads["liver"]),
        "exports": lambda: store.export(release.trunk),
    }
    with pytest.raises(InvalidRelease, match="damaged"):
        read[kind]()


def test_an_unknown_release_is_said_with_those_there_are(store: ReleaseStore) -> None:
    publish_tiny(store, 3, SEEDS)
    with pytest.raises(InvalidRelease, match=r"no release 1; there are \(3,\)"):
        store.release(1)


def test_a_second_different_export_of_the_same_weights_is_refused(store: ReleaseStore) -> None:
    release = publish_tiny(store, 1, SEEDS)
    assert store.has_export(release.trunk)
    onnx = store.export(release.trunk)
    with pytest.raises(InvalidRelease, match="another export"):
        store.add_export(release.trunk, onnx + b"\0")
    assert store.export(release.trunk) == onnx


def test_importing_copies_releases_with_weights_and_exports_and_is_idempotent(
    store: ReleaseStore, tmp_path: Path
) -> None:
    other = ReleaseStore(tmp_path / "starter")
    publish_tiny(other, 1, SEEDS)
    assert store.import_from(other.folder) == (1,)
    assert store.import_from(other.folder) == (1,)
    assert files(store.folder) == files(other.folder)


def test_importing_a_damaged_head_takes_in_no_release(store: ReleaseStore, tmp_path: Path) -> None:
    other = ReleaseStore(tmp_path / "starter")
    release = publish_tiny(other, 1, SEEDS)
    (other.folder / "heads" / f"{release.heads['spleen']}.safetensors").write_bytes(b"junk")
    with pytest.raises(InvalidRelease, match="damaged"):
        store.import_from(other.folder)
    assert store.numbers() == ()


def test_a_full_disk_leaves_nothing_half_written(store: ReleaseStore, full_disk: Callable[[], None]) -> None:
    release = publish_tiny(store, 1, SEEDS)
    before = files(store.folder)
    full_disk()
    with pytest.raises(StorageFailed, match="No space left"):
        store.add_head(b"new")
    with pytest.raises(StorageFailed, match="No space left"):
        store.publish(replace(release, number=2))
    assert files(store.folder) == before
    assert store.numbers() == (1,)
