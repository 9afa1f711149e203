"""Pure: which record an address comes from, and why somebody has none (design 6)."""

from collections.abc import Iterable
from typing import Final

from varsel.domain.address import normalise_mobile, valid_mobile
from varsel.domain.notification import Channel
from varsel.domain.order import OrderChannel, Recipient
from varsel.preview.outcome import Evidence, Register, Why
from varsel.preview.witness import Witness
from varsel.recipients.lookup import is_direct
from varsel.recipients.ports import ExternalContact, PersonContact, Record, UserContact

PREFERRED: Final = {
    OrderChannel.EMAIL_PREFERRED: (Channel.EMAIL, Channel.SMS),
    OrderChannel.SMS_PREFERRED: (Channel.SMS, Channel.EMAIL),
}
"""The two channels in the order in which they are tried."""


def evidence(
    witness: Witness, recipient: Recipient, ordered: OrderChannel, channel: Channel, address: str
) -> Evidence | None:
    """Where an address that was chosen comes from."""
    if is_direct(recipient, ordered):
        return Evidence(Register.ORDER)
    if recipient.national_identity_number:
        person = witness.people.get(recipient.national_identity_number)
        if person is None:
            return None
        stale = person.email_stale if channel is Channel.EMAIL else person.mobile_stale
        return _from_record(Register.PERSONS, channel, person.record, stale=stale)
    if recipient.organisation_number:
        return _of_organisation(witness, recipient.organisation_number, channel, address)
    external = witness.externals.get(recipient.external_identity or "")
    return _from_record(Register.EXTERNAL_IDENTITIES, channel, external.record) if external else None


def why_not(witness: Witness, recipient: Recipient, ordered: OrderChannel, channel: Channel) -> Why:
    """Why the recipient cannot be reached by a channel.

    Under a preferred channel the other one was tried too: of two reasons the more telling one.
    """
    tried = PREFERRED.get(ordered, (channel,))
    reasons = [_why_not(witness, recipient, ordered, each) for each in tried]
    return next((why for why in reasons if why is not Why.NO_ADDRESS), Why.NO_ADDRESS)


def why_fallen_back(witness: Witness, recipient: Recipient, ordered: OrderChannel) -> Why:
    """Why the preferred channel is not used."""
    return _why_not(witness, recipient, ordered, PREFERRED[ordered][0])


def _why_not(witness: Witness, recipient: Recipient, ordered: OrderChannel, channel: Channel) -> Why:
    if is_direct(recipient, ordered):
        return Why.NO_ADDRESS
    if recipient.national_identity_number:
        return _why_no_contact(witness.people.get(recipient.national_identity_number), channel)
    if recipient.organisation_number:
        return _why_no_organisation(witness, recipient.organisation_number, channel)
    return _why_no_contact(witness.externals.get(recipient.external_identity or ""), channel)


def _why_no_contact(contact: PersonContact | ExternalContact | None, channel: Channel) -> Why:
    if contact is None:
        return Why.UNKNOWN
    if channel is Channel.SMS and (contact.mobile or "").strip():
        return Why.INVALID_NUMBER  # it is there, and was not used
    if isinstance(contact, PersonContact) and (
        contact.email_stale if channel is Channel.EMAIL else contact.mobile_stale
    ):
        return Why.STALE
    return Why.NO_ADDRESS


def _why_no_organisation(witness: Witness, number: str, channel: Channel) -> Why:
    official, users = witness.official.get(number), witness.users.get(number, ())
    if official is None and not users:
        return Why.UNKNOWN
    numbers = [*(official.mobiles if official else ()), *(u.mobile or "" for u in users)]
    if any(_addresses(users, channel)):
        valid = channel is Channel.EMAIL or any(valid_mobile(_plain(n)) for n in numbers if n)
        return Why.NOT_PERMITTED if valid else Why.INVALID_NUMBER
    return Why.INVALID_NUMBER if channel is Channel.SMS and any(numbers) else Why.NO_ADDRESS


def _of_organisation(witness: Witness, number: str, channel: Channel, address: str) -> Evidence | None:
    """Official addresses come first, as in the look-up."""
    official = witness.official.get(number)
    if official and _holds(official.emails if channel is Channel.EMAIL else official.mobiles, address):
        owner = official.origin if official.origin != number else None
        return _from_record(Register.ORGANISATIONS, channel, official.record, owner=owner)
    for user in witness.users.get(number, ()):
        if _holds(_addresses([user], channel), address):
            return _from_record(Register.USERS, channel, user.record)
    return None


def _from_record(
    register: Register, channel: Channel, record: Record | None, *, owner: str | None = None, stale: bool = False
) -> Evidence:
    if record is None:
        return Evidence(register, owner=owner, stale=stale)
    fresh_at = record.email_fresh_at if channel is Channel.EMAIL else record.mobile_fresh_at
    return Evidence(register, record.source, owner, fresh_at, record.changed_at, stale, record.stands_in, record.as_of)


def _addresses(users: Iterable[UserContact], channel: Channel) -> list[str]:
    return [(user.email if channel is Channel.EMAIL else user.mobile) or "" for user in users]


def _holds(addresses: Iterable[str], address: str) -> bool:
    return address.lower() in {a.strip().lower() for a in addresses} | {_plain(a).lower() for a in addresses}


def _plain(number: str) -> str:
    return normalise_mobile(number.strip())
