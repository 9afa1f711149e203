"""Pure: which addresses are left alone, for how long, and whose messages that concerns (channels 6.5)."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from varsel.delivery.ports import Suppress
from varsel.domain.address import e164, mask_email, mask_mobile
from varsel.domain.hosts import to_a_labels
from varsel.domain.notification import Channel

LONGEST: Final = timedelta(days=365)
"""A lifetime that doubles ends here."""


class Ground(StrEnum):
    """Why an address is on the list; the one that says most comes first."""

    MANUAL = "manual"
    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"
    BARRED = "barred"
    HARD_BOUNCE = "hard_bounce"
    DISABLED = "disabled"
    PROVIDER_LIST = "provider_list"


@dataclass(frozen=True, slots=True)
class Rule:
    """`lifetime` None: until it is removed. `doubles`: each time that it is found out anew, after its end.

    `creators`, `providers`: it concerns the creator, or the provider instance, of the message that led to it.
    `optional`: only messages that their sender marked as unsubscribable.
    """

    lifetime: timedelta | None
    words: str
    doubles: bool = False
    creators: bool = False
    providers: bool = False
    optional: bool = False


RULES: Final[dict[Ground, Rule]] = {
    Ground.MANUAL: Rule(None, "somebody put it there"),
    Ground.UNSUBSCRIBE: Rule(None, "the recipient wants no more of this kind", creators=True, optional=True),
    Ground.COMPLAINT: Rule(None, "the recipient complained of an earlier message", creators=True, optional=True),
    Ground.BARRED: Rule(timedelta(days=30), "the number is barred, blocked or not in use"),
    Ground.HARD_BOUNCE: Rule(timedelta(days=30), "an earlier message found nobody there", doubles=True),
    Ground.DISABLED: Rule(timedelta(days=7), "the mailbox was disabled"),
    Ground.PROVIDER_LIST: Rule(timedelta(days=7), "the provider no longer sends there", providers=True),
}


class NewEntry(NamedTuple):
    """What is to be put on the list. `expires_at` None: until it is removed. `source`: who found it out."""

    channel: Channel
    address_hash: bytes
    masked: str
    ground: Ground
    source: str
    creator: str | None = None
    provider: str | None = None
    expires_at: datetime | None = None


class Entry(NamedTuple):
    """An entry that holds, as it is found by its hash."""

    id: UUID
    address_hash: bytes
    ground: Ground
    creator: str | None
    provider: str | None
    expires_at: datetime | None

    def concerns(self, creator: str, *, optional: bool) -> bool:
        """Whether it stops such a message of the creator, if the provider is the one it names."""
        return self.creator in (None, creator) and (optional or not RULES[self.ground].optional)

    @property
    def words(self) -> str:
        """For the explanation of a notification: holds no address."""
        until = f", until {self.expires_at:%Y-%m-%d}" if self.expires_at else ""
        return f"{self.ground}: {RULES[self.ground].words}{until}"


class SuppressionKey:
    """Makes what stands on the list in the place of an address. Whoever has no key cannot tell whose it is."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("the suppression list needs a key")
        self._secret = secret

    def hash_of(self, channel: Channel, address: str) -> bytes | None:
        """None for what is no address of the channel: nothing can be sent there anyway."""
        canonical = canonical_address(channel, address)
        return hmac.digest(self._secret, f"{channel}:{canonical}".encode(), "sha256") if canonical else None

    def entry(
        self,
        ground: Ground,
        channel: Channel,
        address: str,
        *,
        creator: str | None,
        provider: str | None,
        source: str,
        now: datetime,
    ) -> NewEntry | None:
        """What a message to the address led to, with the scope and the lifetime of its ground."""
        address_hash = self.hash_of(channel, address)
        if address_hash is None:
            return None
        rule = RULES[ground]
        return NewEntry(
            channel,
            address_hash,
            masked(channel, address),
            ground,
            source,
            creator=creator if rule.creators else None,
            provider=provider if rule.providers else None,
            expires_at=now + rule.lifetime if rule.lifetime else None,
        )


def canonical_address(channel: Channel, address: str) -> str | None:
    """The form in which addresses are compared. Local parts are folded for that alone: they are sent as they are."""
    if channel is Channel.SMS:
        return e164("".join(address.split()))
    local, at, domain = address.strip().rpartition("@")
    if not (local and at and domain):
        return None
    return f"{local.casefold()}@{to_a_labels(domain) or domain.casefold()}"


def masked(channel: Channel, address: str) -> str:
    return mask_email(address) if channel is Channel.EMAIL else mask_mobile(address)


def ground_of(suppress: Suppress) -> Ground:
    return Ground(suppress.value)
