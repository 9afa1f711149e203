"""States of a notification, the legal moves between them, and the public names of every outcome.

Sources: design 8 (states, corrections); processing 8.7, 8.8 and http-api 8.4, 8.5 (names and sentences).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"


class State(StrEnum):
    NEW = "new"
    CLAIMED = "claimed"  # a worker holds it and nothing has left
    SENDING = "sending"  # bytes may have left; never stored: a claimed row up to its claim's hand-over mark
    UNKNOWN = "unknown"  # it left, or may have, and no answer came
    ACCEPTED = "accepted"  # the provider took it
    DELIVERED = "delivered"  # somebody reported arrival
    FAILED = "failed"
    EXPIRED = "expired"  # the time ran out: nothing left, or a provider that does confirm stayed silent


NEXT: Final[dict[State, frozenset[State]]] = {
    # accepted, delivered: evidence about an earlier try whose outcome had been unknown
    State.NEW: frozenset({State.CLAIMED, State.ACCEPTED, State.DELIVERED, State.FAILED, State.EXPIRED}),
    State.CLAIMED: frozenset({State.NEW, State.SENDING, State.DELIVERED, State.FAILED, State.EXPIRED}),
    # delivered: a report can overtake the commit that says we sent it; expired: its worker died after expiry
    State.SENDING: frozenset({State.NEW, State.ACCEPTED, State.UNKNOWN, State.DELIVERED, State.FAILED, State.EXPIRED}),
    State.UNKNOWN: frozenset({State.NEW, State.ACCEPTED, State.DELIVERED, State.FAILED, State.EXPIRED}),
    State.ACCEPTED: frozenset({State.DELIVERED, State.FAILED, State.EXPIRED}),
    # fates: left only as a correction, on evidence
    State.EXPIRED: frozenset({State.DELIVERED, State.FAILED}),
    State.DELIVERED: frozenset({State.FAILED}),
    State.FAILED: frozenset({State.DELIVERED, State.FAILED}),
}

FATES: Final = frozenset({State.DELIVERED, State.FAILED, State.EXPIRED})


class Reason(StrEnum):
    """Why a notification failed. The value is the public name of the failure, without its prefix."""

    UNSPECIFIED = "Failed"
    RECIPIENT_RESERVED = "Failed_RecipientReserved"
    RECIPIENT_NOT_IDENTIFIED = "Failed_RecipientNotIdentified"
    INVALID_EMAIL_FORMAT = "Failed_InvalidEmailFormat"
    SUPPRESSED_RECIPIENT = "Failed_SupressedRecipient"  # spelt so in the contract
    BOUNCED = "Failed_Bounced"
    FILTERED_SPAM = "Failed_FilteredSpam"
    QUARANTINED = "Failed_Quarantined"
    INVALID_SAS_URL = "Failed_InvalidSasUrl"
    PAYLOAD_TOO_LARGE = "Failed_PayloadTooLarge"
    INVALID_RECIPIENT = "Failed_InvalidRecipient"
    BARRED_RECEIVER = "Failed_BarredReceiver"
    DELETED = "Failed_Deleted"
    EXPIRED_AT_PROVIDER = "Failed_Expired"
    UNDELIVERED = "Failed_Undelivered"
    REJECTED = "Failed_Rejected"


@dataclass(frozen=True, slots=True)
class ResultName:
    """How one outcome is shown: `v1` status, `v2` status, the exact v1 sentence, and whether v1 counts it."""

    v1: str
    v2: str
    description: str
    succeeded: bool = False


_SMS_RESERVED = "The SMS was not sent because the recipient has reserved themselves from electronic communication."

_EMAIL: Final[dict[State | Reason, ResultName]] = {
    State.NEW: ResultName(
        "New", "Email_New", "The email has been created, but has not been picked up for processing yet."
    ),
    State.SENDING: ResultName(
        "Sending", "Email_Sending", "The email is being processed and will be attempted sent shortly."
    ),
    State.ACCEPTED: ResultName(
        "Succeeded",
        "Email_Succeeded",
        "The email has been accepted by the third party email service and will be sent shortly.",
        succeeded=True,
    ),
    State.DELIVERED: ResultName(
        "Delivered",
        "Email_Delivered",
        "The email was delivered to the recipient. No errors reported, making it likely it was received by the"
        " recipient.",
        succeeded=True,
    ),
    State.EXPIRED: ResultName(
        "Failed",
        "Email_Failed_TTL",
        "The email was in indefinite state Succeeded for too long (TTL), and was subsequently set to failed.",
    ),
    Reason.UNSPECIFIED: ResultName("Failed", "Email_Failed", "The email was not sent due to an unspecified failure."),
    Reason.RECIPIENT_RESERVED: ResultName(
        "Failed_RecipientReserved",
        "Email_Failed_RecipientReserved",
        "The email was not sent because the recipient has reserved themselves from electronic communication.",
    ),
    Reason.RECIPIENT_NOT_IDENTIFIED: ResultName(
        "Failed_RecipientNotIdentified",
        "Email_Failed_RecipientNotIdentified",
        "The email was not sent because the recipient's email address was not found.",
    ),
    Reason.INVALID_EMAIL_FORMAT: ResultName(
        "Failed_InvalidEmailFormat",
        "Email_Failed_InvalidFormat",
        "The email was not sent because the recipient’s email address is in an invalid format.",
    ),
    Reason.SUPPRESSED_RECIPIENT: ResultName(
        "Failed_SupressedRecipient",
        "Email_Failed_SuppressedRecipient",
        "The email was not sent because the recipient’s email address is suppressed by the third party email service.",
    ),
    Reason.BOUNCED: ResultName(
        "Failed_Bounced",
        "Email_Failed_Bounced",
        "The email hard bounced, which may have happened because the email address does not exist or the domain is"
        " invalid.",
    ),
    Reason.FILTERED_SPAM: ResultName(
        "Failed_FilteredSpam",
        "Email_Failed_FilteredSpam",
        "The email was identified as spam, and was rejected or blocked (not quarantined).",
    ),
    Reason.QUARANTINED: ResultName(
        "Failed_Quarantined",
        "Email_Failed_Quarantined",
        "The email was quarantined (as spam, bulk mail, or phising).",
    ),
    Reason.INVALID_SAS_URL: ResultName(
        "Failed_InvalidSasUrl",
        "Email_Failed_InvalidSasUrl",
        "The email was not sent because one or more attachment SAS URLs are invalid, expired, or inaccessible.",
    ),
    Reason.PAYLOAD_TOO_LARGE: ResultName(
        "Failed_PayloadTooLarge",
        "Email_Failed_PayloadTooLarge",
        "The email was not sent because the total size of the attachments exceeds the allowed limit.",
    ),
}

_SMS: Final[dict[State | Reason, ResultName]] = {
    State.NEW: ResultName("New", "SMS_New", "The SMS has been created, but has not been picked up for processing yet."),
    State.SENDING: ResultName(
        "Sending", "SMS_Sending", "The SMS is being processed and will be attempted sent shortly."
    ),
    State.ACCEPTED: ResultName(
        "Accepted",
        "SMS_Accepted",
        "The SMS has been accepted by the gateway service and will be sent shortly.",
        succeeded=True,
    ),
    State.DELIVERED: ResultName(
        "Delivered", "SMS_Delivered", "The SMS was successfully delivered to its destination.", succeeded=True
    ),
    State.EXPIRED: ResultName(
        "Failed",
        "SMS_Failed_TTL",
        "The SMS was in indefinite state Accepted for too long (TTL), and was subsequently set to failed.",
    ),
    Reason.UNSPECIFIED: ResultName("Failed", "SMS_Failed", "The SMS was not delivered due to an unspecified failure."),
    Reason.INVALID_RECIPIENT: ResultName(
        "Failed_InvalidRecipient",
        "SMS_Failed_InvalidRecipient",
        "The SMS was not delivered because the recipient's mobile number was invalid.",
    ),
    Reason.RECIPIENT_RESERVED: ResultName("Failed_RecipientReserved", "SMS_Failed_RecipientReserved", _SMS_RESERVED),
    Reason.BARRED_RECEIVER: ResultName(
        "Failed_BarredReceiver",
        "SMS_Failed_BarredReceiver",
        "The SMS was not delivered because the recipient's number is barred, blocked or not in use.",
    ),
    Reason.DELETED: ResultName(
        "Failed_Deleted",
        "SMS_Failed_Deleted",
        "The SMS was not delivered because the message has been deleted.",
    ),
    Reason.EXPIRED_AT_PROVIDER: ResultName(
        "Failed_Expired", "SMS_Failed_Expired", "The SMS was not delivered because it has expired."
    ),
    Reason.UNDELIVERED: ResultName(
        "Failed_Undelivered",
        "SMS_Failed_Undelivered",
        "The SMS was not delivered due to invalid number or no available route to destination.",
    ),
    Reason.RECIPIENT_NOT_IDENTIFIED: ResultName(
        "Failed_RecipientNotIdentified",
        "SMS_Failed_RecipientNotIdentified",
        "The SMS was not delivered because the recipient's mobile number was not found.",
    ),
    Reason.REJECTED: ResultName(
        "Failed_Rejected", "SMS_Failed_Rejected", "The SMS was not delivered because it was rejected."
    ),
}

NAMES: Final[dict[Channel, dict[State | Reason, ResultName]]] = {Channel.EMAIL: _EMAIL, Channel.SMS: _SMS}

_SHOWN_AS_SENDING: Final = frozenset({State.CLAIMED, State.SENDING, State.UNKNOWN})


def result_name(channel: Channel, state: State, reason: Reason | None) -> ResultName:
    """The public names of an outcome. `reason` counts only for failed; one the channel lacks shows as `Failed`."""
    names = NAMES[channel]
    if state is State.FAILED:
        return names.get(reason or Reason.UNSPECIFIED, names[Reason.UNSPECIFIED])
    return names[State.SENDING if state in _SHOWN_AS_SENDING else state]
