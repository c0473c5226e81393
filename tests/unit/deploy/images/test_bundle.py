"""The bundle for a site without a network: complete, and verified on the other side."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile

import pytest

from deploy.images import bundle, compose_settings
from tests.conftest import ROOT

TABLE = """
[organloop-worker]
dockerfile = "worker.Dockerfile"
licence = "Apache-2.0"
runs = "the flows"

[postgres]
reference = "docker.io/library/postgres:17"
digest = "sha256:11"
licence = "PostgreSQL"
runs = "the records"

[debian]
reference = "docker.io/library/debian:bookworm-slim"
digest = ""
licence = "of its packages"
runs = "nothing"
optional = true
"""


@pytest.fixture
def built(tmp_path):
    (tmp_path / "images.toml").write_text(TABLE)
    folder = tmp_path / "built"
    folder.mkdir()
    return folder


def test_ours_are_named_by_the_digest_of_what_was_built(tmp_path, built):
    note = {"image": "organloop-worker", "version": "0.1.0", "digest": "sha256:22"}
    (built / "organloop-worker.json").write_text(json.dumps(note))
    (built / "organloop-worker").mkdir()
    (built / "organloop-worker" / "manifest.json").touch()
    worker, postgres, debian = bundle.read_images(tmp_path / "images.toml", "0.1.0", built)
    assert (worker.reference, worker.digest) == ("organloop-worker:0.1.0", "sha256:22")
    assert worker.archive == "images/organloop-worker"
    assert (postgres.digest, postgres.archive) == ("sha256:11", None)
    assert (debian.digest, debian.optional) == ("", True)


def test_what_was_built_of_another_version_is_not_this_one(tmp_path, built):
    note = {"image": "organloop-worker", "version": "0.0.9", "digest": "sha256:22"}
    (built / "organloop-worker.json").write_text(json.dumps(note))
    assert bundle.read_images(tmp_path / "images.toml", "0.1.0", built)[0].digest == ""


def test_the_list_says_what_is_unknown_and_what_is_not_in_the_bundle(tmp_path, built):
    listed = bundle.image_list(bundle.read_images(tmp_path / "images.toml", "0.1.0", built))
    assert [line.split("\t")[:4] for line in listed.splitlines()] == [
        ["image", "digest", "needed", "in this bundle"],
        ["organloop-worker:0.1.0", "unknown", "yes", "no"],
        ["docker.io/library/postgres:17", "sha256:11", "yes", "no"],
        ["docker.io/library/debian:bookworm-slim", "unknown", "optional", "no"],
    ]


def test_licences_are_those_of_every_bill_each_once(tmp_path):
    numpy = {"name": "numpy", "version": "2.4.6", "purl": "pkg:pypi/numpy@2.4.6"}
    numpy["licenses"] = [{"license": {"name": "BSD-3-Clause"}}]
    libc = {"name": "libc6", "version": "2.36", "purl": "pkg:deb/debian/libc6@2.36"}
    for name, components in (("a", [numpy, libc]), ("b", [numpy])):
        (tmp_path / f"{name}.cdx.json").write_text(json.dumps({"components": components}))
    assert bundle.licences(sorted(tmp_path.glob("*.cdx.json"))).splitlines() == [
        "component,version,licence,purl",
        "libc6,2.36,see /usr/share/doc/<component>/copyright in the image,pkg:deb/debian/libc6@2.36",
        "numpy,2.4.6,BSD-3-Clause,pkg:pypi/numpy@2.4.6",
    ]


@pytest.fixture
def made(tmp_path):
    """Make a bundle of this project with a stand-in for helm, which other tests run for real."""
    helm = tmp_path / "helm"
    helm.write_text('#!/bin/sh\n[ -f "$2/Chart.yaml" ] && echo chart > "$4/organloop-0.1.0.tgz"\n')
    helm.chmod(0o755)
    return bundle.make(tmp_path / "out", helm=str(helm), resolve=False)


def verify(folder, *announced):
    return subprocess.run([str(folder / "verify"), *announced], capture_output=True, text=True)


def test_a_bundle_holds_what_an_installation_needs_and_no_secret(made):
    files = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert files >= {
        "chart/organloop-0.1.0.tgz",
        "deploy/compose.yaml",
        "deploy/compose/make-secrets",
        "deploy/README.md",
        "images.tsv",
        "licences.csv",
        "LICENSE",
        "verify",
        "load",
        "SHA256SUMS",
    }
    assert not [name for name in files if "secrets/" in name]


def test_an_untouched_bundle_is_verified(made):
    digest = hashlib.sha256((made / "SHA256SUMS").read_bytes()).hexdigest()
    told = verify(made, digest)
    assert told.returncode == 0, told.stderr
    assert "to be fetched: docker.io/library/postgres" in told.stdout


@pytest.mark.parametrize("fault", ["changed", "lost", "added", "another list"])
def test_a_bundle_that_is_not_what_was_handed_over_is_refused(made, fault):
    digest = hashlib.sha256((made / "SHA256SUMS").read_bytes()).hexdigest()
    if fault == "changed":
        with (made / "deploy" / "compose.yaml").open("a") as file:
            file.write("\n")
    elif fault == "lost":
        (made / "LICENSE").unlink()
    elif fault == "added":
        (made / "deploy" / "more.yaml").touch()
    else:
        (made / "LICENSE").write_text("mine")
        (made / "SHA256SUMS").write_text(bundle.checksums(made))
        assert verify(made).returncode == 0  # consistent by itself: the announced digest tells
    assert verify(made, digest).returncode == 1


def test_there_is_no_bundle_without_its_chart(tmp_path):
    with pytest.raises(bundle.BundleFailed, match="--helm says where helm is"):
        bundle.make(tmp_path, helm="no-such-helm", resolve=False)


def test_the_project_lists_every_file_that_compose_needs():
    mounted = {
        found
        for name in compose_settings.FILES
        for found in re.findall(r"(?<=[-: ])\./([\w./-]+?)(?=[:}])", (ROOT / "deploy" / name).read_text())
    }
    assert mounted == {"compose/site"} or mounted == {"compose/site", "compose/secrets"}
    folder = ROOT / "deploy" / "compose"
    of_a_site = {
        f"compose/{path.relative_to(folder)}" for path in (folder / "site").rglob("*") if path.is_file()
    }
    assert of_a_site | set(compose_settings.FILES) | {compose_settings.EXAMPLE} <= set(bundle.DEPLOYED)


def test_every_link_of_the_pages_for_who_runs_it_leads_somewhere_in_the_bundle(made):
    broken = [
        f"{page.relative_to(made)}: {link}"
        for page in (made / "deploy").rglob("*.md")
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert broken == []


def saved(tmp_path, manifest, target="docker://registry.example.org/organloop"):
    """Make a bundle of one saved image, and a stand-in for skopeo that notes what it is asked."""
    folder = tmp_path / "bundle"
    image = folder / "images" / "organloop-worker"
    image.mkdir(parents=True)
    (image / "manifest.json").write_text("{}")
    row = bundle.Image("organloop-worker:0.1.0", manifest, "", "", False, "images/organloop-worker")
    other = bundle.Image("docker.io/library/postgres:17", "", "", "", False)
    (folder / "images.tsv").write_text(bundle.image_list([row, other]))
    (folder / "load").write_bytes((ROOT / "deploy" / "images" / "load").read_bytes())
    skopeo = tmp_path / "bin" / "skopeo"
    skopeo.parent.mkdir()
    skopeo.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    skopeo.chmod(0o755)
    command = ["sh", str(folder / "load"), target]
    path = {"PATH": f"{skopeo.parent}:/usr/bin:/bin"}
    return subprocess.run(command, env=path, capture_output=True, text=True)


def test_images_go_into_a_registry_under_the_digest_of_the_list(tmp_path):
    digest = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    loaded = saved(tmp_path, digest)
    assert loaded.stdout == f"organloop-worker@{digest}\n", loaded.stderr
    assert (tmp_path / "asked").read_text().split() == [
        *("copy", "--quiet", "--preserve-digests", "dir:images/organloop-worker"),
        "docker://registry.example.org/organloop/organloop-worker:0.1.0",
    ]


def test_an_image_that_is_not_the_lists_is_not_loaded(tmp_path):
    loaded = saved(tmp_path, "sha256:11")
    assert loaded.returncode == 1
    assert "not sha256:11" in loaded.stderr
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("target", ["registry.example.org/organloop", "docker-archive:here", ""])
def test_where_to_is_said_in_full(tmp_path, target):
    loaded = saved(tmp_path, "sha256:11", target)
    assert loaded.returncode == 2
    assert loaded.stderr.count("usage: ./load docker") == 2


def an_image(folder):
    """Write an image of one layer as `build-check` saves it; return digests of manifest and configuration."""
    folder.mkdir(parents=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        layer.addfile(tarfile.TarInfo("written"))
    plain = packed.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": "10001:10001"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
    }
    kinds = {"layer": "image.rootfs.diff.tar.gzip", "config": "container.image.v1+json"}
    blobs = {"layer": gzip.compress(plain, mtime=0), "config": json.dumps(config).encode()}
    said = {}
    for name, blob in blobs.items():
        digest = hashlib.sha256(blob).hexdigest()
        (folder / digest).write_bytes(blob)
        kind = f"application/vnd.docker.{kinds[name]}"
        said[name] = {"mediaType": kind, "size": len(blob), "digest": f"sha256:{digest}"}
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": said["config"],
            "layers": [said["layer"]],
        }
    )
    (folder / "manifest.json").write_text(manifest)
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}", said["config"]["digest"]


def test_without_a_registry_each_image_is_a_file_that_docker_loads_under_its_name(tmp_path):
    """A real skopeo writes it; Docker reads `manifest.json`, the name and the configuration in it."""
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed: apt-get install skopeo")
    folder = tmp_path / "bundle"
    digest, configuration = an_image(folder / "images" / "organloop-worker")
    row = bundle.Image("organloop-worker:0.1.0", digest, "", "", False, "images/organloop-worker")
    (folder / "images.tsv").write_text(bundle.image_list([row]))
    (folder / "load").write_bytes((ROOT / "deploy" / "images" / "load").read_bytes())
    command = ["sh", str(folder / "load"), f"docker-archive:{tmp_path}/files"]
    for _ in range(2):  # again, over what is there
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout == f"docker load --input {tmp_path}/files/organloop-worker.tar\n", done.stderr
    with tarfile.open(tmp_path / "files" / "organloop-worker.tar") as archive:
        [one] = json.load(archive.extractfile("manifest.json"))
        # Docker Hub's is the registry of a name that says none: skopeo writes it out, Docker leaves it away.
        assert [tag.removeprefix("docker.io/library/") for tag in one["RepoTags"]] == [
            "organloop-worker:0.1.0"
        ]
        assert hashlib.sha256(archive.extractfile(one["Config"]).read()).hexdigest() in configuration
