"""Pure: from a row of the file to the order that it becomes, or what is wrong with it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from varsel.bulk.job import ADDRESSES, Flaw, JobId, Kind, RowProblem, Wish
from varsel.bulk.keywords import fill, fold, names_in
from varsel.bulk.table import Row
from varsel.domain.address import e164, valid_email
from varsel.domain.content import Content, Strictness
from varsel.domain.external_identity import parse_external_identity
from varsel.domain.identifiers import Level, valid_person_id
from varsel.domain.ids import ChainId, OrderId, uuid7
from varsel.domain.keywords import has_keyword
from varsel.domain.order import (
    Chain,
    ContentType,
    EmailTemplate,
    Order,
    OrderChannel,
    OrderFamily,
    OrderKind,
    Recipient,
    SmsTemplate,
)
from varsel.domain.schemes import Identifiers
from varsel.domain.sms_text import MAX_LINK_UNITS, clean, fits_link

_KEY_BYTES: Final = 16
_PERSON_DIGITS: Final = 11


@dataclass(frozen=True, slots=True)
class Checked:
    """A row after the check. `key`: equal for rows that say the same to the same recipient; None for a bad one."""

    line: int
    problems: tuple[RowProblem, ...]
    key: bytes | None = None
    recipient: Recipient | None = None


class Checker:
    """Checks the rows of one job. `content`: what its creator may say; `identifiers`: those that are taken here."""

    def __init__(self, wish: Wish, columns: Sequence[str], identifiers: Identifiers, content: Content) -> None:
        self._wish = wish
        self._columns = tuple(columns)
        self._identifiers = identifiers
        self._content = content
        self._folded = [fold(column) for column in columns]
        self._recipient = self._folded.index(fold(wish.recipient_column))
        used = names_in(*wish.texts)
        self._used = [place for place, name in enumerate(self._folded) if name in used]
        self._sms = wish.sms if wish.channel is not OrderChannel.EMAIL else None
        self._email = wish.email if wish.channel is not OrderChannel.SMS else None

    def check(self, row: Row) -> Checked:
        """The recipient and the fields that are used; then the texts, once those are right."""
        problems: list[RowProblem] = []
        if len(row.fields) > len(self._columns):
            problems.append(RowProblem(row.line, "", Flaw.TOO_MANY_FIELDS))
        problems += [
            RowProblem(row.line, self._columns[place], wrong)
            for place in self._used
            if (wrong := _wrong_field(row.fields[place]))
        ]
        recipient = self.recipient(row)
        if isinstance(recipient, Flaw):
            problems.append(RowProblem(row.line, self._columns[self._recipient], recipient))
        if not problems:
            problems += [RowProblem(row.line, "", wrong) for wrong in self._wrong_texts(row)]
        if problems or isinstance(recipient, Flaw):
            return Checked(row.line, tuple(problems))
        return Checked(row.line, (), self._key(recipient, row), recipient)

    def recipient(self, row: Row) -> Recipient | Flaw:
        return recipient_of(self._wish.kind, row.fields[self._recipient], self._identifiers)

    def order(self, job: JobId, creator: str, row: Row, recipient: Recipient, now: datetime) -> tuple[Chain, Order]:
        """The row's order. The same row always has the same idempotency id, whatever else changes."""
        wish, values = self._wish, self._values(row)
        id_ = f"bulk:{job}:{row.line}"
        chain = Chain(ChainId(uuid7()), creator, id_, OrderFamily.CHAIN, hashlib.sha256(id_.encode()).digest())
        order = Order(
            id=OrderId(uuid7()),
            creator=creator,
            chain=chain.id,
            kind=OrderKind.NOTIFICATION,
            channel=wish.channel,
            created=now,
            requested_send_time=max(wish.send_at or now, now),
            recipients=(recipient,),
            email=filled_email(wish.email, values),
            sms=filled_sms(wish.sms, values),
            senders_reference=fill(wish.senders_reference, values) if wish.senders_reference else None,
            sending_time=wish.sending_time,
            ignore_reservation=wish.ignore_reservation,
            allow_stale=wish.allow_stale,
            resource_id=wish.resource_id,
            resource_action=wish.resource_action,
            bulk=True,
        )
        return chain, order

    def _values(self, row: Row) -> dict[str, str]:
        return {self._folded[place]: row.fields[place] for place in self._used}

    def _key(self, recipient: Recipient, row: Row) -> bytes:
        who = recipient.identifier or recipient.email or recipient.mobile or ""
        said = "\0".join((who.lower(), *(row.fields[place] for place in self._used)))
        return hashlib.blake2b(said.encode(), digest_size=_KEY_BYTES).digest()

    def _wrong_texts(self, row: Row) -> list[Flaw]:
        values, wrong = self._values(row), []
        sms, email = filled_sms(self._sms, values), filled_email(self._email, values)
        if sms and self._is_too_long(sms.body):
            wrong.append(Flaw.TOO_LONG)
        if self._content.links is Strictness.ENFORCE:
            html = email is not None and email.content_type is ContentType.HTML
            texts = [(sms.body, False)] if sms else []
            texts += [(email.subject, False), (email.body, html)] if email else []
            if any(self._content.wrong_links(text, markup=markup) for text, markup in texts):
                wrong.append(Flaw.FORBIDDEN_LINK)
        return wrong

    def _is_too_long(self, text: str) -> bool:
        return len(text) > 4 * MAX_LINK_UNITS or not _fits(text, self._content)


