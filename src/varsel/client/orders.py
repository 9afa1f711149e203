"""What is ordered, in the API's own words (docs/chains.md, docs/instant.md). The service checks it.

Fields are the properties of the API, `sendersReference` as `senders_reference`. What is None is not sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from varsel.client.wire import encode, properties

Channel = Literal["Email", "Sms", "EmailPreferred", "SmsPreferred", "EmailAndSms"]
ContentType = Literal["Plain", "Html"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailSettings:
    """Keywords (`$recipientName$`, `$recipientNumber$`) are filled in for people and organisations."""

    subject: str
    body: str
    content_type: ContentType | None = None
    sender_email_address: str | None = None
    unsubscribable: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsSettings:
    """`sending_time_policy`: SMS leave in the daytime, unless it is `Anytime`."""

    body: str
    sender: str | None = None
    sending_time_policy: Literal["Daytime", "Anytime"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipient:
    def properties(self) -> dict[str, Any]:
        """As in the API: one property, named after the kind of recipient."""
        name = type(self).__name__
        return {name[0].lower() + name[1:]: properties(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientEmail(_Recipient):
    email_address: str
    email_settings: EmailSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientSms(_Recipient):
    """`phone_number`: with country code, `+` or `00` first."""

    phone_number: str
    sms_settings: SmsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class _LookedUp(_Recipient):
    """Somebody whose addresses the registers know. Each channel that may be used needs its settings."""

    channel_schema: Channel
    email_settings: EmailSettings | None = None
    sms_settings: SmsSettings | None = None
    resource_id: str | None = None
    resource_action: str | None = None
    fallback_on_failure: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientPerson(_LookedUp):
    national_identity_number: str
    ignore_reservation: bool | None = None
    use_stale_contact_information: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientOrganization(_LookedUp):
    org_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientExternalIdentity(_LookedUp):
    """`external_identity`: the URN of an email login or of a user name."""

    external_identity: str


Recipient = RecipientEmail | RecipientSms | RecipientPerson | RecipientOrganization | RecipientExternalIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogportenAssociation:
    dialog_id: str | None = None
    transmission_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """`idempotency_id`: None lets the client make one for each call. Give your own where you yourself may call again.

    `requested_send_time` and all other times need a zone.
    """

    idempotency_id: str | None = None
    senders_reference: str | None = None

    def body(self) -> dict[str, Any]:
        """As the API takes it, all but for an idempotency id that is still to be made."""
        return properties(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """With exactly one time: `delay_days` or `delay` after the main order's, or an instant of its own."""

    recipient: Recipient
    delay_days: int | None = None
    delay: timedelta | None = None
    requested_send_time: datetime | None = None
    senders_reference: str | None = None
    condition_endpoint: str | None = None

    def body(self) -> dict[str, Any]:
        return properties(self) | {"recipient": self.recipient.properties()}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChain(_Order):
    """An order, and its reminders."""

    recipient: Recipient
    requested_send_time: datetime | None = None
    condition_endpoint: str | None = None
    dialogporten_association: DialogportenAssociation | None = None
    reminders: Sequence[Reminder] = ()

    def body(self) -> dict[str, Any]:
        given = properties(self) | {"recipient": self.recipient.properties()}
        given["reminders"] = [reminder.body() for reminder in self.reminders]
        return given if self.reminders else {name: each for name, each in given.items() if name != "reminders"}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantSms(_Order):
    """An SMS that leaves while you wait. `time_to_live`: a minute to two days; after it nobody wants it any more."""

    phone_number: str
    text: str
    time_to_live: timedelta = timedelta(minutes=10)
    sender: str | None = None

    def body(self) -> dict[str, Any]:
        settings = {"body": self.text, "sender": self.sender}
        recipient = {
            "phoneNumber": self.phone_number,
            "timeToLiveInSeconds": round(self.time_to_live.total_seconds()),
            "smsSettings": {name: each for name, each in settings.items() if each is not None},
        }
        return _head(self) | {"recipientSms": recipient}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantEmail(_Order):
    """An email that leaves while you wait."""

    email_address: str
    email_settings: EmailSettings

    def body(self) -> dict[str, Any]:
        recipient = {"emailAddress": self.email_address, "emailSettings": encode(self.email_settings)}
        return _head(self) | {"recipientEmail": recipient}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """`sas_url`: a secret address that the service fetches the file from when the email leaves."""

    filename: str
    mime_type: str
    sas_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedEmail(_Order):
    """An email with attachments to one address."""

    email_address: str
    email_settings: EmailSettings
    attachments: Sequence[Attachment] = ()
    requested_send_time: datetime | None = None
    condition_endpoint: str | None = None
    dialogporten_association: DialogportenAssociation | None = None

    def body(self) -> dict[str, Any]:
        given = properties(self)
        settings = given.pop("emailSettings") | {"attachments": given.pop("attachments")}
        return given | {"recipient": {"emailAddress": given.pop("emailAddress"), "emailSettings": settings}}


def _head(order: _Order) -> dict[str, Any]:
    named = {"idempotencyId": order.idempotency_id, "sendersReference": order.senders_reference}
    return {name: each for name, each in named.items() if each is not None}
