"""Whom a v2 order goes to, and its texts (http-api 7.4, 7.7, 7.9, 7.10). Paths are keys of the `errors` object."""

from dataclasses import dataclass, replace
from typing import Annotated, Final

from pydantic import ConfigDict

from varsel.api.bodies import Body, Findings
from varsel.api.fields import OneOf, RequiredText, Text
from varsel.api.rules import (
    EMAIL_CHANNELS,
    NOT_A_MOBILE,
    NOT_AN_EMAIL,
    PREFERRED_CHANNELS,
    SMS_CHANNELS,
    check_action,
    check_email_sender,
    check_sms_length,
    check_sms_sender,
    check_text,
    one_line,
    unless_blank,
    wrong_organisation,
    wrong_person,
)
from varsel.api.shapes import (
    EmailText,
    ExternalIdentityText,
    MobileText,
    OrganisationText,
    PersonText,
    ResourceText,
    Told,
    action_needs_resource,
    exactly_one,
    fallback_needs_preference,
    settings_by_channel,
)
from varsel.domain.address import valid_email, valid_mobile
from varsel.domain.external_identity import parse_external_identity
from varsel.domain.order import ContentType, EmailTemplate, OrderChannel, Recipient, SendingTime, SmsTemplate
from varsel.settings import SenderSettings

_RESOURCE_PREFIX: Final = "urn:altinn:resource:"
_SENDING_TIME: Final = OneOf(SendingTime, first=1)
_ONLY_ANYTIME: Final = Told({"anyOf": [{"type": "string", "enum": ["Anytime"]}, {"type": "integer", "enum": [1]}]})


@dataclass(frozen=True, slots=True)
class Addressed:
    """What an order takes over from its recipient: who, how, and with which texts."""

    channel: OrderChannel
    recipient: Recipient
    email: EmailTemplate | None = None
    sms: SmsTemplate | None = None
    sending_time: SendingTime | None = None
    ignore_reservation: bool | None = None
    allow_stale: bool = False
    resource_id: str | None = None
    resource_action: str | None = None
    falls_back: bool | None = None  # None: as is usual for the creator

    @property
    def may_fall_back(self) -> bool:
        """Whether there is another channel, and somebody to be looked up there."""
        return self.channel in PREFERRED_CHANNELS and self.recipient.identifier is not None


class EmailSettingsBody(Body):
    """`unsubscribable` is ours: recipients may ask for no more of the kind, and whoever has gets none."""

    sender_email_address: EmailText | None = None
    subject: RequiredText
    body: RequiredText
    content_type: Annotated[ContentType, OneOf(ContentType)] = ContentType.PLAIN
    sending_time_policy: Annotated[SendingTime, _SENDING_TIME, _ONLY_ANYTIME] = SendingTime.ANYTIME
    unsubscribable: bool = False

    def check_rules(self, path: str, findings: Findings) -> None:
        if self.sender_email_address is not None and not valid_email(self.sender_email_address):
            findings.add(f"{path}.SenderEmailAddress", NOT_AN_EMAIL)
        check_email_sender(self.sender_email_address, f"{path}.SenderEmailAddress", findings)
        check_text(self.subject, f"{path}.Subject", findings)
        check_text(self.body, f"{path}.Body", findings, markup=self.content_type is ContentType.HTML)
        if self.sending_time_policy is not SendingTime.ANYTIME:
            findings.add(f"{path}.SendingTimePolicy", "Emails leave at any time: only Anytime is allowed.")

    def to_template(self, senders: SenderSettings) -> EmailTemplate:
        sender = (self.sender_email_address or "").strip() or senders.default_email
        return EmailTemplate(sender, one_line(self.subject), self.body, self.content_type, self.unsubscribable)


class SmsSettingsBody(Body):
    sender: Text | None = None
    body: RequiredText
    sending_time_policy: Annotated[SendingTime, _SENDING_TIME] = SendingTime.DAYTIME

    def check_rules(self, path: str, findings: Findings) -> None:
        check_sms_length(self.body, f"{path}.Body", findings)
        check_text(self.body, f"{path}.Body", findings)
        check_sms_sender(self.sender, f"{path}.Sender", findings)

    def to_template(self, senders: SenderSettings) -> SmsTemplate:
        return SmsTemplate((self.sender or "").strip() or senders.default_sms, self.body)


class RecipientEmailBody(Body):
    email_address: EmailText
    email_settings: EmailSettingsBody

    def check_rules(self, path: str, findings: Findings) -> None:
        if not valid_email(self.email_address):
            findings.add(f"{path}.EmailAddress", NOT_AN_EMAIL)
        self.email_settings.check_rules(f"{path}.EmailSettings", findings)

    def addressed(self, senders: SenderSettings) -> Addressed:
        template = self.email_settings.to_template(senders)
        return Addressed(OrderChannel.EMAIL, Recipient(email=self.email_address), email=template)


class RecipientSmsBody(Body):
    phone_number: MobileText
    sms_settings: SmsSettingsBody

    def check_rules(self, path: str, findings: Findings) -> None:
        if not valid_mobile(self.phone_number):
            findings.add(f"{path}.PhoneNumber", NOT_A_MOBILE)
        self.sms_settings.check_rules(f"{path}.SmsSettings", findings)

    def addressed(self, senders: SenderSettings) -> Addressed:
        return Addressed(
            OrderChannel.SMS,
            Recipient(mobile=self.phone_number),
            sms=self.sms_settings.to_template(senders),
            sending_time=self.sms_settings.sending_time_policy,
        )


