"""Signatures of release files: Ed25519, by the key of whoever exports; a site names the keys it trusts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from models.errors import Refused
from models.release import sha256_hex

PURPOSE = b"organloop release file\n"
"""Goes before what is signed: a signature made for anything else is none here."""


@dataclass(frozen=True)
class Signature:
    """A signature as a file bears it.

    Parameters
    ----------
    key
        The public key, 32 bytes in hexadecimal.
    signature
        64 bytes in hexadecimal.
    """

    key: str
    signature: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, by which people compare keys."""
        return sha256_hex(bytes.fromhex(self.key))


def sign(content: bytes, key_file: Path) -> Signature:
    """Sign a file's manifest.

    Parameters
    ----------
    content
        What is signed.
    key_file
        PEM of an Ed25519 private key without a password.

    Raises
    ------
    Refused
        `unusable-key` if it is none.
    OSError
        If it cannot be read.
    """
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        made = "`openssl genpkey -algorithm ed25519 -out KEY.pem` makes one"
        detail = f"{key_file.name} is no Ed25519 private key in PEM without a password; {made}"
        raise Refused("unusable-key", detail, {"file": key_file.name})
    return Signature(key.public_key().public_bytes_raw().hex(), key.sign(PURPOSE + content).hex())


def require_signed(content: bytes, signature: Signature) -> None:
    """Refuse what the signature's own key has not signed.

    Raises
    ------
    Refused
        `wrong-signature`.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        key.verify(bytes.fromhex(signature.signature), PURPOSE + content)
    except (ValueError, InvalidSignature):
        detail = "the signature is not of this file: ask whoever exported it for the file again"
        raise Refused("wrong-signature", detail) from None


def trusted_keys(place: Path) -> frozenset[str]:
    """Return the public keys that a site trusts, each as `Signature.key`.

    Parameters
    ----------
    place
        PEM file of one key, or a folder of such files, ``*.pem``.

    Raises
    ------
    Refused
        `unusable-key` if a file there is no Ed25519 public key; `no-keys` if there is none at all.
    OSError
        If one cannot be read.
    """
    files = sorted(place.glob("*.pem")) if place.is_dir() else [place]
    if not files:
        detail = f"{place} holds no key, *.pem: put the keys there that are trusted"
        raise Refused("no-keys", detail, {"folder": str(place)})
    return frozenset(_public_key(file) for file in files)


def _public_key(file: Path) -> str:
    try:
        key = load_pem_public_key(file.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        detail = f"{file.name} is no Ed25519 public key in PEM: `openssl pkey -in KEY.pem -pubout` writes it"
        raise Refused("unusable-key", detail, {"file": file.name})
    return key.public_bytes_raw().hex()


def require_trusted(signature: Signature | None, trusted: Collection[str]) -> None:
    """Refuse a file that nobody signed whom the site trusts.

    Raises
    ------
    Refused
        `unsigned-release`, `untrusted-release`.
    """
    if signature is None:
        detail = "this site takes in signed releases only, and the file bears no signature"
        raise Refused("unsigned-release", detail, {"trusted_keys": len(trusted)})
    if signature.key not in trusted:
        detail = f"key {signature.fingerprint[:16]} is not among those this site trusts"
        raise Refused("untrusted-release", detail, {"key": signature.fingerprint})
