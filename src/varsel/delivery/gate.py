"""What must not leave although it is due: to suppressed addresses, and with forbidden links (channels 6.5, 6.7).

Asked just before messages go to a provider, after they were claimed. Nothing is dropped silently: each has its fate,
and its explanation names the ground.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from varsel.db import ReadConn
from varsel.delivery import suppression_store as store
from varsel.delivery.ports import Email, Sms
from varsel.delivery.suppression import Entry, Ground, SuppressionKey
from varsel.domain.content import Content, Strictness
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import ContentType

URL_POLICY: Final = "url_policy"

_RANK: Final = {ground: rank for rank, ground in enumerate(Ground)}
_REASONS: Final = {Channel.EMAIL: Reason.SUPPRESSED_RECIPIENT, Channel.SMS: Reason.BARRED_RECEIVER}


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why a message is not handed over. `outcome`: for the ledger of attempts. `entry`: of the suppression list.

    `by`: only these providers do not send there, so another one may be tried; none: it concerns whoever sends.
    """

    reason: Reason
    detail: str
    outcome: str
    entry: UUID | None = None
    by: frozenset[str] = frozenset()

    def stops(self, *providers: str) -> bool:
        """Whether it may not go by any of these."""
        return not self.by or self.by.issuperset(providers)


class Gate:
    """`key` None: there is no suppression list. `content`: what a creator may say."""

    def __init__(self, key: SuppressionKey | None, content: Callable[[str], Content]) -> None:
        self.key = key
        self._content = content

    async def withheld(
        self, conn: ReadConn, messages: Sequence[Email | Sms], *, now: datetime
    ) -> Mapping[NotificationId, Withheld]:
        """Those that must not leave. One query for all of them."""
        refused = {message.id: held for message in messages if (held := self._by_content(message))}
        hashes = {id_: found for id_, found in self._hashes(messages) if id_ not in refused}
        if not hashes:
            return refused
        by_hash: dict[bytes, list[Entry]] = {}
        for entry in await store.find(conn, set(hashes.values()), now=now):
            by_hash.setdefault(entry.address_hash, []).append(entry)
        if not by_hash:
            return refused
        for message in messages:
            if held := _by_list(message, by_hash.get(hashes.get(message.id, b""), ())):
                refused[message.id] = held
        return refused

    def _hashes(self, messages: Iterable[Email | Sms]) -> Iterable[tuple[NotificationId, bytes]]:
        if self.key is None:
            return
        for message in messages:
            if found := self.key.hash_of(_channel(message), message.to):
                yield message.id, found

    def _by_content(self, message: Email | Sms) -> Withheld | None:
        """What keywords brought in. The rest was refused when it was ordered."""
        content = self._content(message.creator)
        if content.links is not Strictness.ENFORCE:
            return None
        if isinstance(message, Email):
            markup = message.content_type is ContentType.HTML
            wrong = content.wrong_links(message.body, markup=markup) or content.wrong_links(message.subject)
        else:
            wrong = content.wrong_links(message.text)
        return Withheld(Reason.UNSPECIFIED, f"{URL_POLICY}: {wrong[0]}", "withheld") if wrong else None


def _by_list(message: Email | Sms, entries: Iterable[Entry]) -> Withheld | None:
    optional = isinstance(message, Email) and message.unsubscribe is not None
    found = sorted(
        (entry for entry in entries if entry.concerns(message.creator, optional=optional)),
        key=lambda entry: _RANK[entry.ground],
    )
    if not found:
        return None
    general = next((entry for entry in found if entry.provider is None), None)
    first = general or found[0]
    by = frozenset[str]() if general else frozenset(entry.provider for entry in found if entry.provider)
    return Withheld(_REASONS[_channel(message)], first.words, "suppressed", first.id, by)


def _channel(message: Email | Sms) -> Channel:
    return Channel.EMAIL if isinstance(message, Email) else Channel.SMS
