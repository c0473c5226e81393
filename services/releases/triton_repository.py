"""Triton's model repository, generated from releases for the target `python`.

::

    organ_segmenter/config.pbtxt
    organ_segmenter/<n>/{model.py, __pycache__, release.json, trunk.onnx, heads/<organ>.onnx}

A version is written aside, complete, and renamed in: a version folder without its ``model.py`` would
hang Triton's loading until it is restarted. Version folders never change afterwards, not even by a
``__pycache__``: a changed file makes Triton restart that version at the next load.
"""

from __future__ import annotations

import os
import py_compile
import shutil
import uuid
from pathlib import Path

from models.contract import (
    DISAGREEMENT_OUTPUT,
    GLOBAL_FEATURE_OUTPUT,
    MEMBER_DISAGREEMENT_OUTPUT,
    MEMBER_ORGAN_OUTPUT,
    PROBABILITY_OUTPUT,
    RELEASE_DIGEST_OUTPUT,
    SEGMENTER,
    VOLUME_INPUT,
    WINDOW_ORIGIN_OUTPUT,
)
from models.errors import InvalidRelease
from models.release import Release
from services.inference.engine import HEAD_FILE, RELEASE_FILE, TRUNK_FILE, serving_profile
from services.releases.files import replace, storage_errors, sync
from services.releases.store import ReleaseStore

MODEL_FILE = "model.py"
CONFIG_FILE = "config.pbtxt"


