"""Pure: whether a wish fits the file, and which column probably holds the recipients."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from varsel.bulk.job import ADDRESSES, Flaw, Kind, Wish
from varsel.bulk.keywords import fold, names_in, unknown
from varsel.bulk.rows import recipient_of
from varsel.domain.order import OrderChannel
from varsel.domain.schemes import Identifiers

_NAMES: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.PERSON: (
        *("fødselsnummer", "fodselsnummer", "fnr", "personnummer", "identitetsnummer", "nationalidentitynumber"),
        *("national identity number", "identity number", "nin", "person"),
    ),
    Kind.ORGANISATION: (
        *("organisasjonsnummer", "orgnr", "org.nr", "org nr", "organizationnumber", "organisation number"),
        *("organization number", "orgnumber"),
    ),
    Kind.EXTERNAL_IDENTITY: ("externalidentity", "external identity", "urn"),
    Kind.IDENTITY: ("id", "ident", "identitet", "identity", "mottaker", "recipient"),
    Kind.EMAIL: (
        "e-post",
        "epost",
        "e-postadresse",
        "epostadresse",
        "email",
        "e-mail",
        "emailaddress",
        "email address",
    ),
    Kind.MOBILE: (
        *("mobil", "mobilnummer", "mobiltelefon", "telefon", "tlf", "mobile", "mobilenumber", "mobile number"),
        *("phone", "phonenumber", "phone number"),
    ),
}


class Misfit(NamedTuple):
    """Something that a wish cannot have with this file. `part`: the wish's field that must change."""

    part: str
    message: str


class Guess(NamedTuple):
    column: str
    kind: Kind


def misfits(wish: Wish, columns: Sequence[str]) -> Iterator[Misfit]:
    folded = {fold(column) for column in columns}
    if fold(wish.recipient_column) not in folded:
        yield Misfit("recipient_column", "The file has no such column.")
    only = ADDRESSES.get(wish.kind)
    if only and wish.channel is not only:
        yield Misfit("channel", f"To these addresses the channel is {only}.")
    if wish.email is None and wish.channel is not OrderChannel.SMS:
        yield Misfit("email", "The channel needs email settings.")
    if wish.sms is None and wish.channel is not OrderChannel.EMAIL:
        yield Misfit("sms", "The channel needs SMS settings.")
    texts = {
        "email.subject": wish.email.subject if wish.email else None,
        "email.body": wish.email.body if wish.email else None,
        "sms.body": wish.sms.body if wish.sms else None,
        "senders_reference": wish.senders_reference,
    }
    for part, text in texts.items():
        for name in unknown(names_in(text), columns):
            yield Misfit(part, f"The file has no column {{{name}}}. A brace that is meant as one is written twice.")


def guess(columns: Sequence[str], rows: Sequence[Sequence[str]], identifiers: Identifiers) -> Guess | None:
    """By the names of the columns; else the first column whose fields all are recipients of one kind."""
    for kind, names in _NAMES.items():
        for place, column in enumerate(columns):
            if fold(column) in names and _fits(kind, [row[place] for row in rows], identifiers):
                return Guess(column, kind)
    for place, column in enumerate(columns):
        for kind in Kind:
            if rows and _fits(kind, [row[place] for row in rows], identifiers):
                return Guess(column, kind)
    return None


def _fits(kind: Kind, values: Sequence[str], identifiers: Identifiers) -> bool:
    """Most of them: a file may have a bad row."""
    good = sum(not isinstance(recipient_of(kind, value, identifiers), Flaw) for value in values)
    return 2 * good > len(values) or not values
