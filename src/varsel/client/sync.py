"""The client for programs that wait: over the standard library's HTTP, without any dependency."""

import http.client
import select
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult
from uuid import UUID

from varsel.client.address import USER_AGENT, base_of
from varsel.client.answers import Cancellation, FeedEntry, OrderReceipt, Preview, Shipment
from varsel.client.calls import Calls
from varsel.client.errors import untrusted
from varsel.client.exchange import MAX_ANSWER_BYTES, Lost, Pause, Reply, Request, Steps
from varsel.client.orders import ComposedEmail, InstantEmail, InstantSms, OrderChain
from varsel.client.repeat import Clock

T = TypeVar("T")

_CHUNK: Final = 65_536
_MINUTE: Final = timedelta(minutes=1)


class Varsel:
    """A Varsel service, as one creator sees it. May be used by several threads; `close` it, or use `with`.

    `url`: as `https://notify.example`, what comes before `/notifications`. `token`: a bearer token; or a function that
    gives one and is asked before every request, for tokens that are renewed. `within`: for each call, with all its
    repeats. `context`: of TLS; by default certificates are checked against the system's authorities.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        within: timedelta = _MINUTE,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._token = token
        self._calls = Calls(Clock(time.monotonic), within.total_seconds())
        self._connections = _Connections(base_of(url), context)

    def order(self, order: OrderChain | Mapping[str, Any]) -> OrderReceipt:
        """Order a message, and its reminders. It is stored when this returns, and only once, however often it is tried.

        A mapping is the API's own JSON. Raises `NobodyReachable` when somebody who must be looked up has no address.
        """
        return self._run(self._calls.order(order))

    def order_composed(self, order: ComposedEmail) -> OrderReceipt:
        """Order an email with attachments."""
        return self._run(self._calls.order(order))

    def send_now(self, message: InstantSms | InstantEmail) -> OrderReceipt:
        """Send a message while you wait: when this returns, the provider has it, or will never. It leaves once."""
        return self._run(self._calls.order(message))

    def preview(self, order: OrderChain | Mapping[str, Any]) -> Preview:
        """What an order would do: who is reached, how, and what it says. Nothing is stored."""
        return self._run(self._calls.preview(order))

    def cancel(self, shipment: UUID | str) -> None:
        """Cancel one order. Twice does no harm; raises `Conflict` when it is too late."""
        self._run(self._calls.cancel(shipment))

    def cancel_all(self, senders_reference: str) -> Cancellation:
        """Cancel every order with a reference, reminders too, that is not too late."""
        return self._run(self._calls.cancel_all(senders_reference))

    def shipment(self, shipment: UUID | str) -> Shipment:
        """An order of any kind, and each of its messages as it stands now."""
        return self._run(self._calls.shipment(shipment))

    def wait_for_fate(
        self,
        shipment: UUID | str,
        *,
        within: timedelta = _MINUTE,
        on_change: Callable[[Shipment], None] | None = None,
    ) -> Shipment:
        """The shipment once it has ended; raises `NotEnded` after `within`. `on_change` hears how it stands meanwhile.

        For programs that follow many orders there is the feed.
        """
        return self._run(self._calls.wait_for_fate(shipment, within.total_seconds(), on_change))

    def feed(self, after: int = 0, *, follow: bool = False) -> Iterator[FeedEntry]:
        """Every order of yours that has ended, after a sequence number, each once and in order.

        Keep the `sequence_number` of the last entry that you are done with, and begin there after a restart. With
        `follow` it never ends: it waits for what comes, and through times in which the service is away.
        """
        while True:
            page = self._run(self._calls.feed_page(after, follow=follow))
            for entry in page:
                yield entry
                after = entry.sequence_number
            if not page and not follow:
                return

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of a route that has no method here. Only for what may be repeated: it is, when answers are lost."""
        return self._run(self._calls.call(method, path, body))

    def close(self) -> None:
        self._connections.close()

    def __enter__(self) -> "Varsel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        result: Reply | Lost | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                found: T = end.value
                return found
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                result = None
            else:
                token = self._token if isinstance(self._token, str) else self._token()
                result = self._connections.send(step, token)


class _Connections:
    """Open connections that nobody uses at the moment are kept for the next request."""

    def __init__(self, base: SplitResult, context: ssl.SSLContext | None) -> None:
        self._base = base
        self._context = context or (ssl.create_default_context() if base.scheme == "https" else None)
        self._idle: list[http.client.HTTPConnection] = []

    def send(self, request: Request, token: str) -> Reply | Lost:
        deadline, sent = time.monotonic() + request.patience, False
        connection = self._take()
        try:
            connection.timeout = request.patience
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(request.patience)
            sent = True
            connection.request(request.method, self._base.path + request.path, request.body, _headers(request, token))
            reply = _reply(connection, deadline)
        except ssl.SSLCertVerificationError as e:
            connection.close()
            raise untrusted(self._base.geturl(), e) from None
        except (OSError, http.client.HTTPException) as e:
            connection.close()
            return Lost(_why(self._base, e), sent)
        except BaseException:  # whatever is left of the answer is not the next one's
            connection.close()
            raise
        self._idle.append(connection)
        return reply

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> http.client.HTTPConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()  # the service has closed it
        host, port = self._base.hostname or "", self._base.port
        if self._base.scheme == "https":
            return http.client.HTTPSConnection(host, port, context=self._context)
        return http.client.HTTPConnection(host, port)


def _headers(request: Request, token: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": USER_AGENT}
    return headers | ({"Content-Type": "application/json"} if request.body is not None else {})


def _reply(connection: http.client.HTTPConnection, deadline: float) -> Reply:
    response = connection.getresponse()
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException("the answer is too long")
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    response.close()  # and the connection is free for the next request
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, bytes(content))


def _why(base: SplitResult, error: Exception) -> str:
    return f"{base.scheme}://{base.netloc} does not answer: {str(error) or type(error).__name__}"
