"""The lookup explorer: how would this recipient be reached today, from which register, and how old is that?

The answer is that of the road itself: a dry run of an order for each choice of channel, which stores and sends nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.domain.errors import RegistryUnavailable
from varsel.domain.external_identity import parse_external_identity
from varsel.domain.ids import OrderId, uuid7
from varsel.domain.order import EmailTemplate, Order, OrderChannel, OrderKind, Recipient, SendingTime, SmsTemplate
from varsel.preview.outcome import Message
from varsel.recipients.profile.known import Known, find
from varsel.recipients.schemes import identifiers_of
from varsel.ui.access import Role, Who, audit
from varsel.ui.access_store import About
from varsel.ui.masking import Covered, Masks
from varsel.ui.parts import UiParts
from varsel.ui.search import RECIPIENTS, who_is

PATH: Final = "/ui/lookup"

_LONGEST: Final = 300
_CHOICES: Final = (
    OrderChannel.EMAIL,
    OrderChannel.SMS,
    OrderChannel.EMAIL_PREFERRED,
    OrderChannel.SMS_PREFERRED,
    OrderChannel.EMAIL_AND_SMS,
)


@dataclass(frozen=True, slots=True)
class Way:
    """A message that an order with this choice of channel would lead to."""

    message: Message
    to: Covered


@dataclass(frozen=True, slots=True)
class Choice:
    channel: OrderChannel
    ways: tuple[Way, ...]

    @property
    def reached(self) -> bool:
        return any(way.message.leaves for way in self.ways)


@dataclass(frozen=True, slots=True)
class Found:
    """`shown`: whom it is about. `handle`: of their page; None for who has none."""

    shown: Covered
    kind: str
    known: Known | None
    choices: list[Choice]
    handle: str | None

    @property
    def reached(self) -> bool:
        return any(choice.reached for choice in self.choices)


class Lookup:
    """The page with its form, and the answer to it."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._masks = Masks(parts.settings.sandbox.enabled)
        self._identifiers = identifiers_of(parts.settings.registry)

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [access.page(PATH, self.ask, Role.CASEWORKER), access.act(PATH, self.look_up, Role.CASEWORKER)]

    async def ask(self, request: Request, who: Who) -> Response:
        return self._page(request, who)

    async def look_up(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        resource = form.get("resource", "").strip()[:_LONGEST]
        if handle := form.get("handle"):
            about: About | None = await self._parts.access.open(who, handle)
            asked = about.key if about else ""
        else:
            asked = form.get("q", "").strip()[:_LONGEST]
            about = who_is(asked, self._identifiers)
        recipient = recipient_of(about, asked)
        if recipient is None:
            return self._page(request, who, resource=resource, trouble="unreadable", status=422)
        await self._write_down(who, about)
        try:
            found = await self._found(who, about, asked, recipient, resource)
        except RegistryUnavailable:
            return self._page(request, who, resource=resource, trouble="down", status=503)
        return self._page(request, who, found=found, resource=resource)

    async def _write_down(self, who: Who, about: About | None) -> None:
        async with self._parts.db.autocommit() as conn:
            await audit(conn, who, "lookup", creator=who.creator, about=about)

    async def _found(self, who: Who, about: About | None, asked: str, recipient: Recipient, resource: str) -> Found:
        known = None
        if recipient.identifier:
            key = about.key if about else asked
            now = self._parts.clock.now()
            (known,) = await find(
                self._parts.directory, [key], self._identifiers, resource_id=resource or None, now=now
            )
        choices = [await self._choice(who, recipient, channel, resource) for channel in _CHOICES]
        handle = await self._parts.access.handle(who, about) if about else None
        shown = self._masks.about(about) if about else self._masks.identity(asked.rpartition(":")[2])
        return Found(shown, about.kind if about else "external", known, choices, handle)

    async def _choice(self, who: Who, recipient: Recipient, channel: OrderChannel, resource: str) -> Choice:
        now = self._parts.clock.now()
        order = Order(
            id=OrderId(uuid7()),
            creator=who.creator or "lookup",
            kind=OrderKind.NOTIFICATION,
            channel=channel,
            created=now,
            requested_send_time=now,
            recipients=(recipient,),
            email=EmailTemplate("noreply@example.com", "-", "-"),
            sms=SmsTemplate("Varsel", "-"),
            sending_time=SendingTime.ANYTIME,
            resource_id=resource or None,
        )
        preview = await self._parts.previewer.preview(order)
        messages: Sequence[Message] = [m for each in preview.recipients for m in each.messages]
        return Choice(channel, tuple(Way(m, self._masks.address(m.address)) for m in messages))

    def _page(
        self,
        request: Request,
        who: Who,
        *,
        found: Found | None = None,
        resource: str = "",
        trouble: str = "",
        status: int = 200,
    ) -> Response:
        return self._parts.pages.render(
            request,
            "lookup.html",
            now=self._parts.clock.now(),
            status=status,
            who=who,
            found=found,
            resource=resource,
            trouble=trouble,
            recipients=RECIPIENTS,
        )


def recipient_of(about: About | None, asked: str) -> Recipient | None:
    """None for what names nobody."""
    match about:
        case About("person", key):
            return Recipient(national_identity_number=key)
        case About("organisation", key):
            return Recipient(organisation_number=key)
        case About(_, key):
            return Recipient(email=key) if "@" in key else Recipient(mobile=key)
        case None:
            return Recipient(external_identity=asked) if parse_external_identity(asked) else None
