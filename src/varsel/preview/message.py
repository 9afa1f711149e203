"""Pure: from a planned notification to what will become of it: text, moment, price, or why it will not leave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.delivery import render
from varsel.delivery.gate import Withheld
from varsel.delivery.ports import Email, Sms
from varsel.delivery.store import Claimed
from varsel.domain.address import e164
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import Order, Recipient
from varsel.domain.sms_receipt import sms_receipt
from varsel.domain.sms_text import clean, fits_link
from varsel.preview.outcome import Message, RecipientPreview, Text, Why
from varsel.preview.prices import Prices
from varsel.preview.reasons import PREFERRED, evidence, why_fallen_back, why_not
from varsel.preview.witness import Witness
from varsel.providers.mailbox import parse_mailbox
from varsel.recipients.lookup import is_direct
from varsel.resolution.store import NewNotification


@dataclass(frozen=True, slots=True)
class Scene:
    """What all messages of one preview have in common. `due_at`: when the order is processed.

    `withheld`: what the delivery stage would not hand over, of the messages that are looked at.
    """

    order: Order
    witness: Witness
    prices: Prices
    due_at: datetime
    withheld: Mapping[NotificationId, Withheld]


@dataclass(frozen=True, slots=True)
class _Fate:
    state: State
    reason: Reason | None = None
    why: Why | None = None


def recipient_preview(scene: Scene, recipient: Recipient, rows: Sequence[NewNotification]) -> RecipientPreview:
    """`rows`: all notifications of one recipient."""
    preferred = PREFERRED.get(scene.order.channel)
    fell_back = (
        preferred is not None
        and not is_direct(recipient, scene.order.channel)
        and all(row.channel is not preferred[0] for row in rows)
    )
    return RecipientPreview(recipient, tuple(_message(scene, recipient, row, fell_back=fell_back) for row in rows))


def _message(scene: Scene, recipient: Recipient, row: NewNotification, *, fell_back: bool) -> Message:
    order, content = scene.order, content_of(scene.order, row)
    fate = _fate(row, content, scene.withheld.get(row.id))
    leaves = fate.state is State.NEW
    why = fate.why
    if fate.reason is Reason.RECIPIENT_NOT_IDENTIFIED:
        why = why_not(scene.witness, recipient, order.channel, row.channel)
    elif leaves and fell_back:
        why = why_fallen_back(scene.witness, recipient, order.channel)
    receipt = sms_receipt(content.text) if isinstance(content, Sms) else None
    parts = receipt.parts if receipt else 0
    price = scene.prices.email if row.channel is Channel.EMAIL else scene.prices.of_sms(row.address, parts)
    return Message(
        channel=row.channel,
        state=fate.state,
        reason=fate.reason,
        address=row.address,
        why=why,
        leaves_at=(row.wake_at or scene.due_at) if leaves else None,
        expires_at=row.expires_at,
        evidence=evidence(scene.witness, recipient, order.channel, row.channel, row.address) if row.address else None,
        receipt=receipt,
        cost=price if leaves else None,
        text=_text(content),
    )


def content_of(order: Order, row: NewNotification) -> Email | Sms | None:
    """The message as the delivery stage renders it; None when there is nothing to send."""
    if row.state is not State.NEW:
        return None
    held = Claimed(
        row.id,
        row.order,
        row.creator,
        row.lane,
        1,
        row.daytime,
        row.expires_at,
        row.subject_kind,
        row.subject_key,
        row.address,
        row.recipient_name,
        order.creator,
    )
    if row.channel is Channel.EMAIL:
        link = _LINK if order.email and order.email.unsubscribable else None
        return render.email(held, order.email, link) if order.email else None
    return render.sms(held, order.sms) if order.sms else None


_LINK: Final = "(link to unsubscribe)"  # each message has its own, when it leaves


def _fate(row: NewNotification, content: Email | Sms | None, withheld: Withheld | None) -> _Fate:
    """What the plan, the delivery stage or the provider would say at once."""
    match row.state:
        case State.EXPIRED:
            return _Fate(State.EXPIRED, why=Why.EXPIRED)
        case State.FAILED:
            return _Fate(State.FAILED, row.reason, _PLANNED_FAILURES.get(row.reason))
        case _ if row.wake_at is not None and row.wake_at >= row.expires_at:
            return _Fate(State.EXPIRED, why=Why.EXPIRED)
        case _:
            return _fate_of_content(content, withheld)


_PLANNED_FAILURES: Final[dict[Reason | None, Why]] = {
    Reason.RECIPIENT_RESERVED: Why.RESERVED,
    Reason.UNSPECIFIED: Why.NO_TEMPLATE,
}


def _fate_of_content(content: Email | Sms | None, withheld: Withheld | None) -> _Fate:
    match content:
        case None:
            return _Fate(State.FAILED, Reason.UNSPECIFIED, Why.EMPTY_TEXT)
        case _ if withheld:
            why = Why.FORBIDDEN_LINK if withheld.entry is None else Why.SUPPRESSED
            return _Fate(State.FAILED, withheld.reason, why)
        case Email() if parse_mailbox(content.to) is None:
            return _Fate(State.FAILED, Reason.INVALID_EMAIL_FORMAT, Why.INVALID_ADDRESS)
        case Sms() if e164(content.to) is None:
            return _Fate(State.FAILED, Reason.INVALID_RECIPIENT, Why.INVALID_NUMBER)
        case Sms() if not fits_link(clean(content.text)):
            return _Fate(State.FAILED, Reason.UNSPECIFIED, Why.TOO_LONG)
        case _:
            return _Fate(State.NEW)


def _text(content: Email | Sms | None) -> Text | None:
    match content:
        case Email():
            return Text(content.subject, content.body)
        case Sms():
            return Text(None, clean(content.text))
        case None:
            return None
