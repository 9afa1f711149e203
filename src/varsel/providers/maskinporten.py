"""Maskinporten: access tokens for a grant that we sign (registries 6.5).

Neither the grant, nor the key, nor a token stands in an error or in the log. Tokens live by the host's clock.
"""

import asyncio
import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from varsel.log import Log
from varsel.providers.feed_http import open_session, read_bounded, retry_after
from varsel.registry_sync.ports import UpstreamError
from varsel.settings import RegistrySettings

log = Log(__name__)

_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GRANT_SECONDS: Final = 60
_TOTAL: Final = timedelta(seconds=30)
_MAX_ANSWER_BYTES: Final = 64 * 1024
_MARGIN: Final = 30.0  # s before its end that a token is renewed, but at most a tenth of its life
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_CLOCKS: Final = "MP-130"
_CODE: Final = re.compile(r"MP-[0-9]{3}")


_shown: ContextVar[str | None] = ContextVar("shown", default=None)
"""The token of this task's last request: another's refusal must not cost us a token that is newer than that."""


@dataclass(slots=True)
class _Token:
    """`good_until`, `renew_at`: in seconds of the monotonic clock."""

    value: str = ""
    good_until: float = 0.0
    renew_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Maskinporten:
    """One client there. `clock`: the host's, seconds since 1970; `monotonic`: seconds from any beginning."""

    def __init__(
        self,
        *,
        issuer: str,
        token_url: str,
        client_id: str,
        jwk: SecretStr,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`jwk`: private RSA key, a JSON Web Key in base64. Raises `ValueError` for anything else."""
        self._issuer = issuer
        self._token_url = token_url
        self._client_id = client_id
        self._key = _read_key(jwk)
        self._clock = clock
        self._monotonic = monotonic
        self._tokens: dict[str, _Token] = {}
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_settings(cls, registry: RegistrySettings) -> "Maskinporten | None":
        """None when the settings name none."""
        if registry.maskinporten_token_url is None:
            return None
        assert registry.maskinporten_issuer, "the settings are complete or refused"
        assert registry.maskinporten_client_id
        assert registry.maskinporten_jwk
        return cls(
            issuer=registry.maskinporten_issuer,
            token_url=registry.maskinporten_token_url,
            client_id=registry.maskinporten_client_id,
            jwk=registry.maskinporten_jwk,
        )

    def scope(self, scope: str) -> "Access":
        """What requests show who need these scopes, separated by blanks."""
        return Access(self, scope)

    async def token(self, scope: str, *, instead_of: str | None = None) -> str:
        """A token that holds for a while, and is not `instead_of`. At most one is asked for at a time.

        Raises `UpstreamError`. One that is due to be renewed is used to its end when no new one is to be had.
        """
        known = self._tokens.setdefault(scope, _Token())
        async with known.lock:
            now = self._monotonic()
            usable = known.value if now < known.good_until and known.value != instead_of else None
            if usable and now < known.renew_at:
                return usable
            try:
                value, lifetime = await self._fetch(scope)
            except UpstreamError as e:
                log.warning("token not fetched", code=e.code, status=e.status, detail=e.detail)
                if usable and e.transient:
                    return usable
                raise
            known.value = value
            known.good_until = now + lifetime
            known.renew_at = known.good_until - min(_MARGIN, lifetime / 10)
            return value

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _fetch(self, scope: str) -> tuple[str, float]:
        """A new token, and for how many seconds it holds."""
        status, headers, content = await self._post({"grant_type": _GRANT_TYPE, "assertion": self._grant(scope)})
        answer = _object(content)
        if status == 200:
            value, lifetime = answer.get("access_token"), answer.get("expires_in")
            if isinstance(value, str) and value and isinstance(lifetime, int | float) and lifetime > 0:
                return value, float(lifetime)
            raise UpstreamError("token_protocol", transient=True, status=status)
        if status == 429 or status >= 500:
            wait = retry_after(headers.get("Retry-After"), datetime.now(UTC))
            raise UpstreamError(f"token_http_{status}", transient=True, retry_after=wait, status=status)
        raise self._refused(status, answer, headers.get("Date"))

    def _grant(self, scope: str) -> str:
        now = int(self._clock())
        claims = {
            "aud": self._issuer,
            "iss": self._client_id,
            "scope": scope,
            "iat": now,
            "exp": now + _GRANT_SECONDS,
            "jti": secrets.token_urlsafe(24),
        }
        return jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, self._key)

    def _refused(self, status: int, answer: Mapping[str, Any], date: str | None) -> UpstreamError:
        """Only a person can mend it. Of what they say, their own codes are repeated and nothing else."""
        description = str(answer.get("error_description", ""))
        if _CLOCKS in description and (ahead := self._ahead(date)) is not None:
            return UpstreamError("token_clock_skew", status=status, detail=f"our clock is {ahead:+.0f} s off theirs")
        word = answer.get("error")
        code = f"token_{word}" if isinstance(word, str) and _WORD.fullmatch(word) else f"token_http_{status}"
        found = _CODE.search(description)
        return UpstreamError(code, status=status, detail=found[0] if found else "")

    def _ahead(self, date: str | None) -> float | None:
        """By how many seconds our clock is ahead of theirs."""
        try:
            return self._clock() - parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return None

    async def _post(self, form: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            self._session = open_session(_TOTAL)
        try:
            async with self._session.post(self._token_url, data=form, allow_redirects=False) as response:
                return response.status, response.headers, await read_bounded(response, _MAX_ANSWER_BYTES)
        except TimeoutError:
            raise UpstreamError("token_timeout", transient=True) from None
        except (aiohttp.ClientError, OSError) as e:
            raise UpstreamError("token_network", transient=True, detail=type(e).__name__) from None


class Access:
    """The `Authorization` of requests to one API."""

    def __init__(self, maskinporten: Maskinporten, scope: str) -> None:
        self._maskinporten = maskinporten
        self._scope = scope

    async def headers(self, *, renew: bool) -> Mapping[str, str]:
        """`renew`: the token that was shown last has been refused. Raises `UpstreamError`."""
        token = await self._maskinporten.token(self._scope, instead_of=_shown.get() if renew else None)
        _shown.set(token)
        return {"Authorization": f"Bearer {token}"}


@lru_cache(maxsize=4)  # its primes are looked into, which takes 40 ms
def _read_key(jwk: SecretStr) -> RSAKey:
    try:
        key = RSAKey.import_key(json.loads(base64.b64decode(jwk.get_secret_value(), validate=True)))
        if key.is_private:
            return key
    except (ValueError, TypeError, KeyError, JoseError):
        pass
    raise ValueError("registry.maskinporten_jwk is no private RSA key: a JSON Web Key in base64") from None


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
