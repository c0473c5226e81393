"""Triton's model repository, generated from releases.

::

    organ_segmenter/config.pbtxt
    organ_segmenter/<n>/{model.py, __pycache__, release.json, exports.json, trunk.onnx, heads/<organ>.onnx}

That is the target `python`. On a GPU server trunk and heads are models of their own beside it
(`services.triton.gpu_target`), and a version folder holds the program and ``release.json``.

A folder is written aside, complete, and renamed in: a version folder without its ``model.py`` would
hang Triton's loading until it is restarted. Nothing in it changes afterwards, not even by a
``__pycache__``: a changed file makes Triton restart that version at the next load. A newer program puts
another folder in its place, as a whole, and so is one that was damaged; until then it is not loaded.

Several processes of one home may write the same release at once. Two homes may not share a repository:
each takes out what it does not know.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import marshal
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

from models.contract import SEGMENTER
from models.errors import InvalidRelease
from models.release import Release, require_no_recipe, sha256_hex
from services.files import appear, folder_aside, replace, storage_errors, write_flushed
from services.inference.engine import EXPORTS_FILE, HEAD_FILE, RELEASE_FILE, TRUNK_FILE
from services.releases.store import ReleaseStore
from services.triton.config import segmenter_config, triton_config
from services.triton.gpu_target import CONFIG_FILE, GpuTarget, Part, is_part, part_names

MODEL_FILE = "model.py"
ASIDE_SECONDS = 24 * 3600
"""What lies aside for longer, a killed writer has left."""

_log = logging.getLogger(__name__)


class TritonRepository:
    """The repository that Triton reads from.

    Parameters
    ----------
    folder
        The repository; made on the first write.
    model
        The Python model that is copied into every version.
    threads
        Threads of the engine, part of the serving profile of the target `python`.
    gpu
        The GPU server it is for; None for the target `python`.
    """

    def __init__(self, folder: Path, model: Path, threads: int, gpu: GpuTarget | None = None) -> None:
        self.folder = folder
        self._model = model
        self._threads = threads
        self._gpu = gpu

    @property
    def config(self) -> str:
        """``config.pbtxt`` of the segmenter."""
        if self._gpu is not None:
            return segmenter_config(self._gpu.parameters)
        return triton_config(self._threads)

    @property
    def versions_folder(self) -> Path:
        """Folder of the version folders, one per release."""
        return self.folder / SEGMENTER

    def versions(self) -> tuple[int, ...]:
        """Return the releases that have a version folder, ascending."""
        if not self.versions_folder.is_dir():
            return ()
        return tuple(sorted(int(f.name) for f in self.versions_folder.iterdir() if f.name.isdigit()))

    def networks_digest(self, number: int) -> str | None:
        """Return the SHA-256 of all that a GPU server's backends run for a version.

        None for the target `python`, where the segmenter runs the files that were proven at export with the
        engine they were proven in; another version of it is another serving profile.

        Raises
        ------
        InvalidRelease
            If the version is not there.
        """
        if self._gpu is None:
            return None
        if not (self.versions_folder / str(number) / RELEASE_FILE).is_file():
            raise InvalidRelease(f"release {number} is not in the model repository")
        every = hashlib.sha256()
        for name in self._needed(number):
            for path in sorted((self.folder / name).rglob("*")):
                if path.is_file():
                    every.update(
                        f"{path.relative_to(self.folder)} {sha256_hex(path.read_bytes())}\n".encode()
                    )
        return every.hexdigest()

    def write_version(self, release: Release, store: ReleaseStore) -> Path:
        """Write the version folder of a release; the same release a second time does nothing.

        What of it was damaged or lost is written anew, from the store.

        Parameters
        ----------
        release
            The release; its number becomes the version.
        store
            Where its exports are.

        Returns
        -------
        Path
            The version folder.

        Raises
        ------
        InvalidRelease
            If an export is missing or damaged, the version is there of another release, or the trunk has no
            engine for this GPU.
        StorageFailed
            If the disk is full or not writable; no new folder is left, and one that was there stays.
        """
        version, pinned = self.versions_folder / str(release.number), self._pinned(release, store)
        if version.exists():  # refused before anything of the version that is there is touched
            other = _other_than(version, pinned)
            if RELEASE_FILE in other and (version / RELEASE_FILE).is_file():
                raise InvalidRelease(
                    f"version {release.number} is there with another {RELEASE_FILE}; "
                    f"if it is damaged, delete {version} and repeat"
                )
            if other:
                _log.warning("version %d is written anew, damaged: %s", release.number, ", ".join(other))
        if self._gpu is not None:
            require_no_recipe(release.contract, "served on a GPU")
        files = self._files(pinned)
        if self._gpu is not None:
            for name, part in self._gpu.parts(release, store).items():
                self._put(self.folder / name, part)
        self._write_config()
        self._put(version, files)  # there already with an older program: another folder, its parts stay
        return version

    def is_as_written(self, release: Release, store: ReleaseStore) -> bool:
        """Tell whether a version holds what this program writes of a release, and nothing else.

        Raises
        ------
        InvalidRelease
            If an export of the release is missing or damaged.
        """
        model = self.versions_folder / str(release.number) / MODEL_FILE
        files = self._files(self._pinned(release, store))
        compiled = Path(cache_from_source(str(model))).relative_to(model.parent).as_posix()
        wanted = files | {compiled: _compiled(files[MODEL_FILE], model)}
        return self.digests(release.number) == {name: sha256_hex(one) for name, one in wanted.items()}

    def differing(self, release: Release, store: ReleaseStore) -> tuple[str, ...]:
        """Return the files of a version that are not what the release pins; the program may be newer.

        Raises
        ------
        InvalidRelease
            If an export of the release is missing or damaged.
        """
        version = self.versions_folder / str(release.number)
        files = self._pinned(release, store)
        expected = {version / name: content for name, content in files.items()}
        if self._gpu is not None:
            for part, content in self._gpu.parts(release, store).items():
                expected |= {self.folder / part / name: each for name, each in content.items()}
        return tuple(
            str(path.relative_to(version if path.is_relative_to(version) else self.folder))
            for path, content in expected.items()
            if not path.is_file() or path.read_bytes() != content
        )

    def digests(self, number: int) -> dict[str, str]:
        """Return the SHA-256 of every file in a version folder, by its path; none if it is not there."""
        version = self.versions_folder / str(number)
        return {
            path.relative_to(version).as_posix(): sha256_hex(path.read_bytes())
            for path in sorted(version.rglob("*"))
            if path.is_file()
        }

    def remove_version(self, number: int) -> None:
        """Take a version out; Triton stops serving it at the next load, not before.

        What no other version needs goes with it.

        Raises
        ------
        StorageFailed
            If the folder cannot be removed.
        """
        with storage_errors(f"version {number}"):
            self._take_out(self.versions_folder / str(number))
            if self._gpu is not None:
                kept = {name for other in self.versions() for name in self._needed(other)}
                for folder in self.folder.iterdir():
                    if is_part(folder.name) and folder.name not in kept:
                        self._take_out(folder)

    def _files(self, pinned: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return what a version folder holds, but what is compiled of it."""
        files = {MODEL_FILE: self._model.read_bytes(), **pinned}
        if self._gpu is None:
            exports = {name: sha256_hex(content) for name, content in pinned.items() if name != RELEASE_FILE}
            files[EXPORTS_FILE] = json.dumps(exports, sort_keys=True, indent=1).encode()
        return files

    def _pinned(self, release: Release, store: ReleaseStore) -> dict[str, bytes]:
        if self._gpu is not None:
            return {RELEASE_FILE: release.to_bytes()}
        return {
            RELEASE_FILE: release.to_bytes(),
            TRUNK_FILE: store.export(release.trunk),
            **{HEAD_FILE.format(organ): store.export(digest) for organ, digest in release.heads.items()},
        }

    def _needed(self, number: int) -> tuple[str, ...]:
        """Return the parts that a version needs."""
        release = Release.from_bytes((self.versions_folder / str(number) / RELEASE_FILE).read_bytes())
        return part_names(release)

    def _take_out(self, folder: Path) -> None:
        """Remove a folder; it is gone at once or there as a whole."""
        aside = self._aside()
        with contextlib.suppress(FileNotFoundError):  # another took it out
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)  # what stays, `_clear_asides` removes

    def _put(self, folder: Path, files: Part) -> None:
        """Have a folder hold these files; one that does is left alone, another stays until they are whole."""
        if _holds(folder, files):
            return
        self._clear_asides()
        with storage_errors(f"{folder.parent.name}/{folder.name}"), folder_aside(self._aside()) as aside:
            for name, content in files.items():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                write_flushed(aside / name, content)
            if MODEL_FILE in files:
                # Triton's Python would write this file at the first load, and restart the version
                # at the next because it changed.
                compiled = Path(cache_from_source(str(aside / MODEL_FILE)))
                compiled.parent.mkdir()
                write_flushed(compiled, _compiled(files[MODEL_FILE], folder / MODEL_FILE))
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists() and not _holds(folder, files):  # another may have put it there meanwhile
                self._take_out(folder)  # only now: a full disk costs nobody what is served
            self._move_in(aside, folder, files)

    def _move_in(self, aside: Path, folder: Path, files: Part) -> None:
        """Give a complete folder its name; another process may have put the same there meanwhile."""
        if not appear(aside, folder) and not _holds(folder, files):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(folder))

    def _clear_asides(self) -> None:
        """Remove what killed writers have left: whole networks, which nobody would ever read."""
        for left in self.folder.parent.glob(f".{self.folder.name}-*"):
            with contextlib.suppress(OSError):  # another was quicker
                if time.time() - left.stat().st_mtime > ASIDE_SECONDS:
                    shutil.rmtree(left)

    def _aside(self) -> Path:
        """Beside the repository, where Triton does not look, and on the same disk."""
        return self.folder.with_name(f".{self.folder.name}-{uuid.uuid4().hex}")

    def _write_config(self) -> None:
        """Write the configuration where it differs; other parameters restart every version at a load."""
        path, content = self.versions_folder / CONFIG_FILE, self.config.encode()
        if not path.is_file() or path.read_bytes() != content:
            replace(path, content)


def _compiled(source: bytes, path: Path) -> bytes:
    """Return what Python keeps of a module that it need not compare with its source, as in PEP 552.

    `py_compile` writes that too, but on a full disk only as much as there is room for, and says nothing.
    """
    code = compile(source, str(path), "exec", dont_inherit=True)
    unchecked = (1).to_bytes(4, "little")
    return MAGIC_NUMBER + unchecked + source_hash(source) + marshal.dumps(code)


def _holds(folder: Path, files: Part) -> bool:
    """Tell whether a folder has these files with these bytes."""
    return not _other_than(folder, files)


def _other_than(folder: Path, files: Part) -> list[str]:
    """Return which of these files a folder lacks, or has with other bytes."""

    def same(path: Path, content: bytes) -> bool:
        try:
            return path.read_bytes() == content
        except OSError:
            return False

    return [name for name, content in files.items() if not same(folder / name, content)]
