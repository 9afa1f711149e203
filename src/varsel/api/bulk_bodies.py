"""Bodies of requests and answers about bulk jobs (docs/bulk.md). All of it is our addition."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict

from varsel.api.bodies import Body, Findings
from varsel.api.fields import Integer, OneOf, RequiredText, Text, check_time
from varsel.api.recipient_bodies import EmailSettingsBody, SmsSettingsBody, check_resource
from varsel.api.rules import unless_blank
from varsel.api.schemas import Answer, Instant
from varsel.api.shapes import ResourceText, V2Time, action_needs_resource, settings_by_channel
from varsel.bulk.job import FLAWS, Duplicates, Flaw, Job, JobState, Kind, RowState, Wish
from varsel.bulk.owner import Standing
from varsel.bulk.wishes import Guess
from varsel.domain.order import OrderChannel
from varsel.settings import SenderSettings

PATHS: Final[Mapping[str, str]] = {
    "recipient_column": "RecipientColumn",
    "channel": "ChannelSchema",
    "email": "EmailSettings",
    "sms": "SmsSettings",
    "email.subject": "EmailSettings.Subject",
    "email.body": "EmailSettings.Body",
    "sms.body": "SmsSettings.Body",
    "senders_reference": "SendersReference",
}
"""By the part of a wish."""


class BulkBody(Body):
    """PUT of a job: what is sent to whom. Texts, and the reference, may have `{column}` keywords."""

    model_config = ConfigDict(json_schema_extra={"allOf": [settings_by_channel(), action_needs_resource()]})

    recipient_column: RequiredText
    recipient_kind: Annotated[Kind, OneOf(Kind)]
    channel_schema: Annotated[OrderChannel, OneOf(OrderChannel)]
    email_settings: EmailSettingsBody | None = None
    sms_settings: SmsSettingsBody | None = None
    senders_reference: Text | None = None
    requested_send_time: V2Time = None
    ignore_reservation: bool = False
    use_stale_contact_information: bool = False
    resource_id: ResourceText | None = None
    resource_action: Text | None = None
    duplicates: Annotated[Duplicates, OneOf(Duplicates)] = Duplicates.SKIP

    async def check(self, now: datetime, findings: Findings) -> None:
        check_time(self.requested_send_time, now, "RequestedSendTime", findings)
        if self.email_settings:
            self.email_settings.check_rules("EmailSettings", findings)
        if self.sms_settings:
            self.sms_settings.check_rules("SmsSettings", findings)
        check_resource(self.resource_id, self.resource_action, "", findings)

    def wish(self, senders: SenderSettings, *, always_stale: bool = False) -> Wish:
        """`always_stale`: the creator's orders use old addresses too."""
        email, sms = self.email_settings, self.sms_settings
        return Wish(
            recipient_column=self.recipient_column,
            kind=self.recipient_kind,
            channel=self.channel_schema,
            email=email.to_template(senders) if email else None,
            sms=sms.to_template(senders) if sms else None,
            sending_time=sms.sending_time_policy if sms else None,
            senders_reference=unless_blank(self.senders_reference),
            ignore_reservation=self.ignore_reservation,
            allow_stale=self.use_stale_contact_information or always_stale,
            resource_id=self.resource_id,
            resource_action=unless_blank(self.resource_action),
            send_at=self.requested_send_time,
            duplicates=self.duplicates,
        )


class BulkConfirmBody(Body):
    """`rows`: how many are to be sent, as the check found. `leaveOutBad`: although there are bad rows."""

    rows: Integer
    leave_out_bad: bool = False


class BulkProblem(Answer):
    """`column` is missing where a whole row or text is meant."""

    line: int
    column: str | None = None
    problem: Flaw
    description: str


class BulkSummary(Answer):
    """How the rows would be reached. `cost` is there when prices are known, but for `unpriced` messages."""

    email: int
    sms: int
    both: int
    reserved: int
    without_contact: int
    blocked: int
    sms_parts: int
    repeated: int
    cost: Decimal | None = None
    currency: str
    unpriced: int


class BulkColumn(Answer):
    """Which column probably holds the recipients."""

    recipient_column: str
    recipient_kind: Kind


class BulkAnswer(Answer):
    """`toSend`: rows that are, were or would be sent. `counts`: how many rows are in each state, none left out.

    `problems`, `repeatedLines`: of the first hundred rows. `whyWaits`: the limit that was met, or `registry`.
    """

    id: UUID
    name: str
    form: str
    state: JobState
    state_since: Instant
    created: Instant
    confirmed: Instant | None = None
    done: Instant | None = None
    columns: tuple[str, ...]
    guess: BulkColumn | None = None
    rows: int
    checked: int
    to_send: int
    ordered: int
    settled: int
    counts: dict[RowState, int]
    summary: BulkSummary | None = None
    problems: tuple[BulkProblem, ...] = ()
    repeated_lines: tuple[int, ...] = ()
    waits_until: Instant | None = None
    why_waits: str | None = None

    @classmethod
    def of(cls, standing: Standing, currency: str, guess: Guess | None = None) -> "BulkAnswer":
        job, progress = standing.job, standing.progress
        return cls(
            id=job.id,
            name=job.name,
            form=job.form,
            state=job.state,
            state_since=job.state_at,
            created=job.created_at,
            confirmed=job.confirmed_at,
            done=job.done_at,
            columns=job.columns,
            guess=BulkColumn(recipient_column=guess.column, recipient_kind=guess.kind) if guess else None,
            rows=job.rows,
            checked=job.checked,
            to_send=progress.to_send,
            ordered=progress.ordered,
            settled=progress.settled,
            counts={state: progress[state] for state in RowState},
            summary=_summary(job, currency) if job.wish else None,
            problems=tuple(
                BulkProblem(line=p.line, column=p.column or None, problem=p.problem, description=FLAWS[p.problem])
                for p in standing.problems
            ),
            repeated_lines=tuple(standing.repeated),
            waits_until=job.wake_at,
            why_waits=job.why_waits,
        )


def _summary(job: Job, currency: str) -> BulkSummary:
    found = job.summary
    return BulkSummary(
        email=found.email,
        sms=found.sms,
        both=found.both,
        reserved=found.reserved,
        without_contact=found.without_contact,
        blocked=found.blocked,
        sms_parts=found.sms_parts,
        repeated=found.repeated,
        cost=found.cost,
        currency=currency,
        unpriced=found.unpriced,
    )


class BulkHead(Answer):
    """A job in a list."""

    id: UUID
    name: str
    state: JobState
    created: Instant
    rows: int

    @classmethod
    def of(cls, job: Job) -> "BulkHead":
        return cls(id=job.id, name=job.name, state=job.state, created=job.created_at, rows=job.rows)


class BulkList(Answer):
    """The newest hundred."""

    count: int
    jobs: tuple[BulkHead, ...]
