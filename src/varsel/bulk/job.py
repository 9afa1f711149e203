"""A bulk job: what was uploaded, what is wished, where it stands, and what became of its rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

from varsel.domain.order import EmailTemplate, OrderChannel, SendingTime, SmsTemplate

JobId = NewType("JobId", UUID)


class Kind(StrEnum):
    """What the column of recipients holds. `identity`: any of the first three, by their form."""

    PERSON = "person"
    ORGANISATION = "organisation"
    EXTERNAL_IDENTITY = "externalIdentity"
    IDENTITY = "identity"
    EMAIL = "email"
    MOBILE = "mobile"


ADDRESSES: Final = {Kind.EMAIL: OrderChannel.EMAIL, Kind.MOBILE: OrderChannel.SMS}
"""Kinds that are addresses, each with its only channel."""


class Duplicates(StrEnum):
    """What becomes of a row that says the same to the same recipient as an earlier one."""

    SKIP = "skip"
    SEND = "send"


class JobState(StrEnum):
    UPLOADING = "uploading"  # the file is being stored; seen by nobody
    DRAFT = "draft"  # nothing is wished yet
    CHECKING = "checking"
    READY = "ready"  # waits to be confirmed
    SENDING = "sending"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"


class RowState(StrEnum):
    """Of a row. What has become of it is told by the last six."""

    NEW = "new"  # not checked
    BAD = "bad"  # cannot be sent
    DUPLICATE = "duplicate"  # is not sent
    READY = "ready"
    ORDERED = "ordered"  # under way
    HANDED = "handed"  # the provider has it; no receipt yet
    DELIVERED = "delivered"
    UNCONFIRMED = "unconfirmed"  # the provider has it, and gives no receipt
    FAILED = "failed"
    NOT_SENT = "notSent"  # on purpose: reserved, suppressed, cancelled, its condition not met
    UNREACHABLE = "unreachable"  # no contact details when it was ordered
    STOPPED = "stopped"  # the job was stopped first


UNDER_WAY: Final = (RowState.ORDERED, RowState.HANDED)
FATES: Final = (
    RowState.DELIVERED,
    RowState.UNCONFIRMED,
    RowState.FAILED,
    RowState.NOT_SENT,
    RowState.UNREACHABLE,
    RowState.STOPPED,
)
"""What can have become of a row that was to be sent."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be sent, and to whom. Texts, and the reference, have `{column}` keywords; senders are filled in."""

    recipient_column: str
    kind: Kind
    channel: OrderChannel
    email: EmailTemplate | None = None
    sms: SmsTemplate | None = None
    sending_time: SendingTime | None = None
    senders_reference: str | None = None
    ignore_reservation: bool = False
    allow_stale: bool = False
    resource_id: str | None = None
    resource_action: str | None = None
    send_at: datetime | None = None
    duplicates: Duplicates = Duplicates.SKIP

    @property
    def texts(self) -> tuple[str | None, ...]:
        """All that may have keywords."""
        email, sms = self.email, self.sms
        texts = (email.subject, email.body) if email else ()
        return (*texts, sms.body if sms else None, self.senders_reference)


class Flaw(StrEnum):
    """What is wrong with a row. Part of the public vocabulary: only ever added to."""

    TOO_MANY_FIELDS = "tooManyFields"
    EMPTY = "empty"
    NOT_A_PERSON = "notAPerson"
    NOT_AN_ORGANISATION = "notAnOrganisation"
    NOT_AN_EXTERNAL_IDENTITY = "notAnExternalIdentity"
    NOT_AN_IDENTITY = "notAnIdentity"
    NOT_AN_EMAIL = "notAnEmailAddress"
    NOT_A_MOBILE = "notAMobileNumber"
    HAS_KEYWORD = "hasKeyword"
    TOO_LONG = "textTooLong"
    FORBIDDEN_LINK = "linkNotAllowed"
    REFUSED = "refused"


FLAWS: Final[Mapping[Flaw, str]] = {
    Flaw.TOO_MANY_FIELDS: "The row has more fields than there are columns.",
    Flaw.EMPTY: "The field is empty, and a text or the recipient needs it.",
    Flaw.NOT_A_PERSON: "This is no national identity number, nor any other that is taken here.",
    Flaw.NOT_AN_ORGANISATION: "This is no organisation number.",
    Flaw.NOT_AN_EXTERNAL_IDENTITY: "This is no URN of an email login or a user name.",
    Flaw.NOT_AN_IDENTITY: "This is neither a person, an organisation nor an external identity.",
    Flaw.NOT_AN_EMAIL: "This is no email address.",
    Flaw.NOT_A_MOBILE: "This is no mobile number with country code, nor a Norwegian one without.",
    Flaw.HAS_KEYWORD: "The field holds a keyword of the service, such as $recipientName$.",
    Flaw.TOO_LONG: "The SMS is too long with this row's fields.",
    Flaw.FORBIDDEN_LINK: "The text has a link that is not allowed, with this row's fields.",
    Flaw.REFUSED: "The order was refused: a fault of ours. The log has it.",
}


@dataclass(frozen=True, slots=True)
class RowProblem:
    """`column`: as the file names it; empty when the whole row, or a whole text, is meant."""

    line: int
    column: str
    problem: Flaw


@dataclass(slots=True)
class Summary:
    """The pre-check: how rows would be reached if they were sent at that moment. Each row counts once.

    `blocked`: an address is suppressed, or something else stops every message. `unpriced`: messages without a price.
    `repeated`: rows that say the same to the same recipient as an earlier one, whether or not they are left out.
    `pace`: of the last minute, how many rows were with a provider or had a fate, and when (machine time, since 1970).
    """

    email: int = 0
    sms: int = 0
    both: int = 0
    reserved: int = 0
    without_contact: int = 0
    blocked: int = 0
    sms_parts: int = 0
    cost: Decimal | None = None
    unpriced: int = 0
    repeated: int = 0
    pace: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Job:
    """`checked`: rows that were, so far. `in_doubt`: up to this line rows may have been ordered without our knowing.

    `wake_at`: before then nothing is ordered; `why_waits`: a limit's name, or `registry`.
    """

    id: JobId
    creator: str
    name: str
    form: str
    state: JobState
    created_at: datetime
    state_at: datetime
    columns: tuple[str, ...]
    rows: int
    checked: int = 0
    checked_line: int = 0
    wish: Wish | None = None
    summary: Summary = field(default_factory=Summary)
    confirmed_at: datetime | None = None
    done_at: datetime | None = None
    wake_at: datetime | None = None
    why_waits: str | None = None
    in_doubt: int | None = None
    look_after: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How many rows are in each state."""

    counts: Mapping[RowState, int]

    def __getitem__(self, state: RowState) -> int:
        return self.counts.get(state, 0)

    def sum(self, *states: RowState) -> int:
        return sum(map(self.__getitem__, states))

    @property
    def to_send(self) -> int:
        """Rows that are, were, or would be sent."""
        return self.sum(RowState.READY, *UNDER_WAY, *FATES)

    @property
    def ordered(self) -> int:
        return self.sum(*UNDER_WAY, *FATES) - self.sum(RowState.STOPPED)

    @property
    def settled(self) -> int:
        """Rows whose fate is known."""
        return self.sum(*FATES)
