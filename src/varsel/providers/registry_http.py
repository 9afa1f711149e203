"""HTTP to a live register (registries 6.6): time-outs, repeats where they are safe, a limit, a circuit breaker.

Every request here is a look-up, which may be repeated. Nothing of a body, or of what a register says in an error, is
logged.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, Protocol, Self, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, TypeAdapter
from yarl import URL

from varsel import __version__
from varsel.domain.errors import RegistryProtocolError, RegistryRejected, RegistryUnavailable
from varsel.log import Log
from varsel.providers.breaker import Breaker
from varsel.providers.http_gateway import retry_after
from varsel.settings import AltinnSettings

log = Log(__name__)

K = TypeVar("K")
R = TypeVar("R")

_PARTS_AT_ONCE: Final = 4
_MAX_ANSWER_BYTES: Final = 50 * 1024 * 1024
_MAY_PASS: Final = frozenset({408, 429, 500, 502, 503, 504})  # 500: registries F32
_HEADERS: Final = {"User-Agent": f"varsel/{__version__}", "Accept": "application/json"}


class Answer(BaseModel):
    """A part of a register's answer. Names are read in any letter case, unknown ones ignored (registries 6.1)."""

    model_config = ConfigDict(frozen=True, alias_generator=lambda name: name.replace("_", ""))


class Credentials(Protocol):
    async def headers(self, *, renew: bool) -> Mapping[str, str]:
        """What a request shows. `renew`: the last ones were refused. Raises `RegistryUnavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How long we wait, how often we ask. `pauses` come between tries; `patience` is the longest `Retry-After`."""

    connect: timedelta = timedelta(seconds=2)
    read: timedelta = timedelta(seconds=20)
    total: timedelta = timedelta(seconds=30)
    connections: int = 10
    pauses: tuple[timedelta, ...] = (timedelta(milliseconds=200), timedelta(milliseconds=800))
    patience: timedelta = timedelta(seconds=5)
    failures_to_open: int = 10
    open_for: timedelta = timedelta(seconds=15)

    @classmethod
    def from_settings(cls, settings: AltinnSettings, patience: timedelta) -> Self:
        return cls(
            connect=settings.connect_timeout,
            read=settings.read_timeout,
            total=settings.total_timeout,
            connections=settings.connections,
            patience=patience,
            failures_to_open=settings.breaker_failures,
            open_for=settings.breaker_pause,
        )


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    retry_after: str | None
    body: bytes


