"""Write the software bill of materials of the image this runs in: CycloneDX 1.6 in JSON.

Python's packages as their metadata names them, Debian's as dpkg does, and npm's that are given. Only the
standard library: it runs in images that have nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

DEBIAN = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"


def main() -> None:
    """Write the document; the same image gives the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="name of the image")
    parser.add_argument("version", help="version of the image")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--npm", type=Path, nargs="*", default=(), help="package.json of what npm brought")
    asked = parser.parse_args()
    components = [*python_components(), *debian_components(), *map(npm_component, asked.npm)]
    document = bill(asked.image, asked.version, components)
    asked.out.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def bill(image: str, version: str, components: list[dict[str, object]]) -> dict[str, object]:
    """Return the CycloneDX document of an image; each component once, in order."""
    unique = {component["bom-ref"]: component for component in components}
    subject = {"type": "container", "bom-ref": image, "name": image, "version": version}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": [unique[ref] for ref in sorted(unique, key=str)],
    }


def python_components() -> Iterator[dict[str, object]]:
    """Return what this Python finds."""
    for found in distributions():
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        purl = f"pkg:pypi/{quote(name)}@{quote(found.version)}"
        yield _component(found.metadata["Name"], found.version, purl, _python_licence(found))


def _python_licence(found: Distribution) -> str | None:
    expression = found.metadata["License-Expression"]
    classifiers = [
        one.rsplit(" :: ", 1)[1]
        for one in found.metadata.get_all("Classifier") or ()
        if one.startswith("License :: ") and one.count(" :: ") > 1
    ]
    declared: str | None = expression or " AND ".join(classifiers) or found.metadata["License"]
    return declared.splitlines()[0] if declared else None  # some put the whole text there


def debian_components() -> Iterator[dict[str, object]]:
    """Return what dpkg has installed; nothing on another system."""
    if shutil.which("dpkg-query") is None:
        return
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={DEBIAN}"], check=True, capture_output=True, text=True
    )
    for line in listed.stdout.splitlines():
        name, version, architecture, status = line.split("\t")
        if status == "installed":
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
            yield _component(name, version, purl, None)


def npm_component(package: Path) -> dict[str, object]:
    """Return a package that npm brought, from its package.json."""
    said = json.loads(package.read_text())
    purl = f"pkg:npm/{quote(said['name'])}@{quote(said['version'])}"
    return _component(said["name"], said["version"], purl, said.get("license"))


def _component(name: str, version: str, purl: str, licence: str | None) -> dict[str, object]:
    component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return component | ({"licenses": [{"license": {"name": licence}}]} if licence else {})


if __name__ == "__main__":
    main()
