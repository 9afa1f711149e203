"""Fetches attachments over HTTP, right before their email leaves (processing 10.2, channels 7.4).

Their addresses are secrets, and so is what the libraries say of them: no error's text goes anywhere.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from varsel.delivery.ports import Deferred, File, Refused
from varsel.domain.attachments import FileStores, expiry
from varsel.domain.notification import Reason
from varsel.domain.order import Attachment
from varsel.providers.public_hosts import PrivateAddress, PublicResolver, is_private_literal

_CONNECT_SECONDS: Final = 10
_TRANSIENT: Final = frozenset({408, 429})
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "varsel"}
_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))  # as given: the signature covers it


class _Failed(Exception):
    """One file cannot be had, and so the email has none."""

    def __init__(self, result: Refused | Deferred) -> None:
        super().__init__()
        self.result = result


class HttpAttachments:
    """`private_hosts`: whether private addresses may be asked (never in production). `timeout`: of one file."""

    def __init__(
        self,
        stores: FileStores,
        *,
        parallel: int,
        timeout: timedelta,
        max_bytes: int,
        private_hosts: bool,
    ) -> None:
        self._stores = stores
        self._parallel = parallel
        self._timeout = aiohttp.ClientTimeout(
            total=timeout.total_seconds(), connect=min(timeout.total_seconds(), _CONNECT_SECONDS)
        )
        self._max_bytes = max_bytes
        self._private_hosts = private_hosts
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, attachments: Sequence[Attachment], *, now: datetime) -> tuple[File, ...] | Refused | Deferred:
        """The first failure ends the other downloads; one that is for good counts before one that may pass."""
        if any(self._lapsed(attachment, now) for attachment in attachments):
            return _refused("an attachment's address has lapsed")
        turns, room = asyncio.Semaphore(self._parallel), _Room(self._max_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._file(attachment, turns, room)) for attachment in attachments]
        except* _Failed as failed:
            results = [error.result for error in failed.exceptions if isinstance(error, _Failed)]
            result = next((r for r in results if isinstance(r, Refused)), results[0])
        else:
            return tuple(task.result() for task in tasks)
        return result

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _lapsed(self, attachment: Attachment, now: datetime) -> bool:
        until = expiry(attachment.url)
        return until is not None and until <= now

    async def _file(self, attachment: Attachment, turns: asyncio.Semaphore, room: "_Room") -> File:
        async with turns:
            url = self._address(attachment.url)
            try:
                content = await self._download(url, room)
            except aiohttp.ClientConnectorError as error:
                if isinstance(error.os_error, PrivateAddress):
                    raise _Failed(_refused("the store lies in a private network")) from None
                raise _Failed(Deferred("no connection to the store of an attachment")) from None
            except TimeoutError:
                raise _Failed(Deferred("the store of an attachment did not answer in time")) from None
            except (aiohttp.ClientError, OSError):
                raise _Failed(Deferred("the connection to the store of an attachment was lost")) from None
        return File(attachment.filename, attachment.mime_type, content)

    def _address(self, text: str) -> URL:
        """Exactly as given, if it may still be fetched: settings change, and another parser may read another host."""
        try:
            url = URL(quote(text, safe=_ASCII), encoded=True)
        except ValueError:
            raise _Failed(_refused("an attachment's address cannot be read")) from None
        if not self._stores.allow(text) or not self._stores.allow(f"{url.scheme}://{url.authority}/"):
            raise _Failed(_refused("an attachment lies in no store that may be fetched from"))
        if not self._private_hosts and is_private_literal(url.host or ""):
            raise _Failed(_refused("the store lies in a private network"))
        return url

    async def _download(self, url: URL, room: "_Room") -> bytes:
        async with self._open_session().get(url, headers=_HEADERS, allow_redirects=False) as response:
            status = response.status
            if status >= 500 or status in _TRANSIENT:
                raise _Failed(Deferred(f"the store of an attachment answered {status}"))
            if status != 200:
                raise _Failed(_refused(f"the store of an attachment answered {status}"))
            room.see(response.content_length or 0)
            content = bytearray()
            async for chunk in response.content.iter_any():
                room.take(len(chunk))
                content += chunk
            return bytes(content)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._private_hosts else PublicResolver()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class _Room:
    """For all files of an email together."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size

    def take(self, size: int) -> None:
        self.see(size)
        self._left -= size

    def see(self, size: int) -> None:
        if size > self._left:
            detail = f"the attachments are larger than {self._size} octets"
            raise _Failed(Refused(Reason.PAYLOAD_TOO_LARGE, detail))


def _refused(detail: str) -> Refused:
    return Refused(Reason.INVALID_SAS_URL, detail)
