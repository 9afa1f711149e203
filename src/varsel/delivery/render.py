"""Pure: from a claimed row and its order's template to the message that leaves (processing 5, design 8 "Data")."""

from varsel.delivery.ports import Email, Sms
from varsel.delivery.store import Claimed
from varsel.delivery.unsubscribe import KEYWORD
from varsel.domain.keywords import fill
from varsel.domain.order import ContentType, EmailTemplate, SmsTemplate


def one_line(text: str) -> str:
    """Line breaks in a subject become spaces, each one (http-api 7.9)."""
    return text.replace("\r\n", " ").replace("\r", " ").replace("\n", " ")


def email(row: Claimed, template: EmailTemplate, unsubscribe: str | None = None) -> Email | None:
    """None when nothing is left of the body. `unsubscribe`: the link for that, of a message that is marked for it."""
    name, number = row.recipient_name, row.number
    text = template.body.replace(KEYWORD, unsubscribe) if unsubscribe else template.body
    body = fill(text, name=name, number=number, markup=template.content_type is ContentType.HTML)
    if not body.strip():
        return None
    return Email(
        id=row.id,
        order=row.order,
        creator=row.creator_name,
        sender=template.sender,
        to=row.address,
        subject=one_line(fill(template.subject, name=name, number=number)),
        body=body,
        content_type=template.content_type,
        expires_at=row.expires_at,
        failures=len(row.tried or ()),
        unsubscribe=unsubscribe,
    )


def sms(row: Claimed, template: SmsTemplate) -> Sms | None:
    """None when nothing is left of the text."""
    text = fill(template.body, name=row.recipient_name, number=row.number)
    if not text.strip():
        return None
    return Sms(
        id=row.id,
        order=row.order,
        creator=row.creator_name,
        sender=template.sender,
        to=row.address,
        text=text,
        expires_at=row.expires_at,
    )