class TritonRepository:
    """The repository one embedded Triton reads from.

    Parameters
    ----------
    folder
        The repository; made on the first write.
    model
        The Python model that is copied into every version.
    threads
        Threads of the engine, part of the serving profile.
    """

    def __init__(self, folder: Path, model: Path, threads: int) -> None:
        self.folder = folder
        self._model = model
        self._threads = threads

    @property
    def versions_folder(self) -> Path:
        """Folder of the version folders, one per release."""
        return self.folder / SEGMENTER

    def versions(self) -> tuple[int, ...]:
        """Return the releases that have a version folder, ascending."""
        if not self.versions_folder.is_dir():
            return ()
        return tuple(sorted(int(f.name) for f in self.versions_folder.iterdir() if f.name.isdigit()))

    def network_bytes(self, number: int) -> int:
        """Return the bytes of the networks in a version folder; 0 if there is none."""
        files = (self.versions_folder / str(number)).rglob("*.onnx")
        return sum(file.stat().st_size for file in files)

    def write_version(self, release: Release, store: ReleaseStore) -> Path:
        """Write the version folder of a release; the same release a second time does nothing.

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
            If an export is missing or damaged, or the version is there with other bytes.
        StorageFailed
            If the disk is full or not writable; no version folder is left.
        """
        files = {MODEL_FILE: self._model.read_bytes(), **self._pinned(release, store)}
        self._write_config()
        version = self.versions_folder / str(release.number)
        if version.exists():
            for name in self.differing(release, store):
                raise InvalidRelease(f"version {release.number} is there with another {name}")
            if (version / MODEL_FILE).read_bytes() == files[MODEL_FILE]:
                return version
            self.remove_version(release.number)  # same release, newer program
        self._move_in(version, files)
        return version

    def differing(self, release: Release, store: ReleaseStore) -> tuple[str, ...]:
        """Return the files of a version that are not what the release pins; the program may be newer.

        Raises
        ------
        InvalidRelease
            If an export of the release is missing or damaged.
        """
        version = self.versions_folder / str(release.number)
        files = self._pinned(release, store)
        return tuple(
            name
            for name, content in files.items()
            if not (version / name).is_file() or (version / name).read_bytes() != content
        )

    def remove_version(self, number: int) -> None:
        """Take a version out; Triton stops serving it at the next load, not before.

        Raises
        ------
        StorageFailed
            If the folder cannot be removed.
        """
        with storage_errors(f"version {number}"):
            version = self.versions_folder / str(number)
            if version.exists():
                aside = self._aside()
                version.rename(aside)
                shutil.rmtree(aside)

    def renew_version(self, number: int) -> None:
        """Make Triton restart a version at the next load, e.g. one whose process was killed.

        Triton neither notices a killed process nor loads again what has not changed since.

        Raises
        ------
        StorageFailed
            If there is no such version, or it is not ours.
        """
        with storage_errors(f"version {number}"):
            os.utime(self.versions_folder / str(number) / MODEL_FILE)

    def _pinned(self, release: Release, store: ReleaseStore) -> dict[str, bytes]:
        return {
            RELEASE_FILE: release.to_bytes(),
            TRUNK_FILE: store.export(release.trunk),
            **{HEAD_FILE.format(organ): store.export(digest) for organ, digest in release.heads.items()},
        }

    def _move_in(self, version: Path, files: dict[str, bytes]) -> None:
        aside = self._aside()
        try:
            with storage_errors(f"version {version.name}"):
                for name, content in files.items():
                    (aside / name).parent.mkdir(parents=True, exist_ok=True)
                    with (aside / name).open("wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                # Triton's Python would write this file at the first load, and restart the version at
                # the next because it changed.
                py_compile.compile(
                    str(aside / MODEL_FILE),
                    dfile=str(version / MODEL_FILE),
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
                version.parent.mkdir(parents=True, exist_ok=True)
                aside.rename(version)
                sync(version.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _aside(self) -> Path:
        """Beside the repository, where Triton does not look, and on the same disk."""
        return self.folder.with_name(f".{self.folder.name}-{uuid.uuid4().hex}")

    def _write_config(self) -> None:
        """Write the configuration where it differs; other parameters restart every version at a load."""
        path, content = self.versions_folder / CONFIG_FILE, triton_config(self._threads).encode()
        if not path.is_file() or path.read_bytes() != content:
            replace(path, content)


def triton_config(threads: int) -> str:
    """Return ``config.pbtxt`` of the segmenter for the target `python`.

    Parameters
    ----------
    threads
        Threads of the engine.

    Returns
    -------
    str
        Protobuf text. It says nothing about one release, so that all releases share it.
    """
    return f"""\
# Generated from models/contract.py by services/releases/triton_repository.py.
name: "{SEGMENTER}"
backend: "python"

# One volume is one request. Windows are batched by nobody: bits repeat only at a fixed shape.
max_batch_size: 0

# -1: the grid of each study, and the organs and windows of each release, differ.
input [ {{ name: "{VOLUME_INPUT}" data_type: TYPE_INT16 dims: [ -1, -1, -1 ] }} ]  # HU (k, j, i)
output [
  {{ name: "{PROBABILITY_OUTPUT}" data_type: TYPE_FP16 dims: [ -1, -1, -1, -1 ] }},  # (organ, k, j, i)
  {{ name: "{DISAGREEMENT_OUTPUT}" data_type: TYPE_FP16 dims: [ -1, -1, -1, -1 ] }},  # (organ, k, j, i)
  {{ name: "{GLOBAL_FEATURE_OUTPUT}" data_type: TYPE_FP32 dims: [ -1, -1 ] }},  # (window, feature)
  {{ name: "{WINDOW_ORIGIN_OUTPUT}" data_type: TYPE_INT32 dims: [ -1, 3 ] }},  # (window, 3)
  {{ name: "{RELEASE_DIGEST_OUTPUT}" data_type: TYPE_UINT8 dims: [ 32 ] }},  # SHA-256 of release.json
  # Both are left out of an answer by heads of one member.
  {{ name: "{MEMBER_ORGAN_OUTPUT}" data_type: TYPE_INT32 dims: [ -1 ] }},  # (n)
  {{ name: "{MEMBER_DISAGREEMENT_OUTPUT}" data_type: TYPE_FP16 dims: [ -1, -1, -1, -1 ] }}  # (n, k, j, i)
]

# One process per release: more would only share the same cores, and studies wait their turn.
instance_group [ {{ count: 1 kind: KIND_CPU }} ]

# Every version folder is a release that may be asked for by number; rollback needs the old one loaded.
version_policy {{ all {{ }} }}

# What the model must find itself to be; it refuses to load in another profile.
parameters {{ key: "threads" value {{ string_value: "{threads}" }} }}
parameters {{ key: "serving_profile" value {{ string_value: "{serving_profile(threads)}" }} }}
"""
