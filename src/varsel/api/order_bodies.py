"""Bodies of the v1 orders (http-api 7.8, 12.1-12.3; design 8 for `EmailAndSms`)."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from varsel.api.bodies import Body, Findings, in_chunks
from varsel.api.fields import OneOf, RequiredText, Text, check_time
from varsel.api.rules import (
    EMAIL_CHANNELS,
    NOT_A_MOBILE,
    NOT_AN_EMAIL,
    SMS_CHANNELS,
    check_action,
    check_email_sender,
    check_not_blank,
    check_sms_length,
    check_sms_sender,
    check_text,
    is_public_url,
    one_line,
    unless_blank,
    wrong_organisation,
    wrong_person,
)
from varsel.api.shapes import (
    AnyMobileText,
    PublicUrlText,
    TemplateText,
    Told,
    V1Time,
    action_needs_resource,
    order_by_channel,
    v1_recipients,
)
from varsel.domain.address import valid_email, valid_mobile
from varsel.domain.ids import OrderId, uuid7
from varsel.domain.order import ContentType, EmailTemplate, Order, OrderChannel, OrderKind, Recipient, SmsTemplate
from varsel.domain.schemes import Identifiers
from varsel.settings import SenderSettings

_GRACE: Final = timedelta(minutes=5)  # http-api 7.5; v2 has none

_CONTENT_TYPE = OneOf(ContentType)


class RecipientBody(Body):
    """`RecipientExt`. `isReserved` is output only."""

    email_address: Text | None = None
    mobile_number: AnyMobileText | None = None
    organization_number: Text | None = None
    national_identity_number: Text | None = None

    def broken(self, channel: OrderChannel, identifiers: Identifiers) -> Sequence[tuple[str, str]]:
        """What is wrong when the order goes by `channel`: property, or nothing for the whole recipient, and message."""
        email, mobile = self.email_address, self.mobile_number
        organisation, person = self.organization_number, self.national_identity_number
        by_email, by_sms = channel in EMAIL_CHANNELS, channel in SMS_CHANNELS
        wrong = []
        if not ((by_email and email) or (by_sms and mobile) or organisation or person):
            wrong.append(("", "The recipient has no address or identifier that the channel can use."))
        if by_email and email and not valid_email(email):
            wrong.append(("EmailAddress", NOT_AN_EMAIL))
        if by_sms and mobile and not valid_mobile(mobile):
            wrong.append(("MobileNumber", NOT_A_MOBILE))
        if organisation and (message := wrong_organisation(organisation, identifiers)):
            wrong.append(("OrganizationNumber", message))
        if person and (message := wrong_person(person, identifiers)):
            wrong.append(("NationalIdentityNumber", message))
        if person and (email or mobile or organisation):
            wrong.append(("", "A national identity number cannot be combined with other identifiers or addresses."))
        elif organisation and (email or mobile):
            wrong.append(("", "An organisation number cannot be combined with addresses."))
        return wrong

    def to_recipient(self, *, email: bool, mobile: bool) -> Recipient:
        return Recipient(
            national_identity_number=self.national_identity_number or None,
            organisation_number=self.organization_number or None,
            email=(self.email_address or None) if email else None,
            mobile=(self.mobile_number or None) if mobile else None,
        )


class EmailTemplateBody(Body):
    model_config = ConfigDict(json_schema_extra={"required": ["subject", "body"]})

    from_address: Text | None = None
    subject: TemplateText = ""
    body: TemplateText = ""
    content_type: Annotated[ContentType, _CONTENT_TYPE] = ContentType.PLAIN

    def check_texts(self, findings: Findings) -> None:
        check_not_blank(self.subject, "EmailTemplate.Subject", findings)
        check_not_blank(self.body, "EmailTemplate.Body", findings)
        check_email_sender(self.from_address, "EmailTemplate.FromAddress", findings)
        check_text(self.subject, "EmailTemplate.Subject", findings)
        check_text(self.body, "EmailTemplate.Body", findings, markup=self.content_type is ContentType.HTML)

    def to_template(self, senders: SenderSettings) -> EmailTemplate:
        sender = self.from_address or senders.default_email
        return EmailTemplate(sender, one_line(self.subject), self.body, self.content_type)


class SmsTemplateBody(Body):
    model_config = ConfigDict(json_schema_extra={"required": ["body"]})

    sender_number: Text | None = None
    body: TemplateText = ""

    def check_texts(self, findings: Findings) -> None:
        check_not_blank(self.body, "SmsTemplate.Body", findings)
        check_sms_length(self.body, "SmsTemplate.Body", findings)
        check_text(self.body, "SmsTemplate.Body", findings)
        check_sms_sender(self.sender_number, "SmsTemplate.SenderNumber", findings)

    def to_template(self, senders: SenderSettings) -> SmsTemplate:
        return SmsTemplate(self.sender_number or senders.default_sms, self.body)


class AnyOrderBody(Body):
    """What the three v1 orders have in common (http-api 12)."""

    long_lists: ClassVar[Mapping[str, TypeAdapter[list[Any]]]] = {"recipients": TypeAdapter(list[RecipientBody])}

    recipients: Annotated[list[RecipientBody], Told({"minItems": 1})]
    senders_reference: Text | None = None
    requested_send_time: V1Time = None
    ignore_reservation: bool | None = None
    resource_id: Text | None = None
    resource_action: Text | None = None
    condition_endpoint: PublicUrlText | None = None

    def channel(self) -> OrderChannel | None:
        """None: the sender named none, which is an error."""
        raise NotImplementedError

    def templates(self, senders: SenderSettings) -> tuple[EmailTemplate | None, SmsTemplate | None]:
        """The texts, with the configured senders where none was given."""
        raise NotImplementedError

    async def check(self, now: datetime, findings: Findings) -> None:
        check_time(self.requested_send_time, now - _GRACE, "RequestedSendTime", findings)
        self._check_condition(findings)
        check_action(self.resource_action, self.resource_id, "ResourceAction", findings)
        if not self.recipients:
            findings.add("Recipients", "At least one recipient is required.")
        if channel := self.channel():

            def check(start: int, recipients: Sequence[RecipientBody]) -> None:
                for index, recipient in enumerate(recipients, start):
                    for name, message in recipient.broken(channel, findings.identifiers):
                        findings.add(f"Recipients[{index}].{name}".removesuffix("."), message)

            await in_chunks(self.recipients, check)

    async def to_order(self, creator: str, now: datetime, senders: SenderSettings) -> Order:
        """The order as it is stored: defaults filled in, and the addresses dropped that its endpoint has no use for."""
        channel = self.channel()
        assert channel is not None  # checked
        email, sms = self.templates(senders)
        recipients: list[Recipient] = []
        keep_email, keep_mobile = self._kept_addresses()

        def convert(_start: int, bodies: Sequence[RecipientBody]) -> None:
            recipients.extend(b.to_recipient(email=keep_email, mobile=keep_mobile) for b in bodies)

        await in_chunks(self.recipients, convert)
        return Order(
            id=OrderId(uuid7()),
            creator=creator,
            kind=OrderKind.NOTIFICATION,
            channel=channel,
            created=now,
            requested_send_time=self.requested_send_time or now,
            recipients=tuple(recipients),
            email=email,
            sms=sms,
            senders_reference=unless_blank(self.senders_reference),
            ignore_reservation=self.ignore_reservation,
            resource_id=unless_blank(self.resource_id),
            resource_action=unless_blank(self.resource_action),
            condition_endpoint=self.condition_endpoint,
        )

    def _kept_addresses(self) -> tuple[bool, bool]:
        """Whether email addresses and mobile numbers of recipients are stored."""
        return True, True

    def _check_condition(self, findings: Findings) -> None:
        if self.condition_endpoint is not None and not is_public_url(self.condition_endpoint):
            findings.add(
                "ConditionEndpoint", "The value must be an absolute http or https URL with a full domain name."
            )


class OrderBody(AnyOrderBody):
    """POST /orders (http-api 12.1)."""

    model_config = ConfigDict(json_schema_extra={"allOf": [order_by_channel(), action_needs_resource()]})

    notification_channel: Annotated[OrderChannel, OneOf(OrderChannel)] | None = None
    email_template: EmailTemplateBody | None = None
    sms_template: SmsTemplateBody | None = None

    def channel(self) -> OrderChannel | None:
        return self.notification_channel

    def templates(self, senders: SenderSettings) -> tuple[EmailTemplate | None, SmsTemplate | None]:
        email, sms = self.email_template, self.sms_template
        return email.to_template(senders) if email else None, sms.to_template(senders) if sms else None

    async def check(self, now: datetime, findings: Findings) -> None:
        if self.notification_channel is None:
            findings.add("NotificationChannel", "A notification channel is required.")
        for template in (self.email_template, self.sms_template):
            if template is not None:
                template.check_texts(findings)
        if self.notification_channel in EMAIL_CHANNELS and self.email_template is None:
            findings.add("EmailTemplate", "The channel needs an email template.")
        if self.notification_channel in SMS_CHANNELS and self.sms_template is None:
            findings.add("SmsTemplate", "The channel needs an SMS template.")
        await super().check(now, findings)


class EmailOrderBody(AnyOrderBody):
    """POST /orders/email (http-api 12.2)."""

    model_config = ConfigDict(json_schema_extra={"allOf": [v1_recipients(email=True), action_needs_resource()]})

    subject: RequiredText
    body: RequiredText
    content_type: Annotated[ContentType, _CONTENT_TYPE] | None = None

    def channel(self) -> OrderChannel:
        return OrderChannel.EMAIL

    def templates(self, senders: SenderSettings) -> tuple[EmailTemplate, None]:
        content_type = self.content_type or ContentType.PLAIN
        return EmailTemplate(senders.default_email, one_line(self.subject), self.body, content_type), None

    async def check(self, now: datetime, findings: Findings) -> None:
        check_text(self.subject, "Subject", findings)
        check_text(self.body, "Body", findings, markup=self.content_type is ContentType.HTML)
        await super().check(now, findings)

    def _kept_addresses(self) -> tuple[bool, bool]:
        return True, False


class SmsOrderBody(AnyOrderBody):
    """POST /orders/sms (http-api 12.3)."""

    model_config = ConfigDict(json_schema_extra={"allOf": [v1_recipients(sms=True), action_needs_resource()]})

    body: RequiredText
    sender_number: Text | None = None

    def channel(self) -> OrderChannel:
        return OrderChannel.SMS

    def templates(self, senders: SenderSettings) -> tuple[None, SmsTemplate]:
        return None, SmsTemplate(self.sender_number or senders.default_sms, self.body)

    async def check(self, now: datetime, findings: Findings) -> None:
        check_sms_length(self.body, "Body", findings)
        check_text(self.body, "Body", findings)
        check_sms_sender(self.sender_number, "SenderNumber", findings)
        await super().check(now, findings)

    def _kept_addresses(self) -> tuple[bool, bool]:
        return False, True
