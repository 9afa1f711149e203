"""A user shows that an address is theirs, by a code that Varsel itself sends there (registries 4.3)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.address import normalise_mobile
from varsel.domain.errors import Unavailable
from varsel.domain.ids import ChainId, OrderId, uuid7
from varsel.domain.order import (
    Chain,
    ContentType,
    EmailTemplate,
    Order,
    OrderChannel,
    OrderFamily,
    OrderKind,
    Recipient,
    SendingTime,
    SmsTemplate,
)
from varsel.log import Log
from varsel.recipients.profile import codes, store
from varsel.recipients.profile.values import AddressKind, Standing, comparable
from varsel.settings import CodeTexts, ProfileSettings, SenderSettings

log = Log(__name__)

Place = Callable[[Chain, Order, timedelta | None], Awaitable[object]]
"""`Instants.place`. Raises `Unavailable` when the message surely did not leave."""

_PLACEHOLDER: Final = "$code$"
_SMS_LIFE: Final = timedelta(seconds=900)
_CHANNELS: Final = {AddressKind.EMAIL: OrderChannel.EMAIL, AddressKind.SMS: OrderChannel.SMS}
_YEAR_1: Final = datetime(1, 1, 1, tzinfo=UTC)
_TICKS_PER_MICROSECOND: Final = 10


class Sent(Enum):
    """What became of the wish for a code, when no other must be waited for."""

    SENT = auto()
    ALREADY_VERIFIED = auto()
    NOT_ORDERED = auto()  # the code is there, and its message is not: a new one may be asked for after the cool-down


@dataclass(frozen=True, slots=True)
class TooSoon:
    """A code was sent to this address a moment ago."""

    retry_after: timedelta


class Verification:
    def __init__(
        self, db: Database, clock: Clock, settings: ProfileSettings, senders: SenderSettings, place: Place
    ) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._senders = senders
        self._place = place

    async def verified(self, user: int) -> list[tuple[AddressKind, str]]:
        async with self._db.reading() as conn:
            found = await store.standings(conn, user)
        return [key for key, standing in found.items() if standing is Standing.VERIFIED]

    async def send(self, user: int, kind: AddressKind, address: str) -> Sent | TooSoon:
        """Send a new code, which replaces an older one. `address` of the right form."""
        wanted = comparable(address)
        async with self._db.reading() as conn:
            if (await store.standings(conn, user)).get((kind, wanted)) is Standing.VERIFIED:
                return Sent.ALREADY_VERIFIED
            language = (await store.preferences(conn, user)).language
        code, now = codes.new_code(), self._clock.now()
        code_hash = await asyncio.to_thread(codes.hash_code, code)
        settings = self._settings
        async with self._db.autocommit() as conn:
            stored = await store.new_code(
                conn,
                user,
                kind,
                wanted,
                code_hash,
                lifetime=settings.code_lifetime,
                cooldown=settings.code_cooldown,
                now=now,
            )
            if not stored:
                created = await store.code_created_at(conn, user, kind, wanted) or now
                return TooSoon(max(created + settings.code_cooldown - now, timedelta(seconds=1)))
        return await self._order(user, kind, address.strip(), code, language, now)

    async def verify(self, user: int, kind: AddressKind, address: str, code: str) -> bool:
        """Whether the code is the live one. Then the address is verified, and the code is gone."""
        wanted = comparable(address)
        attempts, now = self._settings.code_max_attempts, self._clock.now()
        async with self._db.autocommit() as conn:
            code_hash = await store.try_code(conn, user, kind, wanted, max_attempts=attempts, now=now)
        if code_hash is None or not await asyncio.to_thread(codes.fits, code, code_hash):
            return False
        async with self._db.autocommit() as conn:
            return await store.use_code(conn, user, kind, wanted, code_hash, now=now)

    async def _order(
        self, user: int, kind: AddressKind, address: str, code: str, language: str | None, now: datetime
    ) -> Sent:
        creator = self._settings.creator
        chain = Chain(ChainId(uuid7()), creator, str(uuid7()), OrderFamily.INSTANT, request_hash=b"")  # never repeated
        ticks = (now - _YEAR_1) // timedelta(microseconds=1) * _TICKS_PER_MICROSECOND
        texts = self._texts(language)
        order = Order(
            id=OrderId(uuid7()),
            creator=creator,
            chain=chain.id,
            kind=OrderKind.INSTANT,
            channel=_CHANNELS[kind],
            created=now,
            requested_send_time=now,
            recipients=(_recipient(kind, address),),
            email=self._email(texts, code) if kind is AddressKind.EMAIL else None,
            sms=self._sms(texts, code) if kind is AddressKind.SMS else None,
            senders_reference=f"profile-{user}-{kind}-{ticks}",
            sending_time=SendingTime.ANYTIME,
        )
        try:
            await self._place(chain, order, _SMS_LIFE if kind is AddressKind.SMS else None)
        except Unavailable as e:
            log.error("verification code not sent", kind=kind, what=e.what)
            return Sent.NOT_ORDERED
        return Sent.SENT

    def _email(self, texts: CodeTexts, code: str) -> EmailTemplate:
        body = texts.email.replace(_PLACEHOLDER, code)
        return EmailTemplate(self._senders.default_email, texts.subject, body, ContentType.HTML)

    def _sms(self, texts: CodeTexts, code: str) -> SmsTemplate:
        return SmsTemplate(self._senders.default_sms, texts.sms.replace(_PLACEHOLDER, code))

    def _texts(self, language: str | None) -> CodeTexts:
        """Of the user's language. Bokmål for those that have no texts."""
        return {"nn": self._settings.nn, "en": self._settings.en}.get(language or "", self._settings.nb)


def _recipient(kind: AddressKind, address: str) -> Recipient:
    return Recipient(email=address) if kind is AddressKind.EMAIL else Recipient(mobile=normalise_mobile(address))
