"""Who calls, and what they may do (http-api 3): bearer tokens, platform access tokens, and the three policies.

A creator is only ever taken from a token that has been verified (oddity O-1).
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, TypeGuard

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry
from starlette.requests import Request

from varsel.api.keys import KeySource, LocalKeys, RemoteKeys
from varsel.api.problems import Refusal, generic
from varsel.domain.errors import Unavailable
from varsel.issuer import (
    COMPOSED_SCOPE,
    CREATE_SCOPE,
    DASHBOARD_SCOPE,
    REGISTRY_SCOPE,
    SUPPORT_SCOPE,
    DevelopmentIssuer,
)
from varsel.settings import AuthSettings

_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
)  # never none, and nothing symmetric
_MAX_CACHED: Final = 10_000
_COOKIE: Final = "AltinnStudioRuntime"
_USER_ID: Final = re.compile(r"[1-9][0-9]{0,9}")
_MAX_USER_ID: Final = 2**31 - 1
_SCOPE_CLAIMS: Final = ("scope", "urn:altinn:scope")

Claims = Mapping[str, Any]
Headers = Sequence[tuple[bytes, bytes]]


class _Registry(JWSRegistry):
    max_header_length = 8_192  # some issuers put their certificates there


_REGISTRY: Final = _Registry(algorithms=_ALGORITHMS, strict_check_header=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """What verified tokens say. `bearer`, `platform`: which kinds were presented.

    `user_id`: of a person who has logged in, and `login` how; `subject`: what else the issuer calls the caller.
    """

    creator: str | None
    scopes: frozenset[str]
    bearer: bool
    platform: bool
    user_id: int | None = None
    login: str | None = None
    subject: str | None = None

    def required_creator(self) -> str:
        """The creator. Answers 403 when the tokens name none (http-api 3.3)."""
        if self.creator is None:
            raise Refusal(403)
        return self.creator

    def required_user(self) -> int:
        """The user. Answers 400 when the token names none (registries 4.2)."""
        if self.user_id is None:
            raise generic(400, detail="The token names no user.")
        return self.user_id

    @property
    def actor(self) -> str:
        """Who this is in the log of look-ups."""
        if self.user_id is not None:
            return f"user {self.user_id}"
        return self.creator or self.subject or "unknown"


class Authenticator:
    """Verifies tokens and keeps the verdict, by hash, until the first of them expires.

    `development` keys are those of the local issuer: for bearer tokens beside the configured issuers, and for platform
    access tokens of every issuer that has no keys of its own. `now` is machine time, in seconds since 1970.
    """

    def __init__(
        self,
        issuers: Sequence[KeySource],
        platform: Mapping[str, KeySource],
        *,
        development: DevelopmentIssuer | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._bearer_keys = [*issuers, *([LocalKeys(development.bearer_keys)] if development else [])]
        self._platform_keys = platform
        self._development_keys = LocalKeys(development.platform_keys) if development else None
        self._now = now
        self._verified: dict[bytes, tuple[Caller, float]] = {}

    @classmethod
    def from_settings(cls, settings: AuthSettings, development: DevelopmentIssuer | None) -> "Authenticator":
        """`development`: the local issuer, or None where it is not accepted."""
        age = settings.jwks_max_age
        return cls(
            [RemoteKeys(i.discovery_url, discovery=True, max_age=age) for i in settings.issuers],
            {i: RemoteKeys(url, discovery=False, max_age=age) for i, url in settings.platform_keys.items()},
            development=development,
        )

    async def require_create(self, request: Request) -> Caller:
        """A caller with the create scope, or with a platform access token of any issuer; else answers 401 or 403."""
        caller = await self.caller(request)
        if CREATE_SCOPE not in caller.scopes and not caller.platform:
            raise Refusal(403)
        return caller

    async def require_composed(self, request: Request) -> Caller:
        return await self.require_scope(request, COMPOSED_SCOPE)

    async def require_dashboard(self, request: Request) -> Caller:
        return await self.require_scope(request, DASHBOARD_SCOPE)

    async def require_support(self, request: Request) -> Caller:
        return await self.require_scope(request, SUPPORT_SCOPE)

    async def require_registry(self, request: Request) -> Caller:
        return await self.require_scope(request, REGISTRY_SCOPE)

    async def require_scope(self, request: Request, *scopes: str) -> Caller:
        """A bearer token with any of the scopes, or, if there are none, any bearer token; else answers 401 or 403.

        A platform access token does not help here (http-api 3.2).
        """
        caller = await self.caller(request)
        if not caller.bearer:
            raise _unauthorized()
        if scopes and caller.scopes.isdisjoint(scopes):
            raise Refusal(403)
        return caller

    async def caller(self, request: Request) -> Caller:
        """Who calls. Answers 401 without a usable credential, `Unavailable` when it cannot be judged now."""
        bearer, platform = _credentials(request.scope["headers"])
        digest = hashlib.sha256(bearer + b"\n" + platform).digest()
        known = self._verified.get(digest)
        if known and known[1] > self._now():
            return known[0]
        caller, expires = await self._verify(bearer, platform)
        if len(self._verified) >= _MAX_CACHED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = (caller, expires)
        return caller

    async def _verify(self, bearer: bytes, platform: bytes) -> tuple[Caller, float]:
        """The caller, and until when it holds. A platform access token that is present must be good (O-1)."""
        person = await self._claims(bearer, self._bearer_keys) if bearer else None
        app = await self._claims(platform, self._keys_of(_issuer(platform))) if platform else None
        if (platform and app is None) or (person is None and app is None):
            raise _unauthorized()
        creator = app.get("iss") if app is not None else (person or {}).get("urn:altinn:org")
        claims = person or {}
        caller = Caller(
            _creator(creator),
            _scopes(claims),
            bearer=person is not None,
            platform=app is not None,
            user_id=_user_id(claims.get("urn:altinn:userid")),
            login=_creator(claims.get("urn:altinn:authenticatemethod")),
            subject=_creator(claims.get("sub")) or _creator(claims.get("client_id")),
        )
        return caller, min(claims["exp"] for claims in (person, app) if claims is not None)

    def _keys_of(self, issuer: str) -> Sequence[KeySource]:
        source = self._platform_keys.get(issuer, self._development_keys)
        return [source] if source else []

    async def _claims(self, token: bytes, sources: Sequence[KeySource]) -> Claims | None:
        """The token's claims, when one of the sources' keys signed it and its time is now."""
        header = _part(token, 0)
        if header.get("alg") not in _ALGORITHMS:
            return None
        kid = header.get("kid")
        failure: Unavailable | None = None
        for source in sources:
            try:
                keys = await source.candidates(kid if isinstance(kid, str) else None)
            except Unavailable as e:
                failure = e
                continue
            for key in keys:
                try:
                    claims = jwt.decode(token, key, registry=_REGISTRY).claims
                except (JoseError, ValueError):
                    continue
                return claims if self._is_current(claims) else None
        if failure:
            raise failure
        return None

    def _is_current(self, claims: Claims) -> bool:
        """Zero skew; `exp` is required (http-api 3.1)."""
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        return _is_number(expires) and _is_number(begins) and begins <= self._now() < expires


def _credentials(headers: Headers) -> tuple[bytes, bytes]:
    """Bearer and platform access token as presented; empty where there is none. Two of the latter answer 401."""
    bearer = cookie = b""
    platform = []
    for name, value in headers:
        if name == b"authorization":
            kind, _, rest = value.partition(b" ")
            bearer = rest.strip() if kind.lower() == b"bearer" else b""
        elif name == b"platformaccesstoken" and value:
            platform.append(value)
        elif name == b"cookie" and _COOKIE.encode() in value:
            cookie = _cookie_token(value)
    if len(platform) > 1:
        raise _unauthorized()
    return bearer or cookie, platform[0] if platform else b""


def _cookie_token(value: bytes) -> bytes:
    try:
        morsel = SimpleCookie(value.decode("latin-1")).get(_COOKIE)
    except CookieError:
        return b""
    return morsel.value.encode("latin-1") if morsel else b""


def _part(token: bytes, index: int) -> Claims:
    """A part of a compact JWS as JSON, unverified; empty when it is none."""
    parts = token.split(b".")
    if len(parts) != 3:
        return {}
    try:
        value = json.loads(base64.urlsafe_b64decode(parts[index] + b"=="))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _issuer(token: bytes) -> str:
    """Whose keys to try. Not yet verified, and used for nothing else."""
    issuer = _part(token, 1).get("iss")
    return issuer if isinstance(issuer, str) else ""


def _creator(value: object) -> str | None:
    """Blank counts as missing (O-22)."""
    return value if isinstance(value, str) and value.strip() and "\0" not in value else None


def _scopes(claims: Claims) -> frozenset[str]:
    """Whole words of the claim; a list of such claims is one claim with more words."""
    value = next((claims[name] for name in _SCOPE_CLAIMS if name in claims), "")
    words = value if isinstance(value, list) else [value]
    return frozenset(scope for word in words if isinstance(word, str) for scope in word.split(" ") if scope)


def _user_id(value: object) -> int | None:
    """A number, or a text that holds one (registries 1.7, 4.2)."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return int(text) if _USER_ID.fullmatch(text) and int(text) <= _MAX_USER_ID else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _unauthorized() -> Refusal:
    return Refusal(401, headers={"WWW-Authenticate": "Bearer"})
