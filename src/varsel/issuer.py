"""The local development issuer: keys that lie in the home, and the tokens signed with them (http-api 3.1, design 8).

There is one key pair for each kind of token, so that a bearer token can never pass for a platform access token.
"""

import json
import os
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

CREATE_SCOPE: Final = "altinn:serviceowner/notifications.create"
COMPOSED_SCOPE: Final = "altinn:serviceowner/notifications.composedemail.create"
DASHBOARD_SCOPE: Final = "altinn:notifications.support.admin"
ENDUSER_SCOPE: Final = "altinn:portal/enduser"
ENDUSER_READ_SCOPE: Final = "altinn:profile/enduser:notificationsettings.read"
SUPPORT_SCOPE: Final = "altinn:profile.support.admin"
REGISTRY_SCOPE: Final = "varsel:registry.write"
CREATOR_SCOPES: Final = (CREATE_SCOPE, COMPOSED_SCOPE)
"""All that a creator may need."""

_ALGORITHM: Final = "ES256"
_KINDS: Final = ("bearer", "platform")
_FILE: Final = Path("issuer") / "keys.json"


class DevelopmentIssuer:
    """Signs and publishes with the keys of one home. They are made once, by whichever process comes first."""

    def __init__(self, home: Path) -> None:
        file = home / _FILE
        if not file.exists():
            _make_keys(file)
        keys = json.loads(file.read_text())
        self._bearer = ECKey.import_key(keys["bearer"])
        self._platform = ECKey.import_key(keys["platform"])

    @staticmethod
    def exists(home: Path) -> bool:
        """Whether the home has keys already."""
        return (home / _FILE).exists()

    @property
    def bearer_keys(self) -> KeySet:
        """Public keys of bearer tokens."""
        return _public(self._bearer)

    @property
    def platform_keys(self) -> KeySet:
        """Public keys of platform access tokens."""
        return _public(self._platform)

    def mint(self, org: str | None, scopes: Collection[str], expires: timedelta) -> str:
        """A bearer token of `org`, valid from now; without an org it is a user's."""
        claims = _lifetime(expires) | {"iss": "varsel-development", "scope": " ".join(scopes)}
        if org is not None:
            claims["urn:altinn:org"] = org
        return _sign(claims, self._bearer)

    def mint_user(
        self,
        user_id: int,
        expires: timedelta,
        *,
        scopes: Collection[str] = (ENDUSER_SCOPE,),
        login: str | None = "BankID",
    ) -> str:
        """A bearer token of somebody who has logged in, and how."""
        claims = {"iss": "varsel-development", "scope": " ".join(scopes), "urn:altinn:userid": user_id}
        if login is not None:
            claims["urn:altinn:authenticatemethod"] = login
        return _sign(_lifetime(expires) | claims, self._bearer)

    def mint_platform(self, org: str, expires: timedelta) -> str:
        """A platform access token: its issuer is the creator."""
        return _sign(_lifetime(expires) | {"iss": org, "urn:altinn:app": "varsel"}, self._platform)


def _lifetime(expires: timedelta) -> dict[str, Any]:
    now = int(time.time())  # tokens live by the host's clock (design 8)
    return {"iat": now, "nbf": now, "exp": now + int(expires.total_seconds())}


def _sign(claims: dict[str, Any], key: ECKey) -> str:
    return jwt.encode({"alg": _ALGORITHM, "kid": key.kid}, claims, key)


def _public(key: ECKey) -> KeySet:
    return KeySet([ECKey.import_key(key.as_dict(private=False))])


def _make_keys(file: Path) -> None:
    """Write new keys, readable by their owner alone, unless another process was quicker."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = {kind: ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True) for kind in _KINDS}
    with NamedTemporaryFile("w", dir=file.parent) as draft:  # of mode 0600
        json.dump(keys, draft)
        draft.flush()
        with suppress(FileExistsError):
            os.link(draft.name, file)  # unlike a rename, it never replaces keys that have signed tokens
