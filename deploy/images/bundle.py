"""What a site without a network is handed: chart, Compose, images by digest, bills of materials, checksums.

Images and their bills of materials are there if ``deploy/images/build-check`` has built them with ``SAVE=1``;
the list says of each image whether it is. The other side runs ``verify`` first, then ``load``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.images.compose_settings import EXAMPLE, FILES
from models.errors import OrganloopError
from models.release import sha256_hex
from services.wiring import repository_root

SUMS = "SHA256SUMS"
DEPLOYED = (
    "README.md",
    "PACS.md",
    "READERS.md",
    "MODEL_OWNER.md",
    "SECURITY.md",
    "SIZING.md",
    "pacs.svg",
    "pacs-entries.svg",
    "viewer/reader.png",
    "pages/candidate.png",
    "pages/study.png",
    "pages/worklist.png",
    "doctor/advisories.toml",
    "images/images.toml",
    "schemas.json",
    "images/README.md",
    *FILES,
    EXAMPLE,
    "compose/README.md",
    "compose/make-secrets",
    "compose/site/modalities.toml",
    "prometheus/alerts.yaml",
    "prometheus/backup-alerts.yaml",
)
"""Of ``deploy``: Compose, its files, and the pages for who runs it."""
BESIDE = (
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "LICENSE",
    "helm/organloop/README.md",
    "services/dicom/CONFORMANCE.md",
    "services/dicom/README.md",
)
"""What those pages lead to; in a bundle everything lies as in the repository."""
RESOLVE_SECONDS = 60


class BundleFailed(OrganloopError):
    """The bundle cannot be made; the message says what is missing."""


@dataclass(frozen=True)
class Image:
    """An image that is started or built on.

    Parameters
    ----------
    reference
        Name and tag.
    digest
        ``sha256:…``; empty where it is not known.
    licence
        What it is under.
    runs
        What it is for.
    optional
        Whether a site may do without.
    archive
        Folder in the bundle; None where the site fetches it itself.
    """

    reference: str
    digest: str
    licence: str
    runs: str
    optional: bool
    archive: str | None = None


def read_images(table: Path, version: str, built: Path) -> tuple[Image, ...]:
    """Return the images of ``images.toml``; ours with the digest of what was built here, if it was.

    Parameters
    ----------
    table
        ``deploy/images/images.toml``.
    version
        The tag of ours.
    built
        Where ``build-check`` has left what it knows of each image.
    """
    images = []
    for name, entry in tomllib.loads(table.read_text()).items():
        known = _built(built / f"{name}.json", version)
        images.append(
            Image(
                entry.get("reference", f"{name}:{version}"),
                known or entry.get("digest", ""),
                entry["licence"],
                entry["runs"],
                entry.get("optional", False),
                f"images/{name}" if known and (built / name / "manifest.json").is_file() else None,
            )
        )
    return tuple(images)


def _built(note: Path, version: str) -> str:
    if not note.is_file():
        return ""
    said: dict[str, Any] = json.loads(note.read_text())
    return str(said["digest"]) if said["version"] == version else ""


def resolved(image: Image) -> Image:
    """Return an image of a registry with the digest the registry names now.

    Raises
    ------
    BundleFailed
        If skopeo is not there or the registry does not answer.
    """
    command = ["skopeo", "inspect", "--format", "{{.Digest}}", f"docker://{image.reference}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=RESOLVE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BundleFailed(f"the digest of {image.reference} cannot be asked for: {error}") from error
    if asked.returncode:
        raise BundleFailed(f"the digest of {image.reference} cannot be had: {asked.stderr.strip()}")
    return Image(**(vars(image) | {"digest": asked.stdout.strip()}))


def image_list(images: Iterable[Image]) -> str:
    """Return the list a registry is filled from: tab-separated, one image a line."""
    lines = ["image\tdigest\tneeded\tin this bundle\tlicence\truns"]
    for image in images:
        needed = "optional" if image.optional else "yes"
        place = image.archive or "no"
        row = (image.reference, image.digest or "unknown", needed, place, image.licence, image.runs)
        lines.append("\t".join(row))
    return "\n".join(lines) + "\n"


def licences(bills: Iterable[Path]) -> str:
    """Return the licences of every component of some bills of materials, as CSV."""
    rows = set()
    for bill in bills:
        for component in json.loads(bill.read_text())["components"]:
            named = [one["license"]["name"] for one in component.get("licenses", ())]
            licence = "; ".join(named) or _unnamed(component["purl"])
            rows.add((component["name"], component["version"], licence, component["purl"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("component", "version", "licence", "purl"), *sorted(rows)])
    return text.getvalue()


def _unnamed(purl: str) -> str:
    if purl.startswith("pkg:deb/"):
        return "see /usr/share/doc/<component>/copyright in the image"
    return "see the package"


def checksums(folder: Path) -> str:
    """Return ``SHA256SUMS`` of a folder: every file but itself, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = []
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder)}\n")
    return "".join(lines)


def make(out: Path, *, helm: str, resolve: bool, root: Path | None = None) -> Path:
    """Write the bundle anew and return its folder.

    Parameters
    ----------
    out
        Folder that the bundle's own folder is made in.
    helm
        The program that packages the chart.
    resolve
        Whether registries are asked for the digests that are not known.
    root
        The project; None for this one.

    Raises
    ------
    BundleFailed
        If the chart cannot be packaged, or a digest not be had.
    """
    root = root or repository_root()
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    built = root / "build" / "images"
    images = read_images(root / "deploy" / "images" / "images.toml", version, built)
    if resolve:
        images = tuple(one if one.digest or one.optional else resolved(one) for one in images)
    folder = out / f"organloop-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "chart").mkdir(parents=True)
    _package(helm, root / "helm" / "organloop", folder / "chart")
    for name in (*(f"deploy/{one}" for one in DEPLOYED), *BESIDE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, folder / name)
    bills = sorted(built.glob("*.cdx.json"))
    for bill in bills:
        (folder / "sbom").mkdir(exist_ok=True)
        shutil.copy2(bill, folder / "sbom" / bill.name)
    for image in images:
        if image.archive:
            shutil.copytree(built / Path(image.archive).name, folder / image.archive)
    for script in ("verify", "load"):
        shutil.copy2(root / "deploy" / "images" / script, folder / script)
    (folder / "images.tsv").write_text(image_list(images))
    (folder / "licences.csv").write_text(licences(bills))
    (folder / SUMS).write_text(checksums(folder))
    return folder


def _package(helm: str, chart: Path, out: Path) -> None:
    try:
        packed = subprocess.run(
            [helm, "package", str(chart), "--destination", str(out)], capture_output=True, text=True
        )
    except OSError as error:
        raise BundleFailed(f"{helm} cannot be run: {error.strerror}; --helm says where helm is") from error
    if packed.returncode:
        raise BundleFailed(f"the chart cannot be packaged: {packed.stderr.strip()}")


def main() -> int:
    """Make the bundle; 0 if it is made, else 1 and why on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bundle"), help="folder for the bundle")
    parser.add_argument("--helm", default="helm", help="the program that packages the chart")
    parser.add_argument(
        "--resolve", action="store_true", help="ask the registries for the digests that are not known"
    )
    asked = parser.parse_args()
    try:
        folder = make(asked.out, helm=asked.helm, resolve=asked.resolve)
    except (BundleFailed, OSError) as error:
        sys.stderr.write(f"no bundle: {error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    sys.stdout.write(f"SHA-256 of its {SUMS}: {sha256_hex((folder / SUMS).read_bytes())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
