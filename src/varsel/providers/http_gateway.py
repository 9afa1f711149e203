"""One request to a provider's gateway over HTTP, and what its answer says of every message in it (channels 1.4, 1.6).

Phases are told apart: without a connection nothing has left; after the request was written it may have arrived.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from yarl import URL

from varsel.delivery.ports import Blame, Deferred, Unknown

THROTTLED: Final = timedelta(seconds=60)
"""How long a gateway rests that says "too many" and not until when."""

_ABOUT_US: Final = frozenset({401, 403, 404, 405, 407, 408, 410, 421, 425, 426, 429})
_CONNECT_TIMEOUT: Final = timedelta(seconds=5)
_IDLE_SECONDS: Final = 30
_SPARE_CONNECTIONS: Final = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is cut at the limit. Names of headers are in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpGateway:
    """Keeps connections open. No redirect is followed, no cookie kept, no proxy of the environment used."""

    def __init__(self, *, connections: int, timeout: timedelta, max_answer_bytes: int = 256 * 1024) -> None:
        """`timeout`: for one request with its answer."""
        self._connections = connections
        self._timeout = timeout
        self._max_answer_bytes = max_answer_bytes
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str | URL, body: bytes, headers: Mapping[str, str]) -> Answer | Deferred | Unknown:
        """Raises nothing that the network does."""
        return await self.exchange("POST", url, body, headers)

    async def exchange(
        self, method: str, url: str | URL, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer | Deferred | Unknown:
        """Raises nothing that the network does. A `URL` that says it is encoded goes out as it is."""
        try:
            async with self._open_session().request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return Answer(response.status, response.headers, await self._read(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return Deferred("no connection to the gateway", Blame.PROVIDER)
        except TimeoutError:
            return Unknown("the gateway did not answer in time")
        except (aiohttp.ClientError, OSError):
            return Unknown("the connection to the gateway was lost")

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max_answer_bytes:
                break
        return bytes(body[: self._max_answer_bytes])

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            total, connect = self._timeout, min(self._timeout / 2, _CONNECT_TIMEOUT)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections + _SPARE_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS
                ),
                timeout=aiohttp.ClientTimeout(total=total.total_seconds(), connect=connect.total_seconds()),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
                trust_env=False,
            )
        return self._session


def fault(answer: Answer) -> Deferred | Unknown:
    """What a status other than 2xx says about the account or the moment. Not for one that a message can cause."""
    detail = f"the gateway answered {answer.status}"
    wanted = retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
    match answer.status:
        case 401 | 403:
            return Deferred(detail, Blame.FAULT)
        case 429:
            return Deferred(detail, Blame.PROVIDER, wanted or THROTTLED)
        case 503:
            return Deferred(detail, Blame.PROVIDER, wanted)
        case 502 | 504:
            return Unknown(detail)  # of a proxy: the gateway behind it may have taken it
        case _:
            return Deferred(detail, Blame.PROVIDER)


def concerns_us(status: int) -> bool:
    """Whether a 4xx is about the account, the address or the moment. Any other can be one message's fault."""
    return status in _ABOUT_US


def json_object(body: bytes) -> dict[str, Any] | None:
    """None when it is anything else."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """`Retry-After` in seconds or as an HTTP date, from one second to one hour (channels 1.7). `now`: machine time."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = timedelta(seconds=min(int(value[:9]), 3600))
    else:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    return min(max(seconds, timedelta(seconds=1)), timedelta(hours=1))
