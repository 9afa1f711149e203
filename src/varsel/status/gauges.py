"""How the service is doing: ages of what waits, depths of queues, workers and providers (house style 8: watch ages)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from varsel.domain.notification import Channel

MAX_COUNTED: Final = 10_000
"""Depths are counted up to here: a deeper queue shows as this figure, and its age says the rest."""

LATE: Final = timedelta(minutes=5)
"""What could go on and has waited for longer wants somebody."""


@dataclass(frozen=True, slots=True)
class Queues:
    """`oldest_…`: since when the first of them waits, in business time; None when nothing does.

    `oldest_due`: of orders whose time has come, the earliest requested send time; also of those that are being
    processed, or wait for another try. `oldest_unclaimed`: by channel, of messages that were never tried. `unknown`:
    messages whose outcome is in doubt; `working`: those whose provider has them and has not said what became of them.
    """

    oldest_due: datetime | None
    oldest_unknown: datetime | None
    oldest_unclaimed: dict[Channel, datetime]
    orders_due: int
    unclaimed: dict[Channel, int]
    claimed: int
    unknown: int
    working: int
    reports_pending: int
    reports_parked: int
    reports_dead: int
    feed_pending: int


@dataclass(frozen=True, slots=True)
class Doubts:
    """Tries of unknown outcome, and those of them that were followed by another: each may be a duplicate."""

    uncertain_tries: int
    possible_duplicates: int


@dataclass(frozen=True, slots=True)
class ProviderGauge:
    name: str
    channel: str
    paused: bool
    failures: int


@dataclass(frozen=True, slots=True)
class WebhookGauge:
    """`states`: how many webhooks are in each. `behind`: events that active ones have not been told, the oldest of them
    since `oldest` (business time).
    """

    states: dict[str, int]
    behind: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Gauges:
    """One reading. `workers`: live processes by kind. `dropped_mail`: mail to bounce addresses that was no report."""

    at: datetime
    queues: Queues
    doubts: Doubts
    providers: tuple[ProviderGauge, ...]
    workers: dict[str, int]
    dropped_mail: dict[str, int]
    webhooks: WebhookGauge
