"""External identities: people known by an email login or a user name, and by no identity number (http-api 7.4).

They are named by URNs (registries 1.7). Everything before the value is compared exactly.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_plus

from varsel.domain.address import valid_email

_EMAIL_LOGIN: Final = "urn:altinn:person:idporten-email:"
_USER_NAMES: Final = (
    "urn:altinn:party:username:",
    "urn:altinn:username:",
    "urn:altinn:person:legacy-selfidentified:",
)


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """`username` is as in the register (see `username_key`); `email` is the address of an email login."""

    username: str
    email: str | None = None


def parse_external_identity(urn: str) -> ExternalIdentity | None:
    """What the URN names; None when it is none of those that the contract knows, or its value is blank.

    `%XX` is decoded once. A plus sign stays one in an email address, which cannot hold a blank (oddity O-12).
    """
    if urn.startswith(_EMAIL_LOGIN):
        email = unquote(urn.removeprefix(_EMAIL_LOGIN)).strip()
        return ExternalIdentity(email_username(email), email) if valid_email(email) else None
    for prefix in _USER_NAMES:
        if urn.startswith(prefix):
            name = unquote_plus(urn.removeprefix(prefix)).strip()
            return ExternalIdentity(username_key(name)) if name and "\0" not in name else None
    return None


def username_key(name: str) -> str:
    """How a user name is written to, and sought in, the register: names compare without regard to case."""
    return name.lower()


def email_username(email: str) -> str:
    """The user name of somebody who logs in by email."""
    return username_key(f"epost:{email}")
