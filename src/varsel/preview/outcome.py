"""What a preview tells: of an order, of each recipient, and of each message to be."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from varsel.domain.notification import Channel, Reason, ResultName, State, result_name
from varsel.domain.order import Order, Recipient
from varsel.domain.sms_receipt import SmsReceipt
from varsel.recipients.lookup import LookupSummary


class Register(StrEnum):
    """Where an address comes from."""

    ORDER = "order"  # it was given with the order
    PERSONS = "persons"
    ORGANISATIONS = "organisations"
    USERS = "organisationUsers"  # registered by a user for an organisation, and that user may act for it
    EXTERNAL_IDENTITIES = "externalIdentities"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The record behind an address. `source`: who wrote our copy of it; `changed_at`: when that last changed.

    `owner`: the organisation whose address it is: the main unit, where a unit has none of its own. `fresh_at`: when the
    address was last changed or confirmed, None where the register does not tell. `stale`: too old to be used unless
    the order allows it. `stands_in`, `as_of`: our copy answered for a live register that is down, and when it was last
    as that one.
    """

    register: Register
    source: str | None = None
    owner: str | None = None
    fresh_at: datetime | None = None
    changed_at: datetime | None = None
    stale: bool = False
    stands_in: bool = False
    as_of: datetime | None = None


class Why(StrEnum):
    """Why somebody is not reached, or not on the preferred channel. Part of the public vocabulary: only ever added to.

    Each value is a code; `WHY` has the sentences.
    """

    RESERVED = "reserved"
    UNKNOWN = "unknownToTheRegister"
    NO_ADDRESS = "noAddress"
    STALE = "addressTooOld"
    INVALID_NUMBER = "invalidNumber"
    INVALID_ADDRESS = "invalidAddress"
    NOT_PERMITTED = "noUserMayAct"
    NO_TEMPLATE = "noText"
    EMPTY_TEXT = "emptyText"
    TOO_LONG = "textTooLong"
    EXPIRED = "timeIsOver"
    SUPPRESSED = "addressSuppressed"
    FORBIDDEN_LINK = "linkNotAllowed"


WHY: dict[Why, str] = {
    Why.RESERVED: "The person has reserved themselves from electronic communication.",
    Why.UNKNOWN: "The register does not know the recipient.",
    Why.NO_ADDRESS: "No address for this channel is registered or given.",
    Why.STALE: "The registered address is too old, and the order does not ask for old ones.",
    Why.INVALID_NUMBER: "The number is not a valid mobile number.",
    Why.INVALID_ADDRESS: "The address is not one that can be sent to.",
    Why.NOT_PERMITTED: "Users have registered addresses, but none of them may act on the resource.",
    Why.NO_TEMPLATE: "The order has no text for this channel.",
    Why.EMPTY_TEXT: "Nothing is left of the text once its keywords are filled in.",
    Why.TOO_LONG: "The text is too long once its keywords are filled in.",
    Why.EXPIRED: "The notification's time is over before it may leave.",
    Why.SUPPRESSED: "The address is on the suppression list.",
    Why.FORBIDDEN_LINK: "The text has a link that is not allowed, once its keywords are filled in.",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A message as it would leave. `subject` is an email's."""

    subject: str | None
    body: str


@dataclass(frozen=True, slots=True)
class Message:
    """A notification to be. `why`: of one that fails, why; of one that falls back, why not on the preferred channel.

    `leaves_at`: when it may leave at the earliest, None when it never does. `text` is given for the first ones only.
    """

    channel: Channel
    state: State
    reason: Reason | None
    address: str
    why: Why | None
    leaves_at: datetime | None
    expires_at: datetime
    evidence: Evidence | None
    receipt: SmsReceipt | None
    cost: Decimal | None
    text: Text | None

    @property
    def name(self) -> ResultName:
        return result_name(self.channel, self.state, self.reason)

    @property
    def leaves(self) -> bool:
        return self.leaves_at is not None


@dataclass(frozen=True, slots=True)
class RecipientPreview:
    recipient: Recipient
    messages: tuple[Message, ...]

    @property
    def reached(self) -> bool:
        return any(message.leaves for message in self.messages)


@dataclass(slots=True)
class Totals:
    """Over all recipients, also those that are not listed. `unpriced`: messages that no price is known for."""

    recipients: int = 0
    reached: int = 0
    emails: int = 0
    sms: int = 0
    sms_parts: int = 0
    cost: Decimal | None = None
    unpriced: int = 0

    def add(self, recipient: RecipientPreview) -> None:
        self.recipients += 1
        self.reached += recipient.reached
        for message in recipient.messages:
            if message.leaves:
                self._add(message)

    def _add(self, message: Message) -> None:
        self.emails += message.channel is Channel.EMAIL
        self.sms += message.channel is Channel.SMS
        self.sms_parts += message.receipt.parts if message.receipt else 0
        if message.cost is None:
            self.unpriced += 1
        else:
            self.cost = (self.cost or Decimal()) + message.cost


@dataclass(frozen=True, slots=True)
class OrderPreview:
    """`due_at`: when it is processed. `lookup`: what the answer to the order would tell; the others as of `due_at`."""

    order: Order
    due_at: datetime
    lookup: LookupSummary | None
    totals: Totals
    recipients: tuple[RecipientPreview, ...]
