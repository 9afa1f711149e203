"""Pure: what is wished of a bulk job, between a form and the job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import uuid4

from varsel.bulk.job import ADDRESSES, Duplicates, Job, Kind, Wish
from varsel.bulk.keywords import fold
from varsel.bulk.wishes import Guess, misfits
from varsel.domain.content import Content
from varsel.domain.order import ContentType, Recipient, SendingTime
from varsel.domain.schedule import OSLO
from varsel.domain.schemes import Identifiers
from varsel.settings import Settings
from varsel.ui.draft import MOST_AHEAD, Draft, due, order_of, read_draft, wrong_with

_KINDS: Final = {kind.value: kind for kind in Kind}
_SOMEBODY: Final = "somebody@example.com"
_FIELDS: Final = {
    "recipient_column": "column",
    "channel": "channel",
    "email": "body",
    "sms": "sms",
    "email.subject": "subject",
    "email.body": "body",
    "sms.body": "sms",
    "senders_reference": "reference",
}
"""The form's fields, by the part of a wish."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The form. `draft`: what it has in common with that of one order."""

    draft: Draft
    column: str = ""
    kind: Kind = Kind.PERSON
    repeats: bool = False


def read(form: Mapping[str, str], job: Job) -> Filled:
    """An address has one channel: that is chosen, whatever the form says."""
    kind = _KINDS.get(form.get("kind", ""), Kind.PERSON)
    draft = read_draft({name: value for name, value in form.items() if name not in ("to", "add")}, job.creator)
    if kind in ADDRESSES:
        draft = replace(draft, channel=ADDRESSES[kind])
    return Filled(draft, form.get("column", ""), kind, form.get("repeats") == "yes")


def wrong(
    filled: Filled, job: Job, identifiers: Identifiers, content: Content, settings: Settings, now: datetime
) -> dict[str, str]:
    """What must be mended: the key of a sentence, by the name of the field."""
    found = wrong_with(replace(filled.draft, to=(_SOMEBODY,)), identifiers, content, now)
    if found.keys() & {"day"}:
        return found
    for part, _ in misfits(wish(filled, settings, now), job.columns):
        found.setdefault(_FIELDS[part], "column" if part == "recipient_column" else "keyword")
    return found


def wish(filled: Filled, settings: Settings, now: datetime) -> Wish:
    draft = filled.draft
    at = (due(draft, now) or now) if draft.later else None
    order = order_of(draft, (Recipient(),), settings, min(at or now, now + MOST_AHEAD), now)
    return Wish(
        recipient_column=filled.column,
        kind=filled.kind,
        channel=order.channel,
        email=order.email,
        sms=order.sms,
        sending_time=order.sending_time,
        senders_reference=order.senders_reference,
        ignore_reservation=bool(order.ignore_reservation),
        allow_stale=order.allow_stale,
        resource_id=order.resource_id,
        send_at=at,
        duplicates=Duplicates.SEND if filled.repeats else Duplicates.SKIP,
    )


def of_job(job: Job, guess: Guess | None) -> Filled:
    """The form as it was filled in, or as it may be at first."""
    if job.wish is None:
        draft = Draft(uuid4(), job.creator)
        if guess is None:
            return Filled(draft)
        channel = ADDRESSES.get(guess.kind, draft.channel)
        return Filled(replace(draft, channel=channel), guess.column, guess.kind)
    wished = job.wish
    email, sms, local = wished.email, wished.sms, wished.send_at.astimezone(OSLO) if wished.send_at else None
    draft = Draft(
        uuid4(),
        job.creator,
        channel=wished.channel,
        subject=email.subject if email else "",
        body=email.body if email else "",
        sms=sms.body if sms else "",
        later=local is not None,
        day=f"{local:%Y-%m-%d}" if local else "",
        clock=f"{local:%H:%M}" if local else "",
        reference=wished.senders_reference or "",
        email_sender=email.sender if email else "",
        sms_sender=sms.sender if sms else "",
        html=email is not None and email.content_type is ContentType.HTML,
        anytime=wished.sending_time is SendingTime.ANYTIME,
        ignore_reservation=wished.ignore_reservation,
        stale=wished.allow_stale,
        resource=wished.resource_id or "",
    )
    return Filled(draft, wished.recipient_column, wished.kind, wished.duplicates is Duplicates.SEND)


def column_of(filled: Filled, columns: Sequence[str]) -> str:
    """As the file names it."""
    return next((name for name in columns if fold(name) == fold(filled.column)), "")
