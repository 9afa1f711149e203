"""Pure: what a preview says to somebody who writes an order: who gets it and on what, who does not and why, and how.

Addresses are covered as on every page; of all texts the first email and the first SMS are shown.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from varsel.domain.keywords import has_keyword
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import Order, OrderChannel, Recipient
from varsel.domain.sms_receipt import SmsReceipt, sms_receipt
from varsel.domain.sms_text import LINK_PART, Alphabet, clean, link_units
from varsel.preview.outcome import Message, OrderPreview, RecipientPreview, Why
from varsel.ui.access_store import About
from varsel.ui.masking import Covered, Masks

_CHOSEN_NOT_TO: Final = frozenset({Why.RESERVED, Why.SUPPRESSED})
_SINGLE: Final = {Alphabet.GSM_7: 160, Alphabet.UCS_2: 70}


@dataclass(frozen=True, slots=True)
class Line:
    """A recipient as listed. `tags`: how many messages on each channel. `why`: why there is none."""

    kind: str
    shown: Covered
    name: str
    tags: Mapping[Channel, int]
    why: Why | None

    @property
    def family(self) -> str:
        if self.tags:
            return "reachable"
        return "stopped" if self.why in _CHOSEN_NOT_TO else "attention"


@dataclass(frozen=True, slots=True)
class Meter:
    """How full an SMS is. `used` and `room` in characters of its alphabet; `fill`: of the last part, in hundredths."""

    receipt: SmsReceipt
    used: int
    room: int
    fill: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A message as its recipient sees it. `at`: when it leaves, None when nobody gets it."""

    sender: str
    to: Covered
    subject: str
    body: str
    html: bool
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Look:
    """`by`: how many recipients get something on a channel. `without`: how many get nothing, by why.

    `unfilled`: of the texts that were filled in, how many still have a keyword: an address given by itself has no name.
    `left_out`: those with whom the order would not be taken: nobody knows how to reach them.
    """

    lines: Mapping[Recipient, Line]
    reached: int
    by: Mapping[Channel, int]
    messages: Mapping[Channel, int]
    without: Mapping[Why, int]
    left_out: frozenset[Recipient]
    unfilled: int
    cost: Decimal | None
    unpriced: int
    sms_parts: int
    email: Picture | None
    sms: Picture | None

    @property
    def all(self) -> int:
        return len(self.lines)

    def family_of(self, why: Why) -> str:
        return "stopped" if why in _CHOSEN_NOT_TO else "attention"


def look_at(preview: OrderPreview, masks: Masks, names: Mapping[str, str]) -> Look:
    """`names`: of organisations, by number."""
    order, recipients = preview.order, preview.recipients
    missing = frozenset(preview.lookup.missing_contact) if preview.lookup else frozenset()
    lines = {each.recipient: _line(each, masks, names) for each in recipients}
    left_out = {each.recipient for each in recipients if each.recipient.identifier in missing or _unknown(each)}
    leaving = [m for each in recipients for m in each.messages if m.leaves]
    return Look(
        lines=lines,
        reached=sum(each.reached for each in recipients),
        by={channel: sum(bool(line.tags.get(channel)) for line in lines.values()) for channel in Channel},
        messages=Counter(m.channel for m in leaving),
        without=Counter(line.why for line in lines.values() if line.why and not line.tags),
        left_out=frozenset(left_out),
        unfilled=sum(has_keyword(m.text.subject, m.text.body) for m in leaving if m.text),
        cost=preview.totals.cost,
        unpriced=preview.totals.unpriced,
        sms_parts=preview.totals.sms_parts,
        email=_email(order, leaving, masks),
        sms=_sms(order, leaving, masks),
    )


def meter_of(text: str) -> Meter | None:
    """None for no text."""
    if not text.strip():
        return None
    receipt, sent = sms_receipt(text), clean(text)
    scale = 1 if receipt.alphabet is Alphabet.GSM_7 else 2
    used = link_units(sent) // scale
    part = LINK_PART // scale
    room = _SINGLE[receipt.alphabet] if receipt.parts == 1 else receipt.parts * part
    last = used if receipt.parts == 1 else used - (receipt.parts - 1) * part
    return Meter(receipt, used, room, round(100 * last / (room if receipt.parts == 1 else part)))


def about(recipient: Recipient) -> About | None:
    """Whom the log names. An external identity stands in no log."""
    if recipient.national_identity_number:
        return About("person", recipient.national_identity_number)
    if recipient.organisation_number:
        return About("organisation", recipient.organisation_number)
    address = recipient.email or recipient.mobile
    return About("address", address) if address else None


def _line(each: RecipientPreview, masks: Masks, names: Mapping[str, str]) -> Line:
    whom = about(each.recipient)
    tags = Counter(m.channel for m in each.messages if m.leaves)
    why = None if tags else next((m.why for m in each.messages if m.why), Why.NO_ADDRESS)
    if whom is None:
        shown, kind = masks.identity((each.recipient.external_identity or "").rpartition(":")[2]), "external"
    else:
        shown, kind = masks.about(whom), whom.kind
    if kind == "address":
        kind = "email" if each.recipient.email else "sms"
    return Line(kind, shown, names.get(each.recipient.organisation_number or "", ""), tags, why)


def _unknown(each: RecipientPreview) -> bool:
    return not each.reached and all(m.reason is Reason.RECIPIENT_NOT_IDENTIFIED for m in each.messages)


def _email(order: Order, leaving: Sequence[Message], masks: Masks) -> Picture | None:
    if order.email is None:
        return None
    first = next((m for m in leaving if m.channel is Channel.EMAIL and m.text), None)
    html = order.email.content_type == "Html"
    if first is None or first.text is None:
        return Picture(order.email.sender, Covered(""), order.email.subject, order.email.body, html, None)
    return Picture(
        order.email.sender,
        masks.address(first.address),
        first.text.subject or "",
        first.text.body,
        html,
        first.leaves_at,
    )


def _sms(order: Order, leaving: Sequence[Message], masks: Masks) -> Picture | None:
    if order.sms is None or order.channel is OrderChannel.EMAIL:
        return None
    first = next((m for m in leaving if m.channel is Channel.SMS and m.text), None)
    if first is None or first.text is None:
        return Picture(order.sms.sender, Covered(""), "", clean(order.sms.body), html=False, at=None)
    return Picture(order.sms.sender, masks.address(first.address), "", first.text.body, False, first.leaves_at)
