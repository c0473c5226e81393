"""The repository Triton reads: complete versions or none, and a configuration Triton understands."""

from __future__ import annotations

import errno
import os
import py_compile
import resource
import shutil
import time
from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from models.contract import AFFINE_INPUT, FRACTIONS_INPUT, SEGMENTER, VOLUME_INPUT
from models.errors import InvalidRelease, StorageFailed
from services.inference.engine import OpenVinoEngine, serving_profile
from services.releases.store import ReleaseStore
from services.triton import repository as repository_room
from services.triton.answers import requested_outputs
from services.triton.config import triton_config
from services.triton.repository import TritonRepository
from tests.support.tiny_networks import publish_tiny

SEEDS = {"liver": 1, "spleen": 2}


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "store")


@pytest.fixture
def repository(tmp_path: Path) -> TritonRepository:
    model = tmp_path / "model.py"
    model.write_text("MEANING = 42\n")
    return TritonRepository(tmp_path / "serving" / "repository", model, threads=2)


def tree(folder: Path) -> dict[str, int]:
    return {str(f.relative_to(folder)): f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


def test_a_version_folder_holds_all_that_its_release_needs(
    store: ReleaseStore, repository: TritonRepository
) -> None:
    release = publish_tiny(store, 7, SEEDS)
    folder = repository.write_version(release, store)
    assert folder == repository.folder / SEGMENTER / "7"
    assert sorted(tree(folder)) == [
        "__pycache__/model.cpython-311.pyc",
        "exports.json",
        "heads/liver.onnx",
        "heads/spleen.onnx",
        "model.py",
        "release.json",
        "trunk.onnx",
    ]
    assert (folder / "trunk.onnx").read_bytes() == store.export(release.trunk)
    assert repository.versions() == (7,)


def test_writing_a_version_again_touches_no_file(store: ReleaseStore, repository: TritonRepository) -> None:
    release = publish_tiny(store, 1, SEEDS)
    repository.write_version(release, store)
    before = tree(repository.folder)
    repository.write_version(release, store)
    assert tree(repository.folder) == before


def test_a_version_number_is_never_given_to_another_release(
    store: ReleaseStore, repository: TritonRepository, tmp_path: Path
) -> None:
    repository.write_version(publish_tiny(store, 1, SEEDS), store)
    other_store = ReleaseStore(tmp_path / "other")
    other = publish_tiny(other_store, 1, {"liver": 1, "spleen": 9})
    with pytest.raises(InvalidRelease, match="version 1 is there with another"):
        repository.write_version(other, other_store)


@pytest.mark.parametrize("damage", ["one bit", "another head", "lost", "no digests"])
def test_a_damaged_version_is_not_served_and_is_written_anew(
    store: ReleaseStore, repository: TritonRepository, damage: str
) -> None:
    release = publish_tiny(store, 1, SEEDS)
    folder = repository.write_version(release, store)
    liver, spleen = folder / "heads/liver.onnx", folder / "heads/spleen.onnx"
    whole = liver.read_bytes()
    if damage == "one bit":
        weights = onnx.load_from_string(whole).graph.initializer[0].raw_data
        content = bytearray(whole)
        content[whole.index(weights) + 3] ^= 1  # of an exponent: the network is as good as any other
        liver.write_bytes(content)
    elif damage == "another head":
        shutil.copy(spleen, liver)
    elif damage == "lost":
        liver.unlink()
    else:
        (folder / "exports.json").write_text("[1]")
    with pytest.raises(InvalidRelease, match=r"version 1 is damaged|version folder 1 is incomplete"):
        OpenVinoEngine.open(folder, 1)
    repository.write_version(release, store)
    assert liver.read_bytes() == whole
    assert OpenVinoEngine.open(folder, 1).release_digest == release.digest


def test_a_version_that_an_older_program_wrote_is_served_until_it_is_renewed(
    store: ReleaseStore, repository: TritonRepository
) -> None:
    release = publish_tiny(store, 1, SEEDS)
    folder = repository.write_version(release, store)
    (folder / "exports.json").unlink()
    assert OpenVinoEngine.open(folder, 1).release_digest == release.digest
    repository.write_version(release, store)
    assert (folder / "exports.json").is_file()


def test_a_newer_program_replaces_the_old_one_in_its_version(
    store: ReleaseStore, repository: TritonRepository, tmp_path: Path
) -> None:
    release = publish_tiny(store, 1, SEEDS)
    folder = repository.write_version(release, store)
    (tmp_path / "model.py").write_text("MEANING = 43\n")
    repository.write_version(release, store)
    assert (folder / "model.py").read_text() == "MEANING = 43\n"
    assert repository.versions() == (1,)


def test_a_full_disk_leaves_the_version_that_a_newer_program_was_to_replace(
    store: ReleaseStore, repository: TritonRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = publish_tiny(store, 1, SEEDS)
    folder = repository.write_version(release, store)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (tmp_path / "model.py").write_text("MEANING = 43\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed):
        repository.write_version(release, store)
    assert repository.versions() == (1,)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_of_two_who_write_a_version_at_once_neither_fails(
    store: ReleaseStore, repository: TritonRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writes while this one has all but renamed: a new version first, then a newer program's."""
    release = publish_tiny(store, 1, SEEDS)
    other = TritonRepository(repository.folder, tmp_path / "model.py", threads=2)
    compile_one, busy = repository_room._compiled, []

    def overtaken(*given, **named):
        if not busy:
            busy.append(True)
            other.write_version(release, store)
        return compile_one(*given, **named)

    monkeypatch.setattr(repository_room, "_compiled", overtaken)
    for program in ("MEANING = 42\n", "MEANING = 43\n"):
        (tmp_path / "model.py").write_text(program)
        busy.clear()
        folder = repository.write_version(release, store)
        assert busy
        assert (folder / "model.py").read_text() == program
        assert repository.differing(release, store) == ()
    assert [f.name for f in repository.folder.parent.iterdir()] == ["repository"]
    aside = tmp_path / "aside"
    aside.mkdir()
    files = {"release.json": b"another"}
    with pytest.raises(OSError, match="not empty"):
        repository._move_in(aside, folder, files)


def test_a_release_without_export_gets_no_version(store: ReleaseStore, repository: TritonRepository) -> None:
    release = publish_tiny(store, 1, SEEDS)
    for export in (store.folder / "exports").glob(f"{release.heads['liver']}.*"):
        export.unlink()
    with pytest.raises(InvalidRelease, match="0 exports"):
        repository.write_version(release, store)
    assert repository.versions() == ()


def test_a_program_that_was_compiled_by_half_is_no_version(
    store: ReleaseStore, repository: TritonRepository, tmp_path: Path
) -> None:
    """Compiled, this program is larger than any other file of the version: only for that there is no room."""
    release, program = publish_tiny(store, 7, SEEDS), tmp_path / "model.py"
    program.write_text("f()\n" * 25_000)
    whole = Path(py_compile.compile(str(program), cfile=str(tmp_path / "whole.pyc")) or "").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole // 2, before[1]))
    try:
        with pytest.raises(StorageFailed, match="File too large"):
            repository.write_version(release, store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert repository.versions() == ()
    folder = repository.write_version(release, store)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(
        str(program), str(tmp_path / "as.pyc"), str(folder / "model.py"), invalidation_mode=mode
    )
    [compiled] = folder.rglob("*.pyc")
    assert compiled.read_bytes() == (tmp_path / "as.pyc").read_bytes()


@pytest.mark.parametrize("writes_before_full", range(8))
def test_a_half_written_version_is_never_visible(
    store: ReleaseStore,
    repository: TritonRepository,
    monkeypatch: pytest.MonkeyPatch,
    writes_before_full: int,
) -> None:
    """The disk fills up after each of the files in turn, config.pbtxt and its folder first."""
    release = publish_tiny(store, 1, SEEDS)
    fsync, written = os.fsync, []

    def count(descriptor: int) -> None:
        assert repository.versions() == ()
        written.append(descriptor)
        if len(written) > writes_before_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", count)
    with pytest.raises(StorageFailed, match="No space left"):
        repository.write_version(release, store)
    monkeypatch.undo()
    assert repository.versions() == ()
    assert [f.name for f in repository.folder.parent.iterdir()] == ["repository"]
    repository.write_version(release, store)
    assert repository.versions() == (1,)


def test_what_a_killed_writer_left_a_day_ago_is_removed_by_the_next(
    store: ReleaseStore, repository: TritonRepository
) -> None:
    left, fresh = (repository.folder.with_name(f".repository-{name}") for name in ("left", "fresh"))
    for folder in (left, fresh):
        (folder / "heads").mkdir(parents=True)
        (folder / "trunk.onnx").write_bytes(b"half a network")
    os.utime(left, (time.time() - 90_000,) * 2)
    repository.write_version(publish_tiny(store, 1, SEEDS), store)
    assert [folder.exists() for folder in (left, fresh)] == [False, True]


def test_a_removed_version_is_gone_at_once_and_removing_it_again_is_no_error(
    store: ReleaseStore, repository: TritonRepository
) -> None:
    repository.write_version(publish_tiny(store, 1, SEEDS), store)
    repository.remove_version(1)
    repository.remove_version(1)
    assert repository.versions() == ()


def test_the_configuration_is_what_triton_reads() -> None:
    config = text_format.Parse(triton_config(threads=4), model_config_pb2.ModelConfig())
    assert config.name == SEGMENTER
    assert config.backend == "python"
    assert config.max_batch_size == 0
    assert [(i.name, i.data_type, list(i.dims), i.optional) for i in config.input] == [
        (VOLUME_INPUT, model_config_pb2.TYPE_INT16, [-1, -1, -1], True),
        (FRACTIONS_INPUT, model_config_pb2.TYPE_FP32, [-1, -1, -1], True),
        (AFFINE_INPUT, model_config_pb2.TYPE_FP64, [4, 4], True),
    ]
    assert {o.name for o in config.output} == set(requested_outputs(sampled=True))
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    assert not config.HasField("dynamic_batching")
    assert config.parameters["threads"].string_value == "4"
    assert config.parameters["serving_profile"].string_value == serving_profile(4)
