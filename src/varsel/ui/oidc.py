"""Sign-in by OpenID Connect: authorization code with PKCE, and an ID token that we check (OpenID Connect Core 3.1)."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from varsel.settings import PagesSettings

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, connect=5)
_MAX_BYTES: Final = 500_000
_DISCOVERY_SECONDS: Final = 300.0
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_LEEWAY: Final = 60  # s between our clock and theirs


class SignInFailed(Exception):
    """The words are for the log: none of them tells who it was."""


@dataclass(frozen=True, slots=True)
class Journey:
    """Where to send the browser, and what it has to bring back in a cookie."""

    url: str
    state: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody whom the identity provider vouches for. `to`: the page that they wanted."""

    name: str
    subject: str
    roles: frozenset[str]
    creator: str | None
    to: str


class OpenId:
    """One identity provider."""

    def __init__(self, settings: PagesSettings, callback: str) -> None:
        self._settings = settings
        self._issuer = (settings.issuer or "").rstrip("/")
        self._callback = callback
        self._session: aiohttp.ClientSession | None = None
        self._found: tuple[float, dict[str, Any], KeySet] | None = None

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def begin(self, to: str) -> Journey:
        """Raises `SignInFailed` when the provider does not answer."""
        document, _ = await self._discover()
        kept = {name: secrets.token_urlsafe(24) for name in ("state", "nonce", "verifier")} | {"to": to}
        challenge = _base64(hashlib.sha256(kept["verifier"].encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._callback,
            "scope": " ".join(self._settings.scopes),
            "state": kept["state"],
            "nonce": kept["nonce"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return Journey(f"{document['authorization_endpoint']}?{urlencode(query)}", _pack(kept))

    async def finish(self, cookie: str, query: Mapping[str, str]) -> SignedIn:
        """Raises `SignInFailed` for whatever is not exactly what we asked for."""
        kept = _unpack(cookie)
        if not kept or not secrets.compare_digest(kept["state"], query.get("state", "")):
            raise SignInFailed("the answer is to another question")
        if "code" not in query:
            raise SignInFailed(f"the provider said {query.get('error', 'nothing')[:40]}")
        document, keys = await self._discover()
        answer = await self._ask(
            document["token_endpoint"],
            {
                "grant_type": "authorization_code",
                "code": query["code"],
                "redirect_uri": self._callback,
                "client_id": self._settings.client_id,
                "code_verifier": kept["verifier"],
            },
        )
        claims = self._check(str(answer.get("id_token", "")), keys, kept["nonce"])
        return self._signed_in(claims, kept["to"])

    def _check(self, token: str, keys: KeySet, nonce: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, keys, algorithms=list(_ALGORITHMS)).claims
            jwt.JWTClaimsRegistry(
                leeway=_LEEWAY,
                iss={"essential": True, "value": self._issuer},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
                nonce={"essential": True, "value": nonce},
            ).validate(claims)
        except (JoseError, ValueError) as error:
            raise SignInFailed(f"the ID token is not good: {type(error).__name__}") from None
        audience = claims.get("aud")
        if self._settings.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise SignInFailed("the ID token is for somebody else")
        return dict(claims)

    def _signed_in(self, claims: Mapping[str, Any], to: str) -> SignedIn:
        given = claims.get(self._settings.role_claim, [])
        words = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        known = {value.lower(): role for role, values in self._settings.roles.items() for value in values}
        roles = frozenset(known[word.lower()] for word in words if isinstance(word, str) and word.lower() in known)
        creator = claims.get(self._settings.creator_claim)
        if "creator-admin" in roles and not isinstance(creator, str):
            roles -= {"creator-admin"}  # of nobody
        name = next((str(claims[c]) for c in ("name", "preferred_username") if claims.get(c)), str(claims["sub"]))
        only = creator.lower() if isinstance(creator, str) and roles <= {"creator-admin", "viewer"} else None
        return SignedIn(name[:100], str(claims["sub"])[:200], roles, only, to)

    async def _discover(self) -> tuple[dict[str, Any], KeySet]:
        if self._found and time.monotonic() - self._found[0] < _DISCOVERY_SECONDS:
            return self._found[1], self._found[2]
        document = await self._ask(f"{self._issuer}/.well-known/openid-configuration")
        if str(document.get("issuer", "")).rstrip("/") != self._issuer:
            raise SignInFailed("the discovery document is of another issuer")
        if not all(isinstance(document.get(f"{e}_endpoint"), str) for e in ("authorization", "token")):
            raise SignInFailed("the discovery document is incomplete")
        try:
            keys = KeySet.import_key_set(await self._ask(str(document.get("jwks_uri", ""))))  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError):
            raise SignInFailed("the key set is none") from None
        self._found = time.monotonic(), document, keys
        return document, keys

    async def _ask(self, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False)
        secret = self._settings.client_secret
        auth = aiohttp.BasicAuth(self._settings.client_id, secret.get_secret_value()) if form and secret else None
        method = "POST" if form else "GET"
        try:
            async with self._session.request(method, url, data=form, auth=auth, allow_redirects=False) as answer:
                body = await answer.content.read(_MAX_BYTES)
                if answer.status != 200:
                    raise SignInFailed(f"the provider answered {answer.status}")
                found = json.loads(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise SignInFailed(f"the provider cannot be understood: {type(error).__name__}") from None
        if not isinstance(found, dict):
            raise SignInFailed("the provider's answer is no object")
        return found


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _pack(kept: Mapping[str, str]) -> str:
    return _base64(json.dumps(kept).encode())


def _unpack(cookie: str) -> dict[str, str]:
    """Empty for what is none of ours."""
    try:
        found = json.loads(base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)))
    except ValueError:
        return {}
    wanted = {"state", "nonce", "verifier", "to"}
    if not isinstance(found, dict) or found.keys() != wanted or not all(isinstance(v, str) for v in found.values()):
        return {}
    return found
