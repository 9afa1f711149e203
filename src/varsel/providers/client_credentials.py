"""Bearer tokens by OAuth 2.0 client credentials (RFC 6749 section 4.4), for gateways that want them."""

import asyncio
import base64
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from varsel.delivery.ports import Blame, Deferred
from varsel.providers.http_gateway import Answer, HttpGateway, fault, json_object

_MARGIN: Final = 30.0  # seconds before its end in which a token is not used any more
_USUAL_LIFETIME: Final = 300.0  # seconds, where the answer does not say
_FORM: Final = "application/x-www-form-urlencoded"


class ClientCredentials:
    """One client. At most one token is asked for at a time; it is kept until shortly before its end."""

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        scope: str | None,
        *,
        timeout: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`monotonic`: seconds, from any beginning."""
        login = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}", "Content-Type": _FORM}
        self._body = urlencode({"grant_type": "client_credentials", **({"scope": scope} if scope else {})}).encode()
        self._url = url
        self._http = HttpGateway(connections=1, timeout=timeout, max_answer_bytes=64 * 1024)
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._token = ""
        self._good_until = 0.0

    async def token(self) -> str | Deferred:
        """A token that holds, or why there is none."""
        async with self._lock:
            if self._token and self._monotonic() < self._good_until:
                return self._token
            asked_at = self._monotonic()
            answer = await self._http.post(self._url, self._body, self._headers)
            if not isinstance(answer, Answer):
                return Deferred("the token service cannot be reached", Blame.PROVIDER)
            return self._keep(answer, asked_at)

    def forget(self, token: str) -> None:
        """It was refused: the next message gets a new one."""
        if token == self._token:
            self._token = ""

    async def close(self) -> None:
        await self._http.close()

    def _keep(self, answer: Answer, asked_at: float) -> str | Deferred:
        body = json_object(answer.body) or {}
        token, lifetime = body.get("access_token"), body.get("expires_in", _USUAL_LIFETIME)
        if answer.status != 200 or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            return self._refused(answer)
        seconds = float(lifetime) if isinstance(lifetime, int | float) else _USUAL_LIFETIME
        self._token, self._good_until = token, asked_at + seconds - min(_MARGIN, seconds / 2)
        return token

    def _refused(self, answer: Answer) -> Deferred:
        detail = f"the token service answered {answer.status}"
        if 400 <= answer.status < 500 and answer.status not in {408, 429}:
            return Deferred(detail, Blame.FAULT)
        found = fault(answer)
        return Deferred(detail, Blame.PROVIDER, found.retry_after if isinstance(found, Deferred) else None)
