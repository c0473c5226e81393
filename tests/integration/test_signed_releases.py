"""Who signed a release file, and what a site takes in that names the keys it trusts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from models.errors import Refused
from services.records.events.candidates import ReleaseImported
from services.releases import release_file
from services.releases.release_file import MANIFEST, SIGNATURE
from tests.support.release_files import (
    Site,
    export,
    members,
    private_key,
    refused,
    site_at,
    tuned_site,
)


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


def test_a_byte_that_was_changed_anywhere_in_a_signed_file_leaves_nothing(
    file: Path, ours: Site, theirs: Site, tmp_path: Path
) -> None:
    export(ours, file, key=private_key(tmp_path))
    whole = file.read_bytes()
    changed = tmp_path / "changed.tar"
    for place in range(0, len(whole), 61):
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Refused):
            theirs.take(changed)
    assert theirs.files == []


def test_a_signed_file_is_taken_in_by_who_trusts_the_key(ours: Site, theirs: Site, tmp_path: Path) -> None:
    keys = tmp_path / "trusted"
    keys.mkdir()
    key = private_key(tmp_path)
    (tmp_path / "public-key.pem").rename(keys / "a.pem")
    sent = export(ours, tmp_path / "file.tar", key=key)
    taken = theirs.take(tmp_path / "file.tar", keys)
    assert (taken.signer, taken.trusted) == (sent.signer, True)
    assert len(taken.signer) == 64
    said = theirs.records.last(ReleaseImported)
    assert said is not None
    assert (said.said.signer, said.said.trusted) == (sent.signer, True)


def test_a_site_that_names_keys_takes_in_nothing_else(
    file: Path, ours: Site, theirs: Site, tmp_path: Path
) -> None:
    private_key(tmp_path, "theirs.pem")
    trusted = tmp_path / "public-theirs.pem"
    refused(file, theirs, "unsigned-release", trusted)
    export(ours, file, key=private_key(tmp_path))
    refused(file, theirs, "untrusted-release", trusted)
    (tmp_path / "empty").mkdir()
    refused(file, theirs, "no-keys", tmp_path / "empty")
    refused(file, theirs, "unusable-key", private_key(tmp_path, "private.pem"))
    assert theirs.take(file).trusted is False, "who names no key takes it in, and has that on record"


def test_a_signature_of_another_manifest_is_none(ours: Site, theirs: Site, tmp_path: Path) -> None:
    key = private_key(tmp_path)
    export(ours, tmp_path / "1.tar", 1, key)
    export(ours, tmp_path / "2.tar", 2, key)
    first, second = members(tmp_path / "1.tar"), members(tmp_path / "2.tar")
    with (tmp_path / "mixed.tar").open("wb") as out:
        release_file._put(out, MANIFEST, second.pop(MANIFEST))
        release_file._put(out, SIGNATURE, first[SIGNATURE])
        del second[SIGNATURE]
        for name, data in second.items():
            release_file._put(out, name, data)
        out.write(release_file.END)
    refused(tmp_path / "mixed.tar", theirs, "wrong-signature")


def test_what_is_no_ed25519_key_signs_nothing(ours: Site, tmp_path: Path) -> None:
    rsa = generate_private_key(65537, 2048)
    (tmp_path / "rsa.pem").write_bytes(rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for name, code in (("rsa.pem", "unusable-key"), ("records", "unusable-key")):
        (tmp_path / "records").write_text("no key")
        with pytest.raises(Refused) as found:
            export(ours, tmp_path / "file.tar", key=tmp_path / name)
        assert found.value.code == code
    assert not (tmp_path / "file.tar").exists()
