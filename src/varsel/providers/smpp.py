"""SMS through an SMSC that speaks SMPP 3.4 (channels 3.4, 4.4.3): binds that stay, and receipts that come on them.

The parts of a message are submitted in order, each after the answer to the one before.
"""

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Indeterminate,
    Parts,
    Refused,
    SendResult,
    Sms,
    Unknown,
)
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Reason
from varsel.domain.sms_text import clean, segment
from varsel.log import Log
from varsel.providers.causes import CAUSES
from varsel.providers.kind import Kind, Tools
from varsel.providers.smpp_bind import KeptBind, ReceiptDesk
from varsel.providers.smpp_message import Concat, bodies, segments_of
from varsel.providers.smpp_receipts import IdFormat, submitted_reference
from varsel.providers.smpp_session import NoAnswer, NotSent, Session, Timing, open_session
from varsel.providers.smpp_status import RESUBMITTED, Judge, is_sender_refused
from varsel.providers.smtp_session import is_loopback
from varsel.settings import ProviderSettings
from varsel.smpp.pdu import Bind, Status

log = Log(__name__)

_PART_PAUSES: Final = (0.5, 1, 2, 4)  # seconds before a later part is tried again that the SMSC would not take now
_MOST_SUBMITS: Final = 3  # of a message that fails inside the SMSC
_REMEMBERED: Final = 1_000  # such messages
_REBIND: Final = frozenset({Status.WRONG_BIND_STATE, Status.ALREADY_BOUND})


def _cause(name: str) -> str:
    if name not in CAUSES:
        raise ValueError(f"there is no cause {name!r}; there are: {', '.join(CAUSES)}")
    return name


CauseName = Annotated[str, AfterValidator(_cause)]
StatusName = Annotated[str, Field(pattern=r"^0x[0-9A-Fa-f]{1,8}$")]


class SmppProviderSettings(ProviderSettings):
    type: Literal["smpp"] = "smpp"
    channel: Literal["sms"] = "sms"
    host: str
    port: int = Field(ge=1, le=65535)
    tls: Literal["implicit", "none"] = "implicit"
    trusted_network: bool = False  # allows tls = "none" beyond loopback: a private line
    verify_certificate: bool = True
    system_id: str
    password: SecretStr
    system_type: str = ""
    binds: int = Field(default=1, ge=1, le=10)  # of one process
    window: int = Field(default=10, ge=1, le=100)  # submits of one bind that may wait for their answers
    concat: Concat = "udh"
    max_segments: int = Field(default=16, ge=1, le=255)  # of one SMS
    receipts: bool = True  # ask for them; false: arrival cannot be confirmed
    receipt_id_format: IdFormat = "same"
    error_causes: dict[str, CauseName] = Field(default={})  # error code of a receipt → why it is undelivered
    vendor_statuses: dict[StatusName, CauseName] = Field(default={})  # "0x401" → why it is refused; others: try again
    bind_timeout: timedelta = timedelta(seconds=10)
    answer_timeout: timedelta = timedelta(seconds=30)
    enquire_link: timedelta = timedelta(seconds=30)  # of silence; then we ask whether the SMSC is there

    def carries(self, text: str) -> bool:
        return segments_of(text, self.concat) <= self.max_segments

    @model_validator(mode="after")
    def _safe_and_fitting(self) -> "SmppProviderSettings":
        if self.tls == "none" and not (self.trusted_network or is_loopback(self.host)):
            raise ValueError('tls = "none" needs a loopback host or trusted_network')
        self.bind_pdu().to_bytes()
        return self

    def bind_pdu(self) -> Bind:
        return Bind(self.system_id, self.password.get_secret_value(), self.system_type)

    def unfit_for_production(self) -> Sequence[str]:
        return () if self.verify_certificate else ("verify_certificate = false",)