def recipient_of(kind: Kind, value: str, identifiers: Identifiers) -> Recipient | Flaw:
    """Spreadsheets drop the first digit of who was born on the first nine days of a month: it is put back."""
    if not value:
        return Flaw.EMPTY
    if kind in ADDRESSES:
        return _addressed(kind, value)
    if value.startswith("urn:"):
        known = kind in (Kind.IDENTITY, Kind.EXTERNAL_IDENTITY) and parse_external_identity(value)
        return Recipient(external_identity=value) if known else _NO_SUCH[kind]
    plain = value.replace(" ", "")
    if kind in (Kind.PERSON, Kind.IDENTITY):
        if identifiers.norwegian and len(plain) == _PERSON_DIGITS - 1 and valid_person_id(f"0{plain}", Level.CHECKSUM):
            plain = f"0{plain}"
        if identifiers.is_person(plain):
            return Recipient(national_identity_number=plain)
    if kind in (Kind.ORGANISATION, Kind.IDENTITY) and identifiers.is_organisation(plain):
        return Recipient(organisation_number=plain)
    return _NO_SUCH[kind]


_NO_SUCH: Final[Mapping[Kind, Flaw]] = {
    Kind.PERSON: Flaw.NOT_A_PERSON,
    Kind.ORGANISATION: Flaw.NOT_AN_ORGANISATION,
    Kind.EXTERNAL_IDENTITY: Flaw.NOT_AN_EXTERNAL_IDENTITY,
    Kind.IDENTITY: Flaw.NOT_AN_IDENTITY,
}


def _addressed(kind: Kind, value: str) -> Recipient | Flaw:
    if kind is Kind.EMAIL:
        return Recipient(email=value) if valid_email(value) else Flaw.NOT_AN_EMAIL
    plain = "".join(value.split())
    number = e164(plain) or e164(f"+{plain}")  # a spreadsheet drops the plus sign
    return Recipient(mobile=number) if number else Flaw.NOT_A_MOBILE


def _wrong_field(value: str) -> Flaw | None:
    if not value:
        return Flaw.EMPTY
    return Flaw.HAS_KEYWORD if has_keyword(value) else None


def filled_email(template: EmailTemplate | None, values: Mapping[str, str]) -> EmailTemplate | None:
    if template is None:
        return None
    subject = " ".join(fill(template.subject, values).splitlines())  # a field may hold line breaks, a subject not
    markup = template.content_type is ContentType.HTML
    return replace(template, subject=subject, body=fill(template.body, values, markup=markup))


def filled_sms(template: SmsTemplate | None, values: Mapping[str, str]) -> SmsTemplate | None:
    return replace(template, body=fill(template.body, values)) if template else None


@lru_cache(maxsize=64)  # where no field is used, all rows say the same
def _fits(text: str, content: Content) -> bool:
    cleaned = clean(text)
    return fits_link(cleaned) and content.is_carried(cleaned)
