"""Keys to sign mail with, and dkimpy as the one who verifies: an implementation that is not ours."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from varsel.settings import DkimSettings

SELECTOR = "s2026.mail"
Key = RSAPrivateKey | Ed25519PrivateKey


def rsa_key(bits: int = 2048) -> RSAPrivateKey:
    return generate_private_key(65537, bits)


def written(key: Key, folder: Path) -> DkimSettings:
    file = folder / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return DkimSettings(selector=SELECTOR, key_file=file)


def record(key: Key) -> bytes:
    """What the domain publishes."""
    if isinstance(key, Ed25519PrivateKey):
        return b"v=DKIM1; k=ed25519; p=" + b64encode(key.public_key().public_bytes_raw())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + b64encode(public)


def genuine(mail: bytes, key: Key, domain: str) -> bool:
    asked: list[bytes] = []

    def published(name: bytes, timeout: Any = None) -> bytes:
        asked.append(name)
        return record(key)

    told: bool = dkim.verify(mail, dnsfunc=published)
    assert asked == [f"{SELECTOR}._domainkey.{domain}.".encode()]
    return told
