"""A release in one file: equal bytes, nothing of a patient, and what is not as exported leaves nothing."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.preparation import STARTER
from flows.installing.moved import UNSIGNED, read_trusted, take_in
from models.errors import InvalidRelease, Refused, StorageFailed
from models.release import Release, sha256_hex
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import ReleaseExported, ReleaseImported
from services.releases.release_file import MANIFEST, read_release_file
from services.releases.store import ReleaseStore
from tests.support.release_files import (
    UIDS,
    Site,
    export,
    forged,
    members,
    private_key,
    refused,
    site_at,
    tuned_site,
    written,
)
from tests.support.tiny_networks import publish_tiny


@pytest.fixture
def ours(tmp_path: Path) -> Site:
    return tuned_site(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Site:
    return site_at(tmp_path / "theirs")


@pytest.fixture
def file(ours: Site, tmp_path: Path) -> Path:
    export(ours, tmp_path / "file.tar")
    return tmp_path / "file.tar"


def test_a_release_comes_to_another_site_as_a_candidate_with_where_it_comes_from(
    file: Path, ours: Site, theirs: Site
) -> None:
    publish_tiny(theirs.store, 1, {"liver": 1, "spleen": 9})
    taken = theirs.take(file)
    sent, kept = ours.store.release(2), theirs.store.release(2)
    assert (taken.release, taken.state, taken.new) == (2, "candidate", True)
    assert (kept.trunk, kept.heads, kept.contract) == (sent.trunk, sent.heads, sent.contract)
    assert kept.demonstration is False
    assert kept.parent is None
    assert theirs.store.trunk(kept.trunk) == ours.store.trunk(sent.trunk)
    assert theirs.records.release_states() == {2: ReleaseState.CANDIDATE}
    assert theirs.records.incumbent() is None, "an import lets nothing serve"
    said = theirs.records.last(ReleaseImported)
    assert said is not None
    assert (said.said.exporter, said.said.exported, said.said.exported_digest) == ("Dr A", 2, sent.digest)
    assert (said.said.signer, said.said.trusted, taken.signer) == (None, False, UNSIGNED)
    assert said.said.file == sha256_hex(file.read_bytes()) == taken.sha256
    left = ours.records.last(ReleaseExported)
    assert left is not None
    assert (left.who, left.said.release, left.said.file) == ("Dr A", 2, taken.sha256)


def test_taken_in_twice_it_is_one_candidate(file: Path, theirs: Site) -> None:
    first = theirs.take(file)
    files, events = theirs.files, len(theirs.records.lines())
    assert theirs.take(file) == replace(first, new=False)
    assert theirs.files == files
    assert len(theirs.records.lines()) == events


def test_the_site_that_exported_it_knows_it_again(file: Path, ours: Site) -> None:
    files = ours.files
    taken = ours.take(file)
    assert (taken.release, taken.new) == (2, False)
    assert ours.files == files


def test_a_trunk_that_is_here_already_is_shared(file: Path, theirs: Site) -> None:
    publish_tiny(theirs.store, 1, {"liver": 7, "spleen": 8})
    theirs.take(file)
    assert len(list((theirs.store.folder / "trunks").iterdir())) == 1
    assert theirs.store.release(1).trunk == theirs.store.release(2).trunk


def test_equal_releases_are_equal_bytes(file: Path, ours: Site, tmp_path: Path) -> None:
    key = private_key(tmp_path)
    export(ours, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == file.read_bytes()
    for name in ("one.tar", "other.tar"):
        export(ours, tmp_path / name, key=key)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()


def test_no_case_correction_or_score_leaves_the_site(file: Path, ours: Site) -> None:
    bytes_ = file.read_bytes()
    assert not [uid for uid in UIDS if uid.encode() in bytes_]
    release = ours.store.release(2)
    weights = {f"trunks/{release.trunk}.safetensors"}
    weights |= {f"heads/{digest}.safetensors" for digest in release.heads.values()}
    assert members(file).keys() == {MANIFEST, "release.json", *weights}
    said = json.loads(members(file)["release.json"])
    assert (said["corrections"], said["parent"]) == ([], None)
    assert said.keys() == {
        "number", "parent", "trunk", "heads", "contract", "calibration", "corrections", "demonstration",
        "note",
    }, "whatever a release says from now on: is it of a patient?"  # fmt: skip
    assert json.loads(members(file)[MANIFEST]).keys() == {
        "form", "release", "digest", "exporter", "demonstration", "members",
    }  # fmt: skip


def test_a_file_that_was_cut_anywhere_leaves_nothing(file: Path, theirs: Site, tmp_path: Path) -> None:
    whole = file.read_bytes()
    cut = tmp_path / "cut.tar"
    for length in (*range(512, len(whole), 700), len(whole) - 1):
        cut.write_bytes(whole[:length])
        refused(cut, theirs, "damaged-release-file")


def test_of_an_unsigned_file_only_its_word_on_where_it_comes_from_can_be_another(
    file: Path, ours: Site, theirs: Site, tmp_path: Path
) -> None:
    sent, whole, changed = ours.store.release(2), file.read_bytes(), tmp_path / "changed.tar"
    words = [whole.index(b"Dr A"), whole.index(sent.digest.encode())]
    for place in range(0, len(whole), 61):
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        said = any(start <= place < start + 64 for start in words)
        try:
            theirs.take(changed)
        except Refused:
            continue
        assert said, place
    kept = [theirs.store.release(number) for number in theirs.store.numbers()]
    assert all(
        (one.trunk, one.heads, one.contract) == (sent.trunk, sent.heads, sent.contract) for one in kept
    )


def test_what_is_added_at_the_end_is_refused(file: Path, theirs: Site) -> None:
    file.write_bytes(file.read_bytes() + b"\0" * 512)
    refused(file, theirs, "damaged-release-file")


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "trunks/../../outside", "notes.txt"])
def test_a_member_that_no_release_has_is_refused(file: Path, theirs: Site, name: str, tmp_path: Path) -> None:
    def add(manifest: dict[str, Any], content: dict[str, bytes]) -> None:
        content[name] = b"outside"
        manifest["members"][name] = {"sha256": sha256_hex(b"outside"), "size": 7}

    refused(forged(file, add), theirs, "foreign-member")
    assert not (tmp_path / "outside").exists()


def test_weights_that_the_release_does_not_name_are_refused(file: Path, theirs: Site) -> None:
    def add(manifest: dict[str, Any], content: dict[str, bytes]) -> None:
        digest = sha256_hex(b"more")
        content[f"heads/{digest}.safetensors"] = b"more"
        manifest["members"][f"heads/{digest}.safetensors"] = {"sha256": digest, "size": 4}

    refused(forged(file, add), theirs, "foreign-member")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE, tarfile.DIRTYPE])
def test_a_link_a_hole_or_a_folder_in_place_of_weights_is_refused(
    file: Path, theirs: Site, kind: bytes
) -> None:
    def change(member: tarfile.TarInfo) -> None:
        if member.name.startswith("trunks/"):
            member.type, member.linkname = kind, "/etc/passwd"

    content = members(file)
    refused(written(file, content, change), theirs, "damaged-release-file")


def test_a_member_that_is_said_to_be_huge_is_refused_before_it_is_read(file: Path, theirs: Site) -> None:
    def swell(manifest: dict[str, Any], content: dict[str, bytes]) -> None:
        manifest["members"]["release.json"]["size"] = 2**40

    assert refused(forged(file, swell), theirs, "oversized-member").measured["bytes"] == 2**40
    huge = tarfile.TarInfo(MANIFEST)
    huge.size = 2**33 - 1
    file.write_bytes(huge.tobuf(tarfile.USTAR_FORMAT))
    refused(file, theirs, "oversized-member")


def test_a_file_of_another_kind_or_form_says_so(file: Path, theirs: Site, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no release")
    refused(tmp_path / "notes", theirs, "not-a-release-file")

    def renew(manifest: dict[str, Any], content: dict[str, bytes]) -> None:
        manifest["form"] = 2

    refused(forged(file, renew), theirs, "newer-release-file")


def test_a_release_that_this_program_does_not_understand_is_refused(file: Path, theirs: Site) -> None:
    def renew(manifest: dict[str, Any], content: dict[str, bytes]) -> None:
        said = json.loads(content["release.json"])
        said["contract"]["a_later_field"] = 1
        content["release.json"] = json.dumps(said).encode()
        held = content["release.json"]
        manifest["members"]["release.json"] = {"sha256": sha256_hex(held), "size": len(held)}

    refused(forged(file, renew), theirs, "unknown-release")


def test_corrections_in_a_file_are_refused(file: Path, theirs: Site) -> None:
    def name(manifest: dict[str, Any], content: dict[str, bytes]) -> None:
        said = Release.from_bytes(content["release.json"])
        content["release.json"] = held = replace(said, corrections=UIDS).to_bytes()
        manifest["members"]["release.json"] = {"sha256": sha256_hex(held), "size": len(held)}

    refused(forged(file, name), theirs, "damaged-release-file")


def test_a_damaged_release_is_not_exported(ours: Site, tmp_path: Path) -> None:
    head = ours.store.folder / "heads" / f"{ours.store.release(2).heads['spleen']}.safetensors"
    head.write_bytes(b"spleen 4")
    with pytest.raises(InvalidRelease, match="damaged"):
        export(ours, tmp_path / "file.tar")
    with pytest.raises(StorageFailed):
        export(ours, Path("/proc/none/file.tar"), 1)
    assert list(tmp_path.glob("*.tar")) == []


def test_the_demonstration_s_trunk_is_never_fit_for_clinical_use(theirs: Site, tmp_path: Path) -> None:
    site = site_at(tmp_path / "demo")
    site.store.import_from(STARTER)
    export(site, tmp_path / "demo.tar", 1)
    taken = theirs.take(tmp_path / "demo.tar")
    assert taken.demonstration
    assert theirs.store.release(taken.release).demonstration
    lying = replace(site.store.release(1), number=2, demonstration=False)
    site.store.publish(lying)
    export(site, tmp_path / "lie.tar", 2)
    fresh = site_at(tmp_path / "fresh")
    refused(tmp_path / "lie.tar", fresh, "demonstration-weights")


def test_a_file_that_changes_while_it_is_taken_in_adds_no_release(file: Path, theirs: Site) -> None:
    read, trusted = read_trusted(file, None, ReleaseStore(STARTER))
    whole = file.read_bytes()
    place = whole.rindex(b"trunk 0")
    file.write_bytes(whole[:place] + b"trunk 1" + whole[place + 7 :])
    with pytest.raises(Refused, match="damaged-release-file"):
        take_in(read, trusted, theirs.store, theirs.records)
    assert theirs.store.numbers() == ()


def test_nothing_is_written_by_reading(file: Path) -> None:
    before = sorted(file.parent.rglob("*"))
    assert read_release_file(file).manifest.exporter == "Dr A"
    assert sorted(file.parent.rglob("*")) == before
