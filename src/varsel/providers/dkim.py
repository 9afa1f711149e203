"""Signatures of mail: DKIM, relaxed/relaxed, by RSA or Ed25519 (channels 2.2; RFC 6376, 8301, 8463).

Our own lines over OpenSSL and not dkimpy, whose arithmetic is Python's: 21 ms a mail against 0.8, and the body of a
template is hashed once (ADR 8). The tests verify with dkimpy.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from varsel.domain.hosts import to_a_labels
from varsel.settings import DkimSettings

_SIGNED: Final = (
    *(b"from", b"to", b"subject", b"date", b"message-id", b"reply-to", b"mime-version", b"content-type"),
    *(b"list-unsubscribe", b"list-unsubscribe-post", b"auto-submitted"),
)
_ONCE_MORE: Final = (b"from", b"subject")  # so that nobody can add a second one
_MIN_BITS: Final = 2_048
_LINE: Final = 72


@dataclass(frozen=True, slots=True)
class Signer:
    """The key of one domain."""

    domain: bytes
    selector: bytes
    key: RSAPrivateKey | Ed25519PrivateKey

    def signature(self, headers: bytes, body_hash: bytes, at: datetime) -> bytes:
        """The header to put before `headers`, which are all of the mail's; `body_hash` is that of its body."""
        fields = dict(_fields(headers))  # a letter has each once
        names = [name for name in _SIGNED if name in fields]
        head = b"DKIM-Signature: v=1; a=%s; c=relaxed/relaxed; d=%s; s=%s; t=%d;\r\n h=%s;\r\n bh=%s;\r\n b=" % (
            b"rsa-sha256" if isinstance(self.key, RSAPrivateKey) else b"ed25519-sha256",
            self.domain,
            self.selector,
            int(at.timestamp()),
            b":".join((*names, *_ONCE_MORE)),
            body_hash,
        )
        signed = b"".join(b"%s:%s\r\n" % (name, fields[name]) for name in names)
        [(name, value)] = _fields(head)
        encoded = b64encode(self._sign(signed + name + b":" + value))
        return head + b"\r\n  ".join(_pieces(encoded)) + b"\r\n"

    def _sign(self, octets: bytes) -> bytes:
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(octets, PKCS1v15(), SHA256())
        return self.key.sign(sha256(octets).digest())


def signers_of(settings: Mapping[str, DkimSettings]) -> dict[str, Signer]:
    """By domain. Raises `ValueError` naming the domain whose key cannot be used."""
    signers = {}
    for name, of_domain in settings.items():
        domain = to_a_labels(name)
        if domain is None:
            raise ValueError(f"DKIM: {name} is no domain")
        signers[domain] = Signer(domain.encode(), of_domain.selector.encode(), _key(name, of_domain.key_file))
    return signers


def _key(domain: str, file: Path) -> RSAPrivateKey | Ed25519PrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"DKIM: the key of {domain} cannot be read") from error
    if isinstance(key, Ed25519PrivateKey) or (isinstance(key, RSAPrivateKey) and key.key_size >= _MIN_BITS):
        return key
    raise ValueError(f"DKIM: the key of {domain} must be RSA of {_MIN_BITS} bits or more, or Ed25519")


def hash_of_body(body: bytes) -> bytes:
    """Of a body whose lines end in CRLF: blanks folded, none at the end of lines, no empty lines at its end."""
    body = re.sub(rb"[ \t]+", b" ", body).replace(b" \r\n", b"\r\n")
    body = body.rstrip(b"\r\n")
    return b64encode(sha256(body + b"\r\n" if body else b"").digest())


def _fields(headers: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each header's name and value: unfolded, blanks folded."""
    for line in re.sub(rb"\r\n(?=[ \t])", b"", headers).split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            yield name.strip().lower(), re.sub(rb"[ \t]+", b" ", value).strip()


def _pieces(text: bytes) -> list[bytes]:
    return [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