class _Failed(Exception):
    """One try. `why` is for the log: a status, or the name of an error. `may_pass`: asking again soon may help."""

    def __init__(
        self,
        why: str,
        kind: type[RegistryUnavailable] = RegistryUnavailable,
        *,
        may_pass: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.kind = kind
        self.may_pass = may_pass
        self.retry_after = retry_after


class RegistryClient:
    """One register at `url`. Opens connections when it is first asked, at most `limits.connections`."""

    def __init__(
        self,
        name: str,
        url: str,
        limits: Limits,
        credentials: Credentials | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._url = URL(url if url.endswith("/") else f"{url}/")
        self._limits = limits
        self._credentials = credentials
        self._breaker = Breaker(limits.failures_to_open, limits.open_for, monotonic)
        self._slots = asyncio.Semaphore(limits.connections)
        self._under_way: set[asyncio.Timeout] = set()
        self._closed = False
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, path: str, body: object, answer: TypeAdapter[R], *, items: int, accepted: Collection[int] = (200,)
    ) -> R:
        """The answer to a look-up of `items` things; `path` is relative to the register's address.

        Raises `RegistryUnavailable`: of its kinds, `RegistryRejected` when only a person can mend it.
        """
        asked = f"{self._name} ({path.partition('?')[0]})"
        if self._closed:
            raise RegistryUnavailable(asked)
        try:
            async with asyncio.timeout(None) as until_closed:
                self._under_way.add(until_closed)
                try:
                    return await self._ask(asked, path, body, answer, items, accepted)
                finally:
                    self._under_way.discard(until_closed)
        except TimeoutError:
            raise RegistryUnavailable(asked) from None

    async def close(self) -> None:
        """Whoever waits for an answer hears at once that none will come."""
        self._closed = True
        for waiting in self._under_way:
            waiting.reschedule(asyncio.get_running_loop().time())
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(
        self, asked: str, path: str, body: object, answer: TypeAdapter[R], items: int, accepted: Collection[int]
    ) -> R:
        for pause in (*self._limits.pauses, None):
            began = time.monotonic()
            try:
                return await self._try(asked, path, body, answer, accepted)
            except _Failed as failed:
                log.warning(
                    "register failed",
                    register=asked,
                    why=failed.why,
                    seconds=round(time.monotonic() - began, 3),
                    items=items,
                )
                wait = failed.retry_after or (pause or timedelta()) * random.uniform(0.8, 1.2)  # noqa: S311
                if pause is None or not failed.may_pass or wait > self._limits.patience:
                    raise failed.kind(asked, failed.retry_after) from None
            await asyncio.sleep(wait.total_seconds())
        raise AssertionError("the last try returns or raises")

    async def _try(self, asked: str, path: str, body: object, answer: TypeAdapter[R], accepted: Collection[int]) -> R:
        async with self._slots:
            if pause := self._breaker.enter():
                raise RegistryUnavailable(asked, pause)
            try:
                result = _result(await self._exchange(path, body), answer, accepted)
            except _Failed as failed:
                if failed.kind is RegistryRejected:  # it works; it is us who must change something
                    self._breaker.succeeded()
                else:
                    self._breaker.failed()
                raise
            except BaseException:
                self._breaker.abandoned()
                raise
            self._breaker.succeeded()
            return result

    async def _exchange(self, path: str, body: object) -> _Reply:
        try:
            reply = await self._send(path, body, renew=False)
            if reply.status == 401 and self._credentials:
                reply = await self._send(path, body, renew=True)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:  # nobody has been asked
            raise _Failed(type(error).__name__, may_pass=True) from None
        except TimeoutError as error:
            raise _Failed(type(error).__name__) from None
        except aiohttp.ClientConnectionError as error:
            raise _Failed(type(error).__name__, may_pass=True) from None
        except aiohttp.ClientError as error:
            raise _Failed(type(error).__name__, RegistryProtocolError, may_pass=True) from None
        return reply

    async def _send(self, path: str, body: object, *, renew: bool) -> _Reply:
        shown = await self._credentials.headers(renew=renew) if self._credentials else {}
        async with self._open_session().post(
            self._url.join(URL(path)), json=body, headers={**_HEADERS, **shown}, allow_redirects=False
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES:
                    raise aiohttp.ClientPayloadError("too long")
            return _Reply(response.status, response.headers.get("Retry-After"), bytes(content))

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limits.connections),
                timeout=aiohttp.ClientTimeout(
                    total=limits.total.total_seconds(),
                    sock_connect=limits.connect.total_seconds(),
                    sock_read=limits.read.total_seconds(),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


async def in_parts(
    items: Collection[K], size: int, ask: Callable[[list[K]], Awaitable[R]], *, at_once: int = _PARTS_AT_ONCE
) -> list[R]:
    """What `ask` answers to each part of at most `size` items. The first failure cancels the others, and is raised."""
    rest = iter(items)
    parts = [list(islice(rest, size)) for _ in range(0, len(items), size)]
    if len(parts) < 2:
        return [await ask(part) for part in parts]
    slots = asyncio.Semaphore(at_once)

    async def ask_one(part: list[K]) -> R:
        async with slots:
            return await ask(part)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask_one(part)) for part in parts]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _result(reply: _Reply, answer: TypeAdapter[R], accepted: Collection[int]) -> R:
    if reply.status in accepted:
        try:
            return answer.validate_python(json.loads(reply.body, object_pairs_hook=_folded))
        except (ValueError, RecursionError):  # what they say of it could hold an identity
            raise _Failed("unreadable answer", RegistryProtocolError, may_pass=True) from None
    if reply.status in _MAY_PASS or reply.status >= 500:
        pause = retry_after(reply.retry_after, datetime.now(UTC))
        raise _Failed(str(reply.status), may_pass=reply.status in _MAY_PASS, retry_after=pause)
    raise _Failed(str(reply.status), RegistryRejected)


def _folded(members: list[tuple[str, object]]) -> dict[str, object]:
    return {name.lower(): value for name, value in members}
