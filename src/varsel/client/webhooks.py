"""Is it from Varsel? Signatures of webhooks, verified (docs/webhooks.md; Standard Webhooks 1.0)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from varsel.client.answers import FeedEntry
from varsel.client.errors import VarselError
from varsel.client.wire import decode
from varsel.domain.signatures import secret_of, verified


class NotGenuine(VarselError):
    """It is not signed with the secret, or is older than five minutes. Answer 400, and do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """A CloudEvent. The same `id` may come twice: remember it, and take what you know.

    `entry`: None for a ping. `truncated`: something was left out of it, and the shipment has it.
    """

    id: str
    type: str
    time: datetime
    entry: FeedEntry | None
    truncated: bool
    raw: Mapping[str, Any] = field(repr=False, compare=False)


def read_webhook(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None) -> WebhookEvent:
    """The event in a request that has come, once it is sure that Varsel sent it just now. Raises `NotGenuine`.

    `secret`: `whsec_…`, as you were given it. `headers`: in any case. `body`: the octets as they came.
    """
    folded = {name.lower(): value for name, value in headers.items()}
    if not verified(folded, body, [secret_of(secret)], now=now or datetime.now(UTC)):
        raise NotGenuine("the signature is not of this secret, or is older than five minutes")
    try:
        event = json.loads(body)
        data = event["data"]
        return WebhookEvent(
            id=event["id"],
            type=event["type"],
            time=datetime.fromisoformat(event["time"]),
            entry=decode(FeedEntry, data) if data else None,
            truncated=bool(data.get("truncated")),
            raw=event,
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NotGenuine("it is signed, and is no event of Varsel's") from None
