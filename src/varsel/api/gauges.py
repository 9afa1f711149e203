"""Operational metrics for Prometheus: GET /metrics. One reading serves everybody for five seconds.

The figures are the database's: every API process tells the same, so alarms take the maximum over them.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from varsel.api.operators import Operators
from varsel.api.parts import ApiParts
from varsel.api.registry_gauges import registry_gauges
from varsel.api.tally_gauges import tally_gauges
from varsel.db import DatabaseError
from varsel.domain.errors import Unavailable
from varsel.domain.schedule import SendWindow
from varsel.registry_sync.store import Status, statuses
from varsel.status.gauges import MAX_COUNTED, Gauges
from varsel.status.gauges_store import read_gauges
from varsel.tally.store import Count, standing
from varsel.webhooks.states import WebhookState

PATH: Final = "/metrics"
MAX_AGE: Final = timedelta(seconds=5)

_MAX_WAIT_SECONDS: Final = 5.0


def gauge_routes(parts: ApiParts, machine: Callable[[], float] = time.monotonic) -> Sequence[BaseRoute]:
    """`machine`: seconds of machine time, by which a reading ages."""
    operators, readings = Operators(parts.settings), _Readings(parts, machine)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(readings)
    ProcessCollector(registry=registry)

    async def metrics(request: Request) -> Response:
        operators.require(request)
        await readings.refresh()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route(PATH, metrics, methods=["GET"])]


class _Readings(Collector):
    """The last reading, and how it is written."""

    def __init__(self, parts: ApiParts, machine: Callable[[], float]) -> None:
        self._parts = parts
        self._machine = machine
        self._last: _Reading | None = None
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read anew when the last reading is too old. Those who come meanwhile wait for the same."""
        async with self._reading:
            if self._read_at is None or self._machine() - self._read_at >= MAX_AGE.total_seconds():
                self._last = await self._read()
                self._read_at = self._machine()

    async def _read(self) -> "_Reading | None":
        now = self._parts.clock.now()
        try:
            async with asyncio.timeout(_MAX_WAIT_SECONDS), self._parts.database.reading() as conn:
                gauges = await read_gauges(conn, now=now, opened=self._opened(now))
                return _Reading(gauges, await statuses(conn), await standing(conn))
        except (Unavailable, DatabaseError, TimeoutError):
            return None

    def _opened(self, now: datetime) -> datetime:
        processing = self._parts.settings.processing
        window = SendWindow(
            processing.sms_window_start_hour, processing.sms_window_end_hour, processing.sms_window_always_open
        )
        return window.opened(now)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("varsel_database_up", "Whether the database answered.", value=self._last is not None)
        if self._last:
            last = self._last.gauges
            yield from _ages(last)
            yield from _depths(last)
            yield from _processes(last)
            yield from _webhooks(last)
            yield _dropped_mail(last)
            yield from registry_gauges(self._last.registers)
            yield from tally_gauges(self._last.standing)


@dataclass(frozen=True, slots=True)
class _Reading:
    gauges: Gauges
    registers: Sequence[Status]
    standing: Sequence[Count]


def _age(g: Gauges, since: datetime | None) -> float:
    return max((g.at - since).total_seconds(), 0.0) if since else 0.0


def _ages(g: Gauges) -> Iterator[Metric]:
    age, queues = partial(_age, g), g.queues
    yield GaugeMetricFamily(
        "varsel_oldest_due_order_age_seconds",
        "How long ago the earliest order that is due and not processed should have been.",
        value=age(queues.oldest_due),
    )
    unclaimed = GaugeMetricFamily(
        "varsel_oldest_unclaimed_notification_age_seconds",
        "How long the first message that nobody has tried to send has waited.",
        labels=["channel"],
    )
    for channel in queues.unclaimed:
        unclaimed.add_metric([channel], age(queues.oldest_unclaimed.get(channel)))
    yield unclaimed
    yield GaugeMetricFamily(
        "varsel_oldest_unknown_notification_age_seconds",
        "How long ago the first message left of which nobody knows what became of it.",
        value=age(queues.oldest_unknown),
    )


def _depths(g: Gauges) -> Iterator[Metric]:
    queues = g.queues
    unclaimed = GaugeMetricFamily(
        "varsel_unclaimed_notifications", "Messages that may leave now; 10000: or more.", labels=["channel"]
    )
    for channel, depth in queues.unclaimed.items():
        unclaimed.add_metric([channel], depth)
    yield unclaimed
    for name, what, value in (
        ("varsel_due_orders", "Orders that are due and not claimed; 10000: or more.", queues.orders_due),
        ("varsel_claimed_notifications", "Messages that workers hold.", queues.claimed),
        ("varsel_unknown_notifications", "Messages of which nobody knows what became of them.", queues.unknown),
        ("varsel_working_notifications", "Messages that a provider took to work on.", queues.working),
        (
            "varsel_pending_reports",
            "Delivery reports that are not applied yet; 10000: or more.",
            queues.reports_pending,
        ),
        ("varsel_parked_reports", "Delivery reports that wait for their notification.", queues.reports_parked),
        ("varsel_dead_reports", "Delivery reports that could not be used.", queues.reports_dead),
        ("varsel_pending_feed_entries", "Feed entries without a number yet; 10000: or more.", queues.feed_pending),
    ):
        yield GaugeMetricFamily(name, what, value=value)


def _processes(g: Gauges) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "varsel_uncertain_tries",
        "Tries of which nobody knows whether the message left.",
        value=g.doubts.uncertain_tries,
    )
    yield CounterMetricFamily(
        "varsel_possible_duplicates",
        "Uncertain tries that were followed by another: the message may have come twice.",
        value=g.doubts.possible_duplicates,
    )
    paused = GaugeMetricFamily("varsel_provider_paused", "Whether a provider rests.", labels=["provider", "channel"])
    failures = GaugeMetricFamily(
        "varsel_provider_failures", "Failures in a row that a provider is to blame for.", labels=["provider", "channel"]
    )
    for provider in g.providers:
        paused.add_metric([provider.name, provider.channel], provider.paused)
        failures.add_metric([provider.name, provider.channel], provider.failures)
    yield from (paused, failures)
    workers = GaugeMetricFamily("varsel_processes_alive", "Live processes.", labels=["kind"])
    for kind in ("api", "worker"):
        workers.add_metric([kind], g.workers.get(kind, 0))
    yield workers


def _webhooks(g: Gauges) -> Iterator[Metric]:
    webhooks = GaugeMetricFamily("varsel_webhooks", "Webhooks by their state.", labels=["state"])
    for state in WebhookState:
        webhooks.add_metric([state], g.webhooks.states.get(state, 0))
    yield webhooks
    yield GaugeMetricFamily(
        "varsel_webhook_backlog",
        "Events that active webhooks have not been told; 10000: or more.",
        value=min(g.webhooks.behind, MAX_COUNTED),
    )
    yield GaugeMetricFamily(
        "varsel_oldest_webhook_event_age_seconds",
        "How long ago the first event happened that an active webhook has not been told.",
        value=_age(g, g.webhooks.oldest),
    )


def _dropped_mail(g: Gauges) -> Metric:
    dropped = CounterMetricFamily(
        "varsel_dropped_bounce_mails", "Mail to bounce addresses that was no delivery report.", labels=["kind"]
    )
    for kind, count in g.dropped_mail.items():
        dropped.add_metric([kind], count)
    return dropped
