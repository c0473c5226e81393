"""Which program runs here: its code, the libraries it stands on, its container image."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("models", "services", "flows", "deploy")
"""Folders of the code, beside each other."""

LIBRARIES = ("numpy", "scipy", "nibabel", "openvino", "tritonclient", "pydicom", "highdicom", "sqlalchemy")
"""Those whose figures or bytes a decision depends on."""


def code_digest(root: Path) -> str:
    """Return the SHA-256 over the path and content of every Python file of the packages in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def learning_program(root: Path) -> str:
    """Return the SHA-256 of what the weights of a run depend on beside its data: code, numpy, torch.

    What one program has begun another must not go on with: what came of it would be neither's.
    """
    libraries = [f"{name} {version(name)}" for name in ("numpy", "torch")]
    return hashlib.sha256(" ".join((code_digest(root), *libraries)).encode()).hexdigest()


def program(root: Path, image: str | None) -> dict[str, object]:
    """Return what runs: ``code`` (SHA-256), ``python``, ``libraries`` by name, ``image`` (None without one).

    Parameters
    ----------
    root
        Folder that holds the packages.
    image
        Digest of the container image, as the site says.
    """
    return {
        "code": code_digest(root),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "image": image,
    }
