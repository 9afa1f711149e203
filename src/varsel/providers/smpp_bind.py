"""A bind that is made again whenever it is lost, and the desk where receipts are stored before they are answered."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Final

from varsel.delivery.ports import Blame, Deferred, Report
from varsel.domain.errors import Unavailable
from varsel.log import Log
from varsel.providers.kind import StoreReports
from varsel.providers.smpp_receipts import IdFormat, is_receipt, report_of
from varsel.providers.smpp_session import BindRefused, NoAnswer, NotSent, Session
from varsel.smpp.pdu import Message, Status

log = Log(__name__)

_BACK_OFF: Final = (1, 2, 5, 10, 30, 60)  # seconds before a bind is tried again, by failures in a row
_JITTER: Final = 0.2
_STORED_AT_ONCE: Final = 500
_CREDENTIALS: Final = frozenset({Status.BIND_FAILED, Status.INVALID_PASSWORD, Status.INVALID_SYSTEM_ID})


class KeptBind:
    """`open_`: makes a session, or raises what `open_session` does. Nothing is done before it is wanted."""

    def __init__(self, provider: str, open_: Callable[[], Awaitable[Session]]) -> None:
        self._provider = provider
        self._open = open_
        self._dice = Random()  # noqa: S311 - spreads attempts, guards nothing
        self._session: Session | None = None
        self._problem = Deferred("not bound yet", Blame.PROVIDER)
        self._tried = asyncio.Event()  # unset while an attempt is under way
        self._task: asyncio.Task[None] | None = None
        self._lasting = False
        self._wanted = 0  # by so many messages

    def start(self) -> None:
        """Bind, and stay bound, although there is nothing to send. On the running loop."""
        self._lasting = True
        self._begin()

    @property
    def session(self) -> Session | None:
        """One that is bound at this moment."""
        return self._session if self._session and not self._session.closed.is_set() else None

    async def bound(self) -> Session | Deferred:
        """A session, once an attempt that is under way has ended; or why there is none."""
        self._begin()
        self._wanted += 1
        try:
            if self.session is None:
                await self._tried.wait()
        except asyncio.CancelledError:
            if self._wanted == 1 and not self._lasting:
                await self.close()  # nobody else waits for this attempt
            raise
        finally:
            self._wanted -= 1
        return self.session or self._problem

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        session, self._session = self._session, None
        if session is not None:
            await session.leave()

    def _begin(self) -> None:
        if self._task is None:
            self._tried.clear()
            self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                self._session = await self._open()
            except (BindRefused, NoAnswer, NotSent, OSError) as error:
                self._problem = _problem(error)
                log.warning("smpp bind failed", provider=self._provider, why=self._problem.detail)
            else:
                log.info("smpp bound", provider=self._provider)
                failures = 0
                self._tried.set()
                await self._session.closed.wait()
                await self._session.close()
                self._problem = Deferred("the session was lost", Blame.PROVIDER)
                log.warning("smpp session lost", provider=self._provider)
            self._tried.set()
            wait = _BACK_OFF[min(failures, len(_BACK_OFF) - 1)]
            failures += 1
            await asyncio.sleep(wait * self._dice.uniform(1 - _JITTER, 1 + _JITTER))
            self._tried.clear()


def _problem(error: BindRefused | NoAnswer | NotSent | OSError) -> Deferred:
    match error:
        case BindRefused(status=status):
            blame = Blame.FAULT if status in _CREDENTIALS else Blame.PROVIDER
            return Deferred(f"the SMSC refused the bind: {status:#04x}", blame)
        case ssl.SSLCertVerificationError():
            return Deferred("the SMSC's certificate is not trusted", Blame.FAULT)
        case _:
            return Deferred("no connection to the SMSC", Blame.PROVIDER)


class ReceiptDesk:
    """Receipts that come while others are being stored go with the next ones."""

    def __init__(
        self, provider: str, store: StoreReports, *, id_format: IdFormat, error_causes: Mapping[str, str]
    ) -> None:
        self._provider = provider
        self._store = store
        self._id_format: IdFormat = id_format
        self._error_causes = error_causes
        self._waiting: list[tuple[Report, asyncio.Future[int]]] = []
        self._task: asyncio.Task[None] | None = None

    async def take(self, message: Message) -> int:
        """The status to answer with. What is no receipt is taken and forgotten: nobody reads what people write back."""
        if not is_receipt(message):
            return Status.OK
        report = report_of(self._provider, message, id_format=self._id_format, error_causes=self._error_causes)
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, stored))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await stored

    async def close(self) -> None:
        """What waits is stored first; its sender may no longer hear of it."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_STORED_AT_ONCE], self._waiting[_STORED_AT_ONCE:]
            status = await self._stored([report for report, _ in batch])
            for _, stored in batch:
                if not stored.done():  # its session may be gone
                    stored.set_result(status)

    async def _stored(self, reports: list[Report]) -> int:
        try:
            await self._store(reports)
        except Unavailable:
            log.warning("receipts not stored", provider=self._provider, count=len(reports))
        except Exception as error:  # noqa: BLE001 - a bug of ours: the SMSC keeps them
            log.error("receipt intake failed", exc=error, provider=self._provider)
        else:
            return Status.OK
        return Status.TEMPORARY_APPLICATION_ERROR
