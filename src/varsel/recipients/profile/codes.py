"""Verification codes: six digits that nobody can guess, and what is kept of them (registries 4.3).

Only a salted, slow hash is stored: who reads the table within the code's few minutes learns nothing in time.
"""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from typing import Final

_FIRST: Final = 100_000
_LAST: Final = 999_999
_SALT_BYTES: Final = 16
_COST: Final = 2**14  # of scrypt: 16 MiB and some 40 ms
_BLOCK: Final = 8
_MEMORY: Final = 64 * 1024 * 1024


def new_code() -> str:
    return str(_FIRST + secrets.randbelow(_LAST - _FIRST + 1))


def hash_code(code: str) -> str:
    """Takes some 40 ms of a core: call it on a thread."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"{b64encode(salt).decode()}:{b64encode(_digest(code, salt)).decode()}"


def fits(code: str, code_hash: str) -> bool:
    """Whether the hash is that of the code. Takes as long for a wrong one as for the right one."""
    salt, digest = map(b64decode, code_hash.split(":"))
    return hmac.compare_digest(_digest(code, salt), digest)


def _digest(code: str, salt: bytes) -> bytes:
    return hashlib.scrypt(code.encode(), salt=salt, n=_COST, r=_BLOCK, p=1, maxmem=_MEMORY)
