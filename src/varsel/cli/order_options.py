"""An order from options or from JSON: what `varsel order` and `varsel preview` are given."""

import functools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from varsel.cli.durations import Duration
from varsel.cli.refused import Refused
from varsel.client import (
    EmailSettings,
    OrderChain,
    RecipientEmail,
    RecipientExternalIdentity,
    RecipientOrganization,
    RecipientPerson,
    RecipientSms,
    Reminder,
    SmsSettings,
)
from varsel.client.orders import Recipient

CHANNELS: Final = ("Email", "Sms", "EmailPreferred", "SmsPreferred", "EmailAndSms")
_WHOM: Final = ("person", "organisation", "user", "email", "mobile")
_MOST_BYTES: Final = 30_000_000  # as the service takes them


class _Instant(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time like 2030-09-02T10:00+02:00", param, ctx)
        if found.tzinfo is None:
            self.fail(f"{value!r} has no zone: write {value}+01:00 or {value}Z, say", param, ctx)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """All options, by their names; what was not given is None or False."""

    file: str | None
    person: str | None
    organisation: str | None
    user: str | None
    email: str | None
    mobile: str | None
    channel: str | None
    subject: str | None
    text: str | None
    sms: str | None
    html: bool
    sender: str | None
    sender_email: str | None
    reference: str | None
    at: datetime | None
    condition: str | None
    resource: str | None
    ignore_reservation: bool
    stale: bool
    fallback: bool
    anytime: bool
    remind_after: timedelta | None
    remind_text: str | None
    idempotency_id: str | None

    def order(self) -> OrderChain | Mapping[str, Any]:
        """Raises `click.UsageError` when the options do not fit together."""
        if self.file is not None:
            return self._from_file(self.file)
        recipient = self.recipient()
        return OrderChain(
            recipient=recipient,
            idempotency_id=self.idempotency_id,
            senders_reference=self.reference,
            requested_send_time=self.at,
            condition_endpoint=self.condition,
            reminders=self._reminders(recipient),
        )

    def recipient(self) -> Recipient:
        whom = [name for name in _WHOM if getattr(self, name) is not None]
        if len(whom) != 1:
            raise click.UsageError(
                "whom is it for? Give one of --person, --organisation, --user, --email and --mobile; or a FILE"
            )
        if self.email is not None:
            return RecipientEmail(email_address=self.email, email_settings=self.email_settings())
        if self.mobile is not None:
            return RecipientSms(phone_number=self.mobile, sms_settings=self.sms_settings())
        looked_up = self._looked_up()
        if self.person is not None:
            return RecipientPerson(
                national_identity_number=self.person,
                ignore_reservation=self.ignore_reservation or None,
                use_stale_contact_information=self.stale or None,
                **looked_up,
            )
        if self.organisation is not None:
            return RecipientOrganization(org_number=self.organisation, **looked_up)
        return RecipientExternalIdentity(external_identity=self.user or "", **looked_up)

    def email_settings(self) -> EmailSettings:
        if self.subject is None or self.text is None:
            raise click.UsageError("an email needs a --subject and a --text")
        return EmailSettings(
            subject=self.subject,
            body=self.text,
            content_type="Html" if self.html else None,
            sender_email_address=self.sender_email,
        )

    def sms_settings(self) -> SmsSettings:
        body = self.sms if self.sms is not None else self.text
        if body is None:
            raise click.UsageError("an SMS needs a --text; or --sms, if an email says something else")
        return SmsSettings(body=body, sender=self.sender, sending_time_policy="Anytime" if self.anytime else None)

    def _looked_up(self) -> dict[str, Any]:
        """By email when there is a subject, else by SMS, unless a channel is named."""
        channel = self.channel or ("Sms" if self.subject is None else "Email")
        return {
            "channel_schema": channel,
            "email_settings": None if channel == "Sms" else self.email_settings(),
            "sms_settings": None if channel == "Email" else self.sms_settings(),
            "resource_id": self.resource,
            "fallback_on_failure": self.fallback or None,
        }

    def _reminders(self, recipient: Recipient) -> tuple[Reminder, ...]:
        """To the same recipient, in the same way; with a text of its own, if there is one."""
        if self.remind_after is None:
            if self.remind_text is not None:
                raise click.UsageError("--remind-text needs a --remind-after")
            return ()
        if self.remind_text is not None:
            recipient = replace(self, text=self.remind_text, sms=self.remind_text).recipient()
        return (Reminder(recipient=recipient, delay=self.remind_after, senders_reference=self.reference),)

    def _from_file(self, file: str) -> Mapping[str, Any]:
        others = [name for name in _WHOM if getattr(self, name) is not None]
        if others:
            raise click.UsageError(f"either a FILE or --{others[0]}")
        body = _read(file)
        return body if self.idempotency_id is None else {**body, "idempotencyId": self.idempotency_id}


def order_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The argument FILE and all options of an order, handed on as `given`."""

    @functools.wraps(function)
    def command(**all_: Any) -> Any:
        given = Given(**{name: all_.pop(name) for name in Given.__dataclass_fields__})
        return function(given=given, **all_)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.argument("file", required=False, metavar="[FILE]"),
    click.option("--person", metavar="ID", help="To a person: an identity number."),
    click.option("--organisation", metavar="NUMBER", help="To an organisation."),
    click.option("--user", metavar="URN", help="To a user: the URN of an email login or of a user name."),
    click.option("--email", metavar="ADDRESS", help="To an address."),
    click.option("--mobile", metavar="NUMBER", help="To a number, with + and country code."),
    click.option(
        "--channel",
        type=click.Choice(CHANNELS),
        help="For who is looked up.  [default: Email with a --subject, else Sms]",
    ),
    click.option("--subject", help="Of the email."),
    click.option("--text", help="What it says. Keywords: $recipientName$, $recipientNumber$."),
    click.option("--sms", metavar="TEXT", help="What an SMS says, if it is not the same."),
    click.option("--html", is_flag=True, help="The text of the email is HTML."),
    click.option("--sender", help="Name or number that the SMS is from."),
    click.option("--sender-email", metavar="ADDRESS", help="Address that the email is from."),
    click.option("--reference", help="Your own, to find it again."),
    click.option("--at", type=_Instant(), help="When it leaves: 2030-09-02T10:00+02:00.  [default: now]"),
    click.option("--condition", metavar="URL", help="Is asked when it is due, and may stop it."),
    click.option("--resource", metavar="URN", help="Also to users who may act on it, for an organisation."),
    click.option("--ignore-reservation", is_flag=True, help="Also to a person who is reserved."),
    click.option("--stale", is_flag=True, help="Also to addresses that have not been confirmed for long."),
    click.option("--fallback", is_flag=True, help="By the other channel, if it does not arrive by the preferred one."),
    click.option("--anytime", is_flag=True, help="SMS leave at night too."),
    click.option("--remind-after", type=Duration(), help="Remind so long after it: 7d."),
    click.option("--remind-text", metavar="TEXT", help="What the reminder says.  [default: the same]"),
    click.option("--idempotency-id", metavar="ID", help="Yours: the same again orders nothing more.  [default: made]"),
)


def _read(file: str) -> Mapping[str, Any]:
    """The JSON of a file, or of standard input for `-`."""
    try:
        content = sys.stdin.buffer.read(_MOST_BYTES) if file == "-" else Path(file).read_bytes()
        body = json.loads(content)
    except OSError as e:
        raise Refused(f"{file} cannot be read: {e.strerror}") from None
    except ValueError as e:
        raise Refused(f"{'standard input' if file == '-' else file} is no JSON: {e}") from None
    if not isinstance(body, dict):
        raise Refused("an order is a JSON object, as POST /notifications/api/v1/future/orders takes it")
    return body
