"""The client for programs with an event loop, over aiohttp."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, TypeVar
from uuid import UUID

import aiohttp

from varsel.client.address import USER_AGENT, base_of
from varsel.client.answers import Cancellation, FeedEntry, OrderReceipt, Preview, Shipment
from varsel.client.calls import Calls
from varsel.client.errors import untrusted
from varsel.client.exchange import MAX_ANSWER_BYTES, Lost, Pause, Reply, Request, Steps
from varsel.client.orders import ComposedEmail, InstantEmail, InstantSms, OrderChain
from varsel.client.repeat import Clock

T = TypeVar("T")

_MINUTE: Final = timedelta(minutes=1)


class AsyncVarsel:
    """As `Varsel`, awaited. Belongs to one event loop; `await close()`, or use `async with`.

    `token` may also be an `async` function.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str | Awaitable[str]],
        *,
        within: timedelta = _MINUTE,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._base = base_of(url).geturl()
        self._token = token
        self._context = context
        self._calls = Calls(Clock(time.monotonic), within.total_seconds())
        self._http: aiohttp.ClientSession | None = None

    async def order(self, order: OrderChain | Mapping[str, Any]) -> OrderReceipt:
        """Order a message, and its reminders. It is stored when this returns, and only once, however often it is tried.

        A mapping is the API's own JSON. Raises `NobodyReachable` when somebody who must be looked up has no address.
        """
        return await self._run(self._calls.order(order))

    async def order_composed(self, order: ComposedEmail) -> OrderReceipt:
        """Order an email with attachments."""
        return await self._run(self._calls.order(order))

    async def send_now(self, message: InstantSms | InstantEmail) -> OrderReceipt:
        """Send a message while you wait: when this returns, the provider has it, or will never. It leaves once."""
        return await self._run(self._calls.order(message))

    async def preview(self, order: OrderChain | Mapping[str, Any]) -> Preview:
        """What an order would do: who is reached, how, and what it says. Nothing is stored."""
        return await self._run(self._calls.preview(order))

    async def cancel(self, shipment: UUID | str) -> None:
        """Cancel one order. Twice does no harm; raises `Conflict` when it is too late."""
        await self._run(self._calls.cancel(shipment))

    async def cancel_all(self, senders_reference: str) -> Cancellation:
        """Cancel every order with a reference, reminders too, that is not too late."""
        return await self._run(self._calls.cancel_all(senders_reference))

    async def shipment(self, shipment: UUID | str) -> Shipment:
        """An order of any kind, and each of its messages as it stands now."""
        return await self._run(self._calls.shipment(shipment))

    async def wait_for_fate(
        self,
        shipment: UUID | str,
        *,
        within: timedelta = _MINUTE,
        on_change: Callable[[Shipment], None] | None = None,
    ) -> Shipment:
        """The shipment once it has ended; raises `NotEnded` after `within`. `on_change` hears how it stands meanwhile.

        For programs that follow many orders there is the feed.
        """
        return await self._run(self._calls.wait_for_fate(shipment, within.total_seconds(), on_change))

    async def feed(self, after: int = 0, *, follow: bool = False) -> AsyncIterator[FeedEntry]:
        """Every order of yours that has ended, after a sequence number, each once and in order.

        Keep the `sequence_number` of the last entry that you are done with, and begin there after a restart. With
        `follow` it never ends: it waits for what comes, and through times in which the service is away.
        """
        while True:
            page = await self._run(self._calls.feed_page(after, follow=follow))
            for entry in page:
                yield entry
                after = entry.sequence_number
            if not page and not follow:
                return

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of a route that has no method here. Only for what may be repeated: it is, when answers are lost."""
        return await self._run(self._calls.call(method, path, body))

    async def close(self) -> None:
        if self._http:
            await self._http.close()
            self._http = None

    async def __aenter__(self) -> "AsyncVarsel":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        result: Reply | Lost | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                found: T = end.value
                return found
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                result = None
            else:
                result = await self._send(step, await self._ask_for_token())

    async def _ask_for_token(self) -> str:
        given = self._token if isinstance(self._token, str) else self._token()
        return await given if isawaitable(given) else given

    async def _send(self, request: Request, token: str) -> Reply | Lost:
        if self._http is None:
            connector = aiohttp.TCPConnector(ssl=self._context or True)
            self._http = aiohttp.ClientSession(connector=connector, headers={"User-Agent": USER_AGENT})
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        headers |= {"Content-Type": "application/json"} if request.body is not None else {}
        timeout = aiohttp.ClientTimeout(total=request.patience)
        try:
            async with self._http.request(
                request.method,
                self._base + request.path,
                data=request.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                content = bytearray()
                async for chunk in answer.content.iter_any():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        return Lost("the answer is too long", sent=True)
                found = {name.lower(): value for name, value in answer.headers.items()}
                return Reply(answer.status, found, bytes(content))
        except aiohttp.ClientConnectorCertificateError as e:
            raise untrusted(self._base, e.certificate_error) from None
        except aiohttp.ClientConnectorError as e:
            return Lost(f"{self._base} does not answer: {e.strerror or type(e).__name__}", sent=False)
        except (aiohttp.ClientError, OSError) as e:  # time-outs are the latter
            return Lost(f"{self._base} does not answer: {str(e) or type(e).__name__}", sent=True)
