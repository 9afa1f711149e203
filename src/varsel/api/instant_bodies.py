"""Bodies of the v2 instant orders (http-api 14): one direct address, one text, sent while the caller waits."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from varsel.api.bodies import Body, Findings
from varsel.api.fields import OneOf, RequiredText, Text
from varsel.api.rules import (
    NOT_A_MOBILE,
    NOT_AN_EMAIL,
    check_email_sender,
    check_sms_length,
    check_sms_sender,
    check_text,
    one_line,
    unless_blank,
)
from varsel.api.shapes import EmailText, LifeSeconds, MobileText
from varsel.domain.address import valid_email, valid_mobile
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
from varsel.settings import SenderSettings

_SHORTEST_LIFE: Final = 60  # s
_LONGEST_LIFE: Final = 172_800


@dataclass(frozen=True, slots=True)
class InstantMessage:
    """What an order takes over from its recipient. `time_to_live` None: as long as any other email lives."""

    recipient: Recipient
    email: EmailTemplate | None = None
    sms: SmsTemplate | None = None
    time_to_live: timedelta | None = None


class InstantSmsSettingsBody(Body):
    sender: Text | None = None
    body: RequiredText


class InstantSmsBody(Body):
    phone_number: MobileText
    time_to_live_in_seconds: LifeSeconds
    sms_settings: InstantSmsSettingsBody

    def check_rules(self, path: str, findings: Findings) -> None:
        if not valid_mobile(self.phone_number):
            findings.add(f"{path}.PhoneNumber", NOT_A_MOBILE)
        if not _SHORTEST_LIFE <= self.time_to_live_in_seconds <= _LONGEST_LIFE:
            wrong = f"The value must be between {_SHORTEST_LIFE} and {_LONGEST_LIFE}."
            findings.add(f"{path}.TimeToLiveInSeconds", wrong)
        check_sms_length(self.sms_settings.body, f"{path}.SmsSettings.Body", findings)
        check_text(self.sms_settings.body, f"{path}.SmsSettings.Body", findings)
        check_sms_sender(self.sms_settings.sender, f"{path}.SmsSettings.Sender", findings)

    def message(self, senders: SenderSettings) -> InstantMessage:
        settings = self.sms_settings
        return InstantMessage(
            Recipient(mobile=self.phone_number),
            sms=SmsTemplate(unless_blank(settings.sender) or senders.default_sms, settings.body),
            time_to_live=timedelta(seconds=self.time_to_live_in_seconds),
        )


class InstantEmailSettingsBody(Body):
    sender_email_address: EmailText | None = None
    subject: RequiredText
    body: RequiredText
    content_type: Annotated[ContentType, OneOf(ContentType)] = ContentType.PLAIN


class InstantEmailBody(Body):
    email_address: EmailText
    email_settings: InstantEmailSettingsBody

    def check_rules(self, path: str, findings: Findings) -> None:
        if not valid_email(self.email_address):
            findings.add(f"{path}.EmailAddress", NOT_AN_EMAIL)
        settings, path = self.email_settings, f"{path}.EmailSettings"
        if settings.sender_email_address is not None and not valid_email(settings.sender_email_address):
            findings.add(f"{path}.SenderEmailAddress", NOT_AN_EMAIL)
        check_email_sender(settings.sender_email_address, f"{path}.SenderEmailAddress", findings)
        check_text(settings.subject, f"{path}.Subject", findings)
        check_text(settings.body, f"{path}.Body", findings, markup=settings.content_type is ContentType.HTML)

    def message(self, senders: SenderSettings) -> InstantMessage:
        settings = self.email_settings
        sender = (settings.sender_email_address or "").strip() or senders.default_email
        email = EmailTemplate(sender, one_line(settings.subject), settings.body, settings.content_type)
        return InstantMessage(Recipient(email=self.email_address), email=email)


class InstantBody(Body):
    """What the three forms have in common."""

    idempotency_id: RequiredText
    senders_reference: Text | None = None

    def check_recipient(self, findings: Findings) -> None:
        raise NotImplementedError

    def message(self, senders: SenderSettings) -> InstantMessage:
        raise NotImplementedError

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002 - no rule looks at the time
        self.check_recipient(findings)

    def to_order(self, creator: str, now: datetime, senders: SenderSettings) -> tuple[Chain, Order, timedelta | None]:
        """The order, what holds its idempotency id, and how long the message may live."""
        id_ = ChainId(uuid7())
        message = self.message(senders)
        chain = Chain(
            id=id_,
            creator=creator,
            idempotency_id=self.idempotency_id,
            family=OrderFamily.INSTANT,
            request_hash=hashlib.sha256(self.canonical()).digest(),
        )
        order = Order(
            id=OrderId(uuid7()),
            creator=creator,
            chain=id_,
            kind=OrderKind.INSTANT,
            channel=OrderChannel.SMS if message.sms else OrderChannel.EMAIL,
            created=now,
            requested_send_time=now,
            recipients=(message.recipient,),
            email=message.email,
            sms=message.sms,
            senders_reference=unless_blank(self.senders_reference),
            sending_time=SendingTime.ANYTIME,
        )
        return chain, order, message.time_to_live


class InstantSmsOrderBody(InstantBody):
    """POST /future/orders/instant/sms (http-api 14.1)."""

    recipient_sms: InstantSmsBody

    def check_recipient(self, findings: Findings) -> None:
        self.recipient_sms.check_rules("RecipientSms", findings)

    def message(self, senders: SenderSettings) -> InstantMessage:
        return self.recipient_sms.message(senders)


class InstantEmailOrderBody(InstantBody):
    """POST /future/orders/instant/email (http-api 14.2)."""

    recipient_email: InstantEmailBody

    def check_recipient(self, findings: Findings) -> None:
        self.recipient_email.check_rules("RecipientEmail", findings)

    def message(self, senders: SenderSettings) -> InstantMessage:
        return self.recipient_email.message(senders)


class InstantRecipientBody(Body):
    recipient_sms: InstantSmsBody


class InstantOrderBody(InstantBody):
    """POST /future/orders/instant (http-api 14.3): SMS only, one level deeper."""

    recipient: InstantRecipientBody

    def check_recipient(self, findings: Findings) -> None:
        self.recipient.recipient_sms.check_rules("Recipient.RecipientSms", findings)

    def message(self, senders: SenderSettings) -> InstantMessage:
        return self.recipient.recipient_sms.message(senders)
