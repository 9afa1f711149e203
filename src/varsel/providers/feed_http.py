"""HTTP to a register that is followed or told (registries 2.5, 3.4, 6.6): a request, its answer or a code for why not.

Whoever asks decides about further tries. Nothing of a body is logged.
"""

import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

import aiohttp
from yarl import URL

from varsel import __version__
from varsel.registry_sync.ports import UpstreamError

_CONNECT: Final = timedelta(seconds=5)
_TOTAL: Final = timedelta(seconds=60)
_MAX_ANSWER_BYTES: Final = 50 * 1024 * 1024
_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
_MOST_PATIENCE: Final = timedelta(days=7)
_HEADERS: Final = {"User-Agent": f"varsel/{__version__}", "Accept": "application/json"}


class Tokens(Protocol):
    async def headers(self, *, renew: bool) -> Mapping[str, str]:
        """What a request shows. `renew`: the last ones were refused. Raises `UpstreamError`."""
        ...


class FeedClient:
    """Opens connections when it is first asked. `tokens`: None where nothing is to be shown.

    `tls`: with our certificate, where a register wants one.
    """

    def __init__(
        self, tokens: Tokens | None = None, *, total: timedelta = _TOTAL, tls: ssl.SSLContext | None = None
    ) -> None:
        self._tokens = tokens
        self._total = total
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, url: URL, body: object = None) -> Any:
        """The JSON of a 2xx answer; a request without `body` is empty. One repeat, with a new token, after a 401.

        Raises `UpstreamError`.
        """
        status, headers, content = await self._send(method, url, body, renew=False)
        if status == 401 and self._tokens:
            status, headers, content = await self._send(method, url, body, renew=True)
        if not 200 <= status < 300:
            wait = retry_after(headers.get("Retry-After"), datetime.now(UTC)) if status in (429, 503) else None
            code = "throttled" if status == 429 else f"http_{status}"
            raise UpstreamError(code, transient=status in _TRANSIENT, retry_after=wait, status=status)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise UpstreamError("not_json", transient=True, status=status) from None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, method: str, url: URL, body: object, *, renew: bool) -> tuple[int, Mapping[str, str], bytes]:
        shown = await self._tokens.headers(renew=renew) if self._tokens else {}
        try:
            async with self._open_session().request(
                method, url, json=body, headers={**_HEADERS, **shown}, allow_redirects=False, ssl=self._tls or True
            ) as response:
                return response.status, response.headers, await read_bounded(response, _MAX_ANSWER_BYTES)
        except TimeoutError:
            raise UpstreamError("timeout", transient=True) from None
        except aiohttp.ClientPayloadError:
            raise UpstreamError("truncated", transient=True) from None
        except (aiohttp.ClientError, OSError) as e:
            raise UpstreamError("network", transient=True, detail=type(e).__name__) from None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(self._total)
        return self._session


def open_session(total: timedelta) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=total.total_seconds(), sock_connect=_CONNECT.total_seconds()),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


async def read_bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body. Raises `UpstreamError` for a longer one."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise UpstreamError("too_long", status=response.status)
    return bytes(body)


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """`Retry-After` in seconds or as an HTTP date, at most a week; None for what says nothing. `now`: machine time."""
    given = (value or "").strip()
    if given.isascii() and given.isdigit():
        wait = timedelta(seconds=min(int(given[:9]), _MOST_PATIENCE.total_seconds()))
    else:
        try:
            date = parsedate_to_datetime(given)
        except ValueError:
            return None
        wait = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    return min(wait, _MOST_PATIENCE) if wait > timedelta() else None