class SmppProvider:
    """One account. Nothing is connected before `start` or the first message."""

    max_batch = 1

    def __init__(
        self, settings: SmppProviderSettings, tools: Tools, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`monotonic`: machine time in seconds."""
        self.name = settings.name
        self.step = settings.binds * settings.window
        self.confirms = Confirms.ARRIVAL if settings.receipts else Confirms.NOTHING
        self.on_indeterminate = Indeterminate(settings.on_indeterminate)
        self._settings = settings
        self._clock = tools.clock
        self._desk = ReceiptDesk(
            settings.name, tools.store, id_format=settings.receipt_id_format, error_causes=settings.error_causes
        )
        self._tls = _tls_context(settings)
        self._timing = Timing(
            connect=settings.bind_timeout,
            bind=settings.bind_timeout,
            answer=settings.answer_timeout,
            silence=settings.enquire_link,
            enquiry=settings.bind_timeout,
        )
        vendor = {int(status, 16): cause for status, cause in settings.vendor_statuses.items()}
        self._judge = Judge(vendor, monotonic)
        self._binds = [KeptBind(settings.name, self._open) for _ in range(settings.binds)]
        self._failed: OrderedDict[NotificationId, int] = OrderedDict()

    def start(self) -> None:
        """Bind, and stay bound: receipts come although nothing is sent."""
        for bind in self._binds:
            bind.start()

    async def send(self, batch: Sequence[Sms]) -> list[SendResult]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(sms)) for sms in batch]
        return [task.result() for task in tasks]

    async def close(self) -> None:
        await asyncio.gather(*(bind.close() for bind in self._binds))
        await self._desk.close()

    async def _open(self) -> Session:
        settings = self._settings
        return await open_session(
            settings.host,
            settings.port,
            settings.bind_pdu(),
            self._desk.take,
            tls=self._tls,
            timing=self._timing,
            window=settings.window,
        )

    async def _send(self, sms: Sms) -> SendResult:
        settings = self._settings
        parts = bodies(
            sms,
            concat=settings.concat,
            max_segments=settings.max_segments,
            receipts=settings.receipts,
            now=self._clock.now(),
        )
        if isinstance(parts, Refused):
            return parts
        taken: list[str] = []
        for body in parts:
            result = await self._submit_part(sms, body, later=bool(taken))
            if not isinstance(result, str):
                return _ended(result, taken, len(parts))
            taken.append(result)
        return _accepted(taken, sms)

    async def _submit_part(self, sms: Sms, body: bytes, *, later: bool) -> str | Refused | Deferred | Unknown:
        """Its message id. A later part is tried a few times: the first cannot be taken back."""
        result = await self._submit(sms, body)
        for pause in _PART_PAUSES if later else ():
            if not isinstance(result, Deferred):
                break
            await asyncio.sleep(pause)
            result = await self._submit(sms, body)
        return result

    async def _submit(self, sms: Sms, body: bytes) -> str | Refused | Deferred | Unknown:
        session = await self._session()
        if isinstance(session, Deferred):
            return session
        try:
            status, message_id = await session.submit(body)
        except NotSent:
            return Deferred("the session was lost", Blame.PROVIDER)
        except NoAnswer:
            return Unknown("the SMSC did not answer")
        if status == Status.OK:
            self._judge.accepted()
            return submitted_reference(message_id, self._settings.receipt_id_format)
        if status in _REBIND:
            await session.close()
        if is_sender_refused(status):
            log.warning("gateway refuses the sender", provider=self.name)
        if status == RESUBMITTED and self._failed_too_often(sms.id):
            return Refused(Reason.UNSPECIFIED, f"the gateway answered {status:#04x} again and again")
        return self._judge.verdict(status)

    async def _session(self) -> Session | Deferred:
        """The least busy one; if there is none, what becomes of the attempts that are under way."""
        if bound := [session for bind in self._binds if (session := bind.session)]:
            return min(bound, key=lambda session: session.unanswered)
        tried = await asyncio.gather(*(bind.bound() for bind in self._binds))
        return next((found for found in tried if isinstance(found, Session)), tried[0])

    def _failed_too_often(self, id_: NotificationId) -> bool:
        """Counts one more."""
        times = self._failed.pop(id_, 0) + 1
        if times >= _MOST_SUBMITS:
            return True
        self._failed[id_] = times
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)
        return False


def _accepted(taken: Sequence[str], sms: Sms) -> Accepted:
    if not all(taken):
        return Accepted(None, "without a reference: no report can follow", len(taken), silent=True)
    if len(taken) == 1:
        return Accepted(taken[0], segments=len(segment(clean(sms.text)).parts))  # a payload is cut by the SMSC
    return Accepted(None, segments=len(taken), parts=Parts(tuple(taken), len(taken)))


def _ended(result: Refused | Deferred | Unknown, taken: Sequence[str], count: int) -> SendResult:
    """What becomes of a message whose next part was not taken."""
    if not taken:
        return result
    parts, detail = Parts(tuple(taken), count), f"part {len(taken) + 1} of {count}: {result.detail}"
    if isinstance(result, Refused):
        return replace(result, detail=detail, parts=parts)
    return Unknown(detail, parts)  # some parts have left


def _tls_context(settings: SmppProviderSettings) -> ssl.SSLContext | None:
    if settings.tls == "none":
        return None
    context = ssl.create_default_context()
    if not settings.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


PROVIDER: Final = Kind(SmppProviderSettings, SmppProvider)
