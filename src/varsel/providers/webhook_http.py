"""Brings events to their receivers over HTTP, safe against requests to private networks (channels 7.4).

The name is resolved for each request, every address must be one that may be spoken to, and the connection goes to one
of these; TLS is for the name. Nothing is read beyond the headers of the answer.
"""

import re
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from varsel.providers.public_hosts import Network, OwnThreads, PrivateAddress, PublicResolver
from varsel.webhooks.address import Addresses
from varsel.webhooks.ports import Answer

_USER_AGENT: Final = "Varsel-Webhooks/1"
_LONGEST: Final = timedelta(hours=24)  # of what a receiver may wish
_SECONDS: Final = re.compile(r"[0-9]{1,9}")

NOT_ALLOWED: Final = "the address may not be spoken to"
NOT_FOUND: Final = "the name was not found"
NO_TLS: Final = "no secure connection"
NO_CONNECTION: Final = "no connection"
NO_ANSWER: Final = "no answer in time"
LOST: Final = "the connection was lost"


class HttpReceivers:
    """`denied`: networks that are never spoken to, beside those that are not public. `timeout`: of one request.

    `resolver`, `tls`: the system's, unless tests say otherwise.
    """

    def __init__(
        self,
        addresses: Addresses,
        *,
        timeout: timedelta,
        denied: Sequence[Network] = (),
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._addresses = addresses
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._resolver = PublicResolver(resolver or OwnThreads(), denied=denied, trusts=addresses.trusts)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._addresses.problem(url):  # settings change
            return Answer(None, NOT_ALLOWED)
        try:
            return await self._ask(url, headers, body)
        except TimeoutError:
            return Answer(None, NO_ANSWER)
        except aiohttp.ClientConnectorError as error:
            return Answer(None, _why(error))
        except (aiohttp.ClientError, OSError):
            return Answer(None, LOST)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._resolver.close()

    async def _ask(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent = {**headers, "User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        async with self._open_session().post(
            URL(url, encoded=True), data=body, headers=sent, allow_redirects=False
        ) as response:
            return Answer(response.status, retry_after=_wish(response.headers.get("Retry-After", "")))

    def _open_session(self) -> aiohttp.ClientSession:
        """A connection for each request, so that each is checked, and no answer is mistaken for another's."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver, use_dns_cache=False, force_close=True, limit=0, ssl=self._tls or True
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _why(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error.os_error, PrivateAddress):
        return NOT_ALLOWED
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NOT_FOUND
    if isinstance(error, aiohttp.ClientSSLError):
        return NO_TLS
    return NO_CONNECTION


def _wish(text: str) -> timedelta | None:
    """What `Retry-After` says: seconds, or a date, which is compared with the host's clock. At most a day."""
    if _SECONDS.fullmatch(text):
        return min(timedelta(seconds=int(text)), _LONGEST)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(timedelta(seconds=seconds), _LONGEST) if 0 < seconds < 10**9 else None