class _LookedUpBody(Body):
    """Somebody whose addresses the registers know. Settings that the channel does not need are checked and kept.

    `fallbackOnFailure` is our addition: whether the other channel is tried when nobody is reached by the preferred one.
    """

    model_config = ConfigDict(
        json_schema_extra={"allOf": [settings_by_channel(), action_needs_resource(), fallback_needs_preference()]}
    )

    channel_schema: Annotated[OrderChannel, OneOf(OrderChannel)]
    email_settings: EmailSettingsBody | None = None
    sms_settings: SmsSettingsBody | None = None
    resource_id: ResourceText | None = None
    resource_action: Text | None = None
    fallback_on_failure: bool | None = None

    def recipient(self) -> Recipient:
        raise NotImplementedError

    def check_rules(self, path: str, findings: Findings) -> None:
        email, sms = self.email_settings, self.sms_settings
        if email:
            email.check_rules(f"{path}.EmailSettings", findings)
        elif self.channel_schema in EMAIL_CHANNELS:
            findings.add(f"{path}.EmailSettings", "The channel needs email settings.")
        if sms:
            sms.check_rules(f"{path}.SmsSettings", findings)
        elif self.channel_schema in SMS_CHANNELS:
            findings.add(f"{path}.SmsSettings", "The channel needs SMS settings.")
        if self.fallback_on_failure and self.channel_schema not in PREFERRED_CHANNELS:
            findings.add(f"{path}.FallbackOnFailure", "Only EmailPreferred and SmsPreferred have another channel.")
        check_resource(self.resource_id, self.resource_action, f"{path}.", findings)

    def addressed(self, senders: SenderSettings) -> Addressed:
        email, sms = self.email_settings, self.sms_settings
        return Addressed(
            self.channel_schema,
            self.recipient(),
            email=email.to_template(senders) if email else None,
            sms=sms.to_template(senders) if sms else None,
            sending_time=sms.sending_time_policy if sms else None,
            resource_id=self.resource_id,
            resource_action=unless_blank(self.resource_action),
            falls_back=self.fallback_on_failure,
        )


def check_resource(resource: str | None, action: str | None, path: str, findings: Findings) -> None:
    """Http-api 7.7. `path` comes before the names of properties: empty, or with a dot at its end."""
    if resource is not None and (not resource.startswith(_RESOURCE_PREFIX) or resource == _RESOURCE_PREFIX):
        findings.add(f"{path}ResourceId", f"The value must be {_RESOURCE_PREFIX} and an id.")
    check_action(action, resource, f"{path}ResourceAction", findings)


class RecipientPersonBody(_LookedUpBody):
    national_identity_number: PersonText
    ignore_reservation: bool = False
    use_stale_contact_information: bool = False

    def recipient(self) -> Recipient:
        return Recipient(national_identity_number=self.national_identity_number)

    def addressed(self, senders: SenderSettings) -> Addressed:
        return replace(
            super().addressed(senders),
            ignore_reservation=self.ignore_reservation,
            allow_stale=self.use_stale_contact_information,
        )

    def check_rules(self, path: str, findings: Findings) -> None:
        if wrong := wrong_person(self.national_identity_number, findings.identifiers):
            findings.add(f"{path}.NationalIdentityNumber", wrong)
        super().check_rules(path, findings)


class RecipientOrganizationBody(_LookedUpBody):
    org_number: OrganisationText

    def recipient(self) -> Recipient:
        return Recipient(organisation_number=self.org_number)

    def check_rules(self, path: str, findings: Findings) -> None:
        if wrong := wrong_organisation(self.org_number, findings.identifiers):
            findings.add(f"{path}.OrgNumber", wrong)
        super().check_rules(path, findings)


class RecipientExternalIdentityBody(_LookedUpBody):
    external_identity: ExternalIdentityText

    def recipient(self) -> Recipient:
        return Recipient(external_identity=self.external_identity)

    def check_rules(self, path: str, findings: Findings) -> None:
        if parse_external_identity(self.external_identity) is None:
            findings.add(f"{path}.ExternalIdentity", "The value is not the URN of an email login or a user name.")
        super().check_rules(path, findings)


AnyRecipient = (
    RecipientEmailBody
    | RecipientSmsBody
    | RecipientPersonBody
    | RecipientOrganizationBody
    | RecipientExternalIdentityBody
)


class NotificationRecipientBody(Body):
    """`NotificationRecipientExt`: exactly one of five."""

    model_config = ConfigDict(
        json_schema_extra=exactly_one(
            recipient_email=["object"],
            recipient_sms=["object"],
            recipient_person=["object"],
            recipient_organization=["object"],
            recipient_external_identity=["object"],
        )
    )

    recipient_email: RecipientEmailBody | None = None
    recipient_sms: RecipientSmsBody | None = None
    recipient_person: RecipientPersonBody | None = None
    recipient_organization: RecipientOrganizationBody | None = None
    recipient_external_identity: RecipientExternalIdentityBody | None = None

    def given(self) -> dict[str, AnyRecipient]:
        """By the name of the property, in the form of paths."""
        named: dict[str, AnyRecipient | None] = {
            "RecipientEmail": self.recipient_email,
            "RecipientSms": self.recipient_sms,
            "RecipientPerson": self.recipient_person,
            "RecipientOrganization": self.recipient_organization,
            "RecipientExternalIdentity": self.recipient_external_identity,
        }
        return {name: recipient for name, recipient in named.items() if recipient is not None}

    def check_rules(self, path: str, findings: Findings) -> None:
        given = self.given()
        if len(given) != 1:
            findings.add(path, f"Exactly one kind of recipient is required; there are {len(given)}.")
        for name, recipient in given.items():
            recipient.check_rules(f"{path}.{name}", findings)

    def addressed(self, senders: SenderSettings) -> Addressed:
        (recipient,) = self.given().values()  # checked
        return recipient.addressed(senders)
