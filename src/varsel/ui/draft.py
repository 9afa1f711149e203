"""Pure: an order as somebody writes it in a form, what is wrong with it, and the order chain that it becomes.

Rules are those of the v2 orders (http-api 7 and 13); whom it goes to may be several, all by one channel.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID, uuid4

from varsel.domain.content import Content, Strictness
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
from varsel.domain.schedule import OSLO
from varsel.domain.schemes import Identifiers
from varsel.domain.sms_text import MAX_LINK_UNITS, clean, fits_link
from varsel.settings import Settings, lists
from varsel.ui.lookup import recipient_of
from varsel.ui.search import who_is

MOST_RECIPIENTS: Final = 500
RESOURCE: Final = "urn:altinn:resource:"

_MOST_DAYS: Final = 365
_LONGEST_LINE: Final = 300
_LONGEST_TEXT: Final = 100_000
MOST_AHEAD: Final = timedelta(days=5 * 366)
_EMAIL: Final = frozenset(OrderChannel) - {OrderChannel.SMS}
_SMS: Final = frozenset(OrderChannel) - {OrderChannel.EMAIL}
_PREFERRED: Final = frozenset({OrderChannel.EMAIL_PREFERRED, OrderChannel.SMS_PREFERRED})
_CHANNELS: Final = {channel.value: channel for channel in OrderChannel}
_NOT_OF_THE_ORDER: Final = frozenset({"form"})


@dataclass(frozen=True, slots=True)
class Draft:
    """What the form holds. `form`: its own id, by which it is sent once. `to`: as written, one recipient each.

    `day` and `clock`: when it shall go, on Norwegian clocks, if `later`. A reminder without a text has the order's.
    """

    form: UUID
    creator: str = ""
    to: tuple[str, ...] = ()
    channel: OrderChannel = OrderChannel.EMAIL_PREFERRED
    subject: str = ""
    body: str = ""
    sms: str = ""
    later: bool = False
    day: str = ""
    clock: str = ""
    falls_back: bool = True
    reference: str = ""
    email_sender: str = ""
    sms_sender: str = ""
    html: bool = False
    anytime: bool = False
    ignore_reservation: bool = False
    stale: bool = False
    resource: str = ""
    reminder_days: str = ""
    reminder_subject: str = ""
    reminder_body: str = ""
    reminder_sms: str = ""

    @property
    def by_email(self) -> bool:
        return self.channel in _EMAIL

    @property
    def by_sms(self) -> bool:
        return self.channel in _SMS

    @property
    def prefers(self) -> bool:
        return self.channel in _PREFERRED

    @property
    def folded(self) -> bool:
        """Whether nothing is chosen of what is folded away."""
        chosen = (self.reference, self.email_sender, self.sms_sender, self.resource)
        return not (any(chosen) or self.html or self.anytime or self.ignore_reservation or self.stale)

    @property
    def reminds(self) -> bool:
        return bool(self.reminder_days or self.reminder_subject or self.reminder_body or self.reminder_sms)

    def fields(self) -> list[tuple[str, str]]:
        """Of a form that says the same."""
        pairs = []
        for name, value in asdict(self).items():
            match value:
                case bool():
                    pairs.append((name, "yes" if value else "no"))
                case tuple():
                    pairs.append((name, "\n".join(value)))
                case _:
                    pairs.append((name, str(value)))
        return pairs


def blank(creator: str | None) -> Draft:
    return Draft(uuid4(), creator or "")


def read_draft(form: Mapping[str, str], creator: str | None) -> Draft:
    """`creator`: the only one that somebody may write for. What no form of ours holds is as if it were not there."""
    given = {name: _text(value) for name, value in form.items()}

    def line(name: str) -> str:
        return " ".join(given.get(name, "").split())[:_LONGEST_LINE]

    def text(name: str) -> str:
        return given.get(name, "")[:_LONGEST_TEXT].strip("\n")

    def chosen(name: str) -> bool:
        return given.get(name) == "yes"

    return Draft(
        form=_uuid(line("form")) or uuid4(),
        creator=creator or line("creator"),
        to=_recipients(given.get("to", ""), given.get("add", ""), line("remove")),
        channel=_CHANNELS.get(line("channel"), OrderChannel.EMAIL_PREFERRED),
        subject=line("subject"),
        body=text("body"),
        sms=text("sms"),
        later=chosen("later"),
        day=line("day"),
        clock=line("clock"),
        falls_back=chosen("falls_back"),
        reference=line("reference"),
        email_sender=line("email_sender"),
        sms_sender=line("sms_sender"),
        html=chosen("html"),
        anytime=chosen("anytime"),
        ignore_reservation=chosen("ignore_reservation"),
        stale=chosen("stale"),
        resource=line("resource"),
        reminder_days=line("reminder_days"),
        reminder_subject=line("reminder_subject"),
        reminder_body=text("reminder_body"),
        reminder_sms=text("reminder_sms"),
    )


def addressed(draft: Draft, identifiers: Identifiers) -> list[Recipient | None]:
    """Whom each line names; None for a line that names nobody."""
    return [recipient_of(who_is(line, identifiers), line) for line in draft.to]


def due(draft: Draft, now: datetime) -> datetime | None:
    """When it shall go; None for what is no date or time."""
    if not draft.later:
        return now
    try:
        local = datetime.combine(date.fromisoformat(draft.day), time.fromisoformat(draft.clock), OSLO)
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def wrong_with(draft: Draft, identifiers: Identifiers, content: Content, now: datetime) -> dict[str, str]:
    """What must be mended before it can be sent: the key of a sentence, by the name of the field, in their order."""
    found = {
        "creator": "" if draft.creator else "creator",
        "add": _wrong_recipients(draft, identifiers),
        **_wrong_texts(draft, content),
        "day": _wrong_time(draft, now),
        "reminder_days": _wrong_reminder(draft),
        "resource": "resource" if _wrong_resource(draft.resource) else "",
    }
    return {field: key for field, key in found.items() if key}


def _wrong_recipients(draft: Draft, identifiers: Identifiers) -> str:
    if not draft.to:
        return "nobody"
    if len(draft.to) > MOST_RECIPIENTS:
        return "too_many"
    return "unreadable" if None in addressed(draft, identifiers) else ""


def _wrong_texts(draft: Draft, content: Content) -> dict[str, str]:
    wrong = {}
    if draft.by_email:
        wrong["subject"] = "" if draft.subject else "subject"
        wrong["body"] = _wrong_body(draft.body, content, html=draft.html) if draft.body.strip() else "body"
        wrong["reminder_body"] = _wrong_body(draft.reminder_body, content, html=draft.html)
        wrong["email_sender"] = _wrong_sender(draft.email_sender, "email_sender", content.wrong_email_sender)
        if _forbidden_link(draft.subject, content):
            wrong["subject"] = "link"
    if draft.by_sms:
        wrong["sms"] = _wrong_sms(draft.sms, content) if draft.sms.strip() else "sms"
        wrong["reminder_sms"] = _wrong_sms(draft.reminder_sms, content)
        wrong["sms_sender"] = _wrong_sender(draft.sms_sender, "sms_sender", content.wrong_sms_sender)
    return wrong


def _wrong_sender(sender: str, key: str, wrong: Callable[[str], str | None]) -> str:
    """Empty: the usual one, which everybody has."""
    return key if sender and wrong(sender) else ""


def _wrong_body(text: str, content: Content, *, html: bool) -> str:
    if _forbidden_link(text, content, markup=html):
        return "link"
    return "markup" if html and content.wrong_markup(text) else ""


def _wrong_sms(text: str, content: Content) -> str:
    if len(text) > 4 * MAX_LINK_UNITS or not fits_link(cleaned := clean(text)) or not content.is_carried(cleaned):
        return "too_long"
    return "link" if _forbidden_link(text, content) else ""


def _forbidden_link(text: str, content: Content, *, markup: bool = False) -> bool:
    return content.links is Strictness.ENFORCE and bool(content.wrong_links(text, markup=markup))


def _wrong_time(draft: Draft, now: datetime) -> str:
    at = due(draft, now)
    if at is None:
        return "time"
    if at < now:
        return "past"
    return "far" if at > now + MOST_AHEAD else ""


def _wrong_reminder(draft: Draft) -> str:
    return "reminder" if draft.reminds and not _days(draft) else ""


def _wrong_resource(resource: str) -> bool:
    return bool(resource) and (not resource.startswith(RESOURCE) or resource == RESOURCE)


def _days(draft: Draft) -> int:
    """0: no number of days."""
    text = draft.reminder_days
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    return number if number <= _MOST_DAYS else 0


def order_of(draft: Draft, to: Sequence[Recipient], settings: Settings, at: datetime, now: datetime) -> Order:
    """The main order, alone. `at`: when it shall go."""
    sender = draft.email_sender or settings.senders.default_email
    kind = ContentType.HTML if draft.html else ContentType.PLAIN
    within = min(settings.delivery.late_fallback_within, settings.processing.lifetime)
    falls_back = draft.prefers and draft.falls_back and any(recipient.identifier for recipient in to)
    return Order(
        id=OrderId(uuid7()),
        creator=draft.creator,
        kind=OrderKind.NOTIFICATION,
        channel=draft.channel,
        created=now,
        requested_send_time=at,
        recipients=tuple(to),
        email=EmailTemplate(sender, draft.subject, draft.body, kind) if draft.by_email else None,
        sms=SmsTemplate(draft.sms_sender or settings.senders.default_sms, draft.sms) if draft.by_sms else None,
        senders_reference=draft.reference or None,
        sending_time=(SendingTime.ANYTIME if draft.anytime else SendingTime.DAYTIME) if draft.by_sms else None,
        ignore_reservation=draft.ignore_reservation,
        allow_stale=draft.stale or lists(settings.processing.stale_contact_creators, draft.creator),
        resource_id=draft.resource or None,
        fallback_until=at + within if falls_back else None,
    )


def chain_of(draft: Draft, main: Order) -> tuple[Chain, list[Order]]:
    """What is stored: the chain, the main order and the reminder, if there is one."""
    chain = Chain(
        id=ChainId(uuid7()),
        creator=draft.creator,
        idempotency_id=f"page-{draft.form}",
        family=OrderFamily.CHAIN,
        request_hash=_digest(draft),
    )
    orders = [replace(main, chain=chain.id)]
    if days := _days(draft):
        orders.append(_reminder(draft, orders[0], timedelta(days=days)))
    return chain, orders


def _reminder(draft: Draft, main: Order, after: timedelta) -> Order:
    """Days are 24 hours (processing 3.7)."""
    email, sms = main.email, main.sms
    if email:
        email = replace(email, subject=draft.reminder_subject or email.subject, body=draft.reminder_body or email.body)
    if sms:
        sms = replace(sms, body=draft.reminder_sms or sms.body)
    return replace(
        main,
        id=OrderId(uuid7()),
        kind=OrderKind.REMINDER,
        requested_send_time=main.requested_send_time + after,
        email=email,
        sms=sms,
        fallback_until=main.fallback_until + after if main.fallback_until else None,
    )


def _digest(draft: Draft) -> bytes:
    said = {name: value for name, value in asdict(draft).items() if name not in _NOT_OF_THE_ORDER}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def _recipients(to: str, added: str, removed: str) -> tuple[str, ...]:
    """Each once, as it was first written. `removed`: the place of one that goes."""
    lines = [" ".join(line.split())[:_LONGEST_LINE] for line in to.split("\n")]
    if removed.isascii() and removed.isdigit() and int(removed[:9]) < len(lines):
        del lines[int(removed[:9])]
    lines += [
        " ".join(line.split())[:_LONGEST_LINE] for line in added.replace(";", "\n").replace(",", "\n").split("\n")
    ]
    return tuple(line for line in dict.fromkeys(lines) if line)[: 2 * MOST_RECIPIENTS]


def _text(value: str) -> str:
    """Without what the database cannot hold, and with the line ends of a text."""
    return value.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
