"""What the routes of delivery reports share: bounded bodies, limits, and storing before the answer (channels 5.1)."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from varsel.api.pace import Pace
from varsel.delivery.ports import Report
from varsel.domain.errors import Unavailable
from varsel.log import Log
from varsel.providers.kind import StoreReports

log = Log(__name__)

_FAILED_LOGINS: Final = 10
_FAILED_WITHIN: Final = timedelta(minutes=1)
_RETRY_SECONDS: Final = 5


class Refused(Exception):
    """The request ends with this answer."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.response: Response = PlainTextResponse(text, status, headers)


class Limits:
    """How often one provider may report, and how often one peer may fail to log in, to this process.

    Failed logins are told 429 instead of 401, and nobody else is held back by them: behind a proxy all have one peer.
    """

    def __init__(self, per_second: int = 200, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: machine time in seconds."""
        self._reports = Pace(per_second, timedelta(seconds=1), now)
        self._failures = Pace(_FAILED_LOGINS, _FAILED_WITHIN, now)
        self._exceeded: set[str] = set()

    def count(self, provider: str) -> None:
        """One more request that `provider` itself has sent. Raises `Refused` when there are too many."""
        if self._reports.take(provider) is None:
            self._exceeded.discard(provider)
            return
        if provider not in self._exceeded:
            self._exceeded.add(provider)
            log.warning("delivery reports come too fast", provider=provider)
        raise Refused(429, "Too many reports.", {"Retry-After": "1"})

    def count_failure(self, request: Request) -> None:
        """One more failed login of the request's peer. Raises `Refused` when there were too many."""
        if wait := self._failures.take(peer_of(request)):
            seconds = str(-(-wait // timedelta(seconds=1)))
            raise Refused(429, "Too many failed logins.", {"Retry-After": seconds})


def peer_of(request: Request) -> str:
    return request.client.host if request.client else ""


def refuse_compressed(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "The body must not be compressed.")


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Stops reading at the limit, whether or not a length was announced."""
    too_large = Refused(413, f"The body must not be larger than {max_bytes} bytes.", {"Connection": "close"})
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:20]) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


async def keep(store: StoreReports, reports: Sequence[Report]) -> None:
    """Returns when they are committed. Raises `Refused` when they could not be stored: the provider comes again."""
    try:
        await store(reports)
    except Unavailable as error:
        pause = int(error.retry_after.total_seconds()) if error.retry_after else _RETRY_SECONDS
        raise Refused(503, "The reports could not be stored.", {"Retry-After": str(pause)}) from error
